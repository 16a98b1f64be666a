"""F2: columns, and how everything is shown. What is changed is seen at once, behind the dialog."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Checkbox, Input, Label, OptionList, Select
from textual.widgets.option_list import Option

from tcptop_tui.config.schema import ColumnChoice, Config
from tcptop_tui.fields import Field

_NUMBERS = {"refresh_s": "Refresh, s", "linger_s": "Keep ended rows, s", "log_rows": "Log, lines (next start)"}
_TICKS = {"names": "Show host and service names", "time_wait": "List TIME_WAIT"}
_UNITS = ("auto", "ms", "us")
_MOST_CELLS = 200
_SIDE_BY_SIDE_CELLS = 60


class ColumnList(OptionList):
    """The columns of one list: wanted ones first, in their order.

    Args:
        columns: all there are.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "show_hide", "Show/hide", tooltip="Show or hide the column"),
        Binding("left_square_bracket,f7", "shift(-1)", "Up"),
        Binding("right_square_bracket,f8", "shift(1)", "Down"),
        Binding("plus,right", "widen(1)", "Wider"),
        Binding("minus,left", "widen(-1)", "Narrower"),
        Binding("0", "fit", "Auto width", tooltip="Let the list choose the width"),
        Binding("r", "reset", "Reset", tooltip="Show the default columns"),
    ]

    class ColumnsChanged(Message):
        """Other columns are wanted; none: the default ones."""

        def __init__(self, choices: tuple[ColumnChoice, ...]) -> None:
            self.choices = choices
            super().__init__()

    def __init__(self, columns: tuple[Field, ...], *, id: str) -> None:
        super().__init__(id=id)
        self._columns = {column.key: column for column in columns}
        self._order: list[str] = []
        self._visible_keys: set[str] = set()
        self._widths: dict[str, int] = {}

    def fill(self, columns: tuple[Field, ...], choices: tuple[ColumnChoice, ...]) -> None:
        """Show these columns as they are chosen now."""
        self._columns = {column.key: column for column in columns}
        default = tuple(ColumnChoice(column.key) for column in columns if not column.optional)
        wanted = list({one.key: one for one in choices or default if one.key in self._columns}.values())
        self._visible_keys = {choice.key for choice in wanted}
        self._order = [choice.key for choice in wanted] + [
            key for key in self._columns if key not in self._visible_keys
        ]
        self._widths = {choice.key: choice.width for choice in wanted}
        self._refill(0)

    def _refill(self, highlighted: int) -> None:
        self.clear_options()
        for key in self._order:
            mark, width = "x" if key in self._visible_keys else " ", self._widths.get(key, 0)
            self.add_option(Option(Text(f"[{mark}] {self._columns[key].title:<11} {width or 'auto':>4}"), id=key))
        self.highlighted = highlighted

    def _changed(self, highlighted: int) -> None:
        self._refill(highlighted)
        choices = (ColumnChoice(key, self._widths.get(key, 0)) for key in self._order if key in self._visible_keys)
        self.post_message(self.ColumnsChanged(tuple(choices)))

    @property
    def _cursor_row(self) -> int:
        return self.highlighted or 0

    def action_show_hide(self) -> None:
        """Show or hide it; the last one stays."""
        self._visible_keys ^= {self._order[self._cursor_row]}
        if not self._visible_keys:
            self._visible_keys = {self._order[self._cursor_row]}
        self._changed(self._cursor_row)

    def action_select(self) -> None:
        """Enter does as Space."""
        self.action_show_hide()

    def action_shift(self, step: int) -> None:
        """Move it to the left or right of its neighbour."""
        place = self._cursor_row
        other = max(0, min(place + step, len(self._order) - 1))
        self._order[place], self._order[other] = self._order[other], self._order[place]
        self._changed(other)

    def action_widen(self, step: int) -> None:
        """Change its width by a cell; from as wide as it is by itself."""
        key = self._order[self._cursor_row]
        width = (self._widths.get(key, 0) or self._columns[key].width) + step
        self._widths[key] = max(1, min(width, _MOST_CELLS))
        self._changed(self._cursor_row)

    def action_fit(self) -> None:
        """Let the list choose its width again."""
        self._widths[self._order[self._cursor_row]] = 0
        self._changed(self._cursor_row)

    def action_reset(self) -> None:
        """The columns that the list has by itself."""
        self.fill(tuple(self._columns.values()), ())
        self.post_message(self.ColumnsChanged(()))


class CheckMark(Checkbox):
    """Says by more than its colour whether it is on, and as the columns do."""

    def render(self) -> Content:
        """Its mark and its label."""
        label = Content(f" {self.label} ").stylize_before(self.get_visual_style("toggle--label"))
        return Content.assemble("[x]" if self.value else "[ ]", label)


class SetupDialog(ModalScreen[Config | None]):
    """Ends with the config to save, or None.

    Args:
        config: as it is now.
        lists: all columns of each list.
        themes: names to choose from.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f10,ctrl+s", "save", "Save", priority=True),
        Binding("escape,f2", "dismiss(None)", "Cancel", tooltip="Cancel, and undo what was changed here"),
    ]

    class Changed(Message):
        """Show it like that for now."""

        def __init__(self, config: Config) -> None:
            self.config = config
            super().__init__()

    def __init__(self, config: Config, lists: dict[str, tuple[Field, ...]], themes: list[str]) -> None:
        super().__init__()
        self._config = config
        self._lists = lists
        self._themes = themes
        self._list = next(iter(lists))
        self._theme = config.theme if config.theme in themes else themes[0]

    def compose(self) -> ComposeResult:
        """Columns on the left, the rest on the right."""
        with Vertical(id="dialog") as box:
            box.border_title = "Setup"
            box.border_subtitle = "Space [ ] + - 0 r change columns   F10 saves, Esc cancels"
            with Horizontal():
                with Vertical(id="setup-columns"):
                    yield Select([(name, name) for name in self._lists], value=self._list, allow_blank=False, id="list")
                    yield ColumnList(self._lists[self._list], id="columns")
                with VerticalScroll(id="setup-display"):
                    yield Label("Theme")
                    yield Select(
                        [(name, name) for name in self._themes], value=self._theme, allow_blank=False, id="theme"
                    )
                    yield Label("RTT in")
                    yield Select(
                        [(name, name) for name in _UNITS], value=self._config.rtt_unit, allow_blank=False, id="rtt_unit"
                    )
                    for name, told in _TICKS.items():
                        yield CheckMark(told, value=getattr(self._config, name), compact=True, id=name)
                    for name, told in _NUMBERS.items():
                        yield Label(told)
                        yield Input(f"{getattr(self._config, name):g}", id=name, max_length=10)
                    yield Label("", id="complaint", markup=False)

    def on_resize(self, event: events.Resize) -> None:
        """Side by side only where both parts can be read."""
        self.set_class(event.size.width < _SIDE_BY_SIDE_CELLS, "-slim")

    def on_mount(self) -> None:
        """Start in the columns."""
        self._fill()
        self.set_focus(self.query_one(ColumnList))

    def _fill(self) -> None:
        self.query_one(ColumnList).fill(self._lists[self._list], self._config.columns.get(self._list, ()))

    def _change(self, **fields: object) -> None:
        """Take what is possible, complain about what is not."""
        complaint = self.query_one("#complaint", Label)
        try:
            changed = msgspec.convert({**msgspec.to_builtins(self._config), **msgspec.to_builtins(fields)}, Config)
        except msgspec.ValidationError as error:
            complaint.update(str(error).partition(" - at")[0])
            return
        complaint.update("")
        if changed != self._config:
            self._config = changed
            self.post_message(self.Changed(changed))

    @on(ColumnList.ColumnsChanged)
    def _columns_chosen(self, event: ColumnList.ColumnsChanged) -> None:
        columns = dict(self._config.columns)
        columns.pop(self._list, None)
        if event.choices:
            columns[self._list] = event.choices
        self._change(columns=columns)

    @on(Select.Changed)
    def _selected(self, event: Select.Changed) -> None:
        if event.select.id == "list":
            self._list = str(event.value)
            self._fill()
        else:
            self._change(**{str(event.select.id): event.value})

    @on(Checkbox.Changed)
    def _checked(self, event: Checkbox.Changed) -> None:
        self._change(**{str(event.checkbox.id): event.value})

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        try:
            number = float(event.value)
            whole = int(number)
        except (ValueError, OverflowError):
            self.query_one("#complaint", Label).update(f"{_NUMBERS[str(event.input.id)]} must be a number")
            return
        self._change(**{str(event.input.id): whole if event.input.id == "log_rows" else number})

    def action_save(self) -> None:
        """Keep it."""
        self.dismiss(self._config)
