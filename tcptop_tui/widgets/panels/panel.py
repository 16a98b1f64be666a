"""A scrolled list with a title that costs nothing while nothing of it moves."""

from __future__ import annotations

from typing import ClassVar, Self

from textual.content import Content
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.style import Style
from textual.widget import Widget

from tcptop_tui import formats
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.widgets.panels.tabs import tabs

_ENDS_CELLS = 2
"""Of the rule, before and behind a title."""
WAITING = "waiting for the first table"
"""What a panel shows while nothing is known yet: an empty one would look as if nothing were there."""


class TitledWidget(Widget):
    """Repaints the title alone when it changes: Textual repaints the whole widget each time one is set."""

    VIEW: ClassVar[int] = -1
    """Which view it is, from 0: its title then names the others too. -1: it is none."""
    _is_title_refresh = False
    _title_shown: tuple[str, str, int] = ("", "", 0)

    def set_title(self, title: str, note: str = "") -> None:
        """Show this title, and a note behind it that is not to be missed; plain texts without markup.

        There is no bottom border, so nothing can stand in it.
        """
        key = (title, note, self.size.width)
        if key == self._title_shown:
            return
        self._title_shown = key
        self._is_title_refresh = True
        behind = f"  {note}" if note else ""
        plain = Content.assemble(title, (behind, Style(bold=True)))
        # Textual takes a Content; its annotation does not say so
        self.border_title = tabs(self.VIEW, title + behind, self.size.width - _ENDS_CELLS) if self.VIEW >= 0 else plain
        self._is_title_refresh = False

    def on_resize(self) -> None:
        """As much of the title as there is room for now."""
        self.set_title(*self._title_shown[:2])

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """As every widget's, but for a title its line only."""
        if self._is_title_refresh:
            regions = (Region(0, -1, self.outer_size.width, 1),)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)


class Panel(ScrollView, TitledWidget):
    """Asks for no layout when only the number of lines changes.

    ``ScrollView`` comes first, because Textual takes default styles from the first base only.

    Textual lays the whole screen out anew when a list is a line longer: 20 ms of the loop.
    """

    def set_line_count(self, lines: int) -> None:
        """There is so much to scroll through."""
        size = Size(self.size.width, lines)
        before, room = self.virtual_size, self.container_size.height
        if size.width != before.width or (lines > room) != (before.height > room):
            self.virtual_size = size  # whether it can be scrolled at all is decided by a layout
        else:
            self.set_reactive(Widget.virtual_size, size)
            self.scroll_y = self.validate_scroll_y(self.scroll_y)


def empty_text(facts: Snapshot, nothing: str) -> str:
    """What stands in place of rows: that the first table is waited for, or that there is ``nothing``."""
    return nothing if facts.has_table else WAITING


def count_text(facts: Snapshot, count: int) -> str:
    """A count in a title; before the first table nothing is known, which is not 0."""
    return formats.count(count) if facts.has_table else formats.UNKNOWN
