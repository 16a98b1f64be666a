"""F6: the sort column from a list."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tcptop_tui.fields import Field


class SortDialog(ModalScreen[str | None]):
    """Ends with the key of the chosen column, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f6", "dismiss(None)", "Cancel")]

    def __init__(self, columns: tuple[Field, ...], current: str) -> None:
        super().__init__()
        self._columns = columns
        self._current = current

    def compose(self) -> ComposeResult:
        """The list of columns, the present one highlighted."""
        options = OptionList(*(Option(column.title, id=column.key) for column in self._columns), id="dialog")
        options.border_title = "Sort by"
        yield options

    def on_mount(self) -> None:
        """Start at the present column; an order of its own, as the board's, is none of them."""
        keys = [column.key for column in self._columns]
        self.query_one(OptionList).highlighted = keys.index(self._current) if self._current in keys else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take it."""
        self.dismiss(event.option.id)
