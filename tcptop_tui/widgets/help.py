"""F1: help made from the bindings that are really there, and from the filter's own list of fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.keys import format_key
from textual.screen import ModalScreen
from textual.widgets import Static

from tcptop_tui.filters import FIELDS


class HelpScreen(ModalScreen[None]):
    """Keys and filter language.

    Args:
        bindings: title and bindings of each part of the screen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1,question_mark,h,f10", "dismiss(None)", "Close")]

    def __init__(self, bindings: Iterable[tuple[str, list[Binding]]]) -> None:
        super().__init__()
        self._parts = list(bindings)

    def compose(self) -> ComposeResult:
        """One page that scrolls."""
        with VerticalScroll(id="dialog") as page:
            page.border_title = "Help"
            page.border_subtitle = "Esc closes"
            for title, bindings in self._parts:
                yield Static(keys_table(title, bindings))
            yield Static(filter_table())


def keys_table(title: str, bindings: list[Binding]) -> RenderableType:
    """A line for each action: all of its keys, then what it does."""
    keys: dict[str, list[str]] = {}
    for binding in bindings:
        keys.setdefault(binding.tooltip or binding.description, []).append(format_key(binding.key))
    table = _table(title)
    for description, names in keys.items():
        table.add_row(Text(" ".join(names)), Text(description))
    return table


def filter_table() -> RenderableType:
    """A line for each field of the filter language."""
    table = _table("Filter: spaces join (and), commas list (or), ! negates")
    for field in FIELDS:
        table.add_row(Text(field.example), Text(field.meaning))
    return table


def _table(title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=None, show_header=False, pad_edge=False, expand=True)
    table.add_column(min_width=24, style="bold")
    table.add_column(ratio=1)
    return table
