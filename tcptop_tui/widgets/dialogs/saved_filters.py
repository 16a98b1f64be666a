"""f: filters that have a name."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from tcptop_tui import safe_text

_MOST_CHARS = 40


class SavedFiltersDialog(ModalScreen[tuple[dict[str, str], str | None]]):
    """Ends with all saved filters by name, and the one to apply or None.

    Args:
        filters: by name.
        present: the filter in force.
        naming: begin with the name of the present one.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f10", "end", "Close"),
        Binding("delete,d", "delete", "Delete", tooltip="Delete the filter (press twice)"),
    ]

    def __init__(self, filters: dict[str, str], present: str, *, naming: bool = False) -> None:
        super().__init__()
        self._filters = filters
        self._present = present
        self._naming = naming
        self._pending_delete = ""

    def compose(self) -> ComposeResult:
        """The list, below it a name for the present filter."""
        with Vertical(id="dialog") as box:
            box.border_title = "Saved filters"
            box.border_subtitle = "Enter applies it, Del deletes it; or type @name"
            yield OptionList(id="saved")
            yield Label(Text(f"Name for: {safe_text.clean(self._present)}" if self._present else "No filter to save"))
            yield Input(placeholder="web", max_length=_MOST_CHARS, disabled=not self._present)

    def on_mount(self) -> None:
        """Start where there is something to do."""
        self._fill()
        self.set_focus(self.query_one(Input if self._present and (self._naming or not self._filters) else OptionList))

    def _fill(self) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        for name, saved in sorted(self._filters.items()):
            options.add_option(Option(Text(f"{safe_text.clean(name):<12} {safe_text.clean(saved)}"), id=f"f-{name}"))
        options.highlighted = 0 if self._filters else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Delete only what is there."""
        if action == "delete":
            return bool(self._filters) and isinstance(self.focused, OptionList)
        return super().check_action(action, parameters)

    def _named(self, option_id: str | None) -> str:
        return (option_id or "").removeprefix("f-")

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss((self._filters, self._filters[self._named(event.option.id)]))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        name = event.value.strip()
        if name and name.isprintable():
            self._filters[name] = self._present
            self.dismiss((self._filters, None))

    def action_delete(self) -> None:
        """Forget the one under the cursor, when it was pressed twice for it."""
        options = self.query_one(OptionList)
        if not options.has_focus or options.highlighted is None:
            return
        name = self._named(options.get_option_at_index(options.highlighted).id)
        if self._pending_delete != name:
            self._pending_delete = name
            self.query_one("#dialog").border_subtitle = Text(
                f"Del again deletes {safe_text.clean(name)}"
            )  # a str is markup
            return
        del self._filters[name]
        self._fill()

    def action_end(self) -> None:
        """Nothing to apply."""
        self.dismiss((self._filters, None))
