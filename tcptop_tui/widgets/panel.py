"""A scrolled list with a title that costs nothing while nothing of it moves."""

from __future__ import annotations

from typing import Self

from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.widget import Widget


class Panel(ScrollView):
    """Repaints the title alone when it changes, and asks for no layout when only the number of lines does.

    Textual repaints the whole widget each time a title is set, the same one too, and lays the whole
    screen out anew when a list is a line longer: 20 ms of the loop each.
    """

    _titling = False

    def retitle(self, title: str, subtitle: str = "") -> None:
        """Show these titles; plain texts without markup."""
        self._titling = True
        if title != (self.border_title or ""):
            self.border_title = title
        if subtitle != (self.border_subtitle or ""):
            self.border_subtitle = subtitle
        self._titling = False

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """As every widget's, but for a title its line only."""
        if self._titling:
            regions = (Region(0, -1, self.outer_size.width, 1),)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def hold_lines(self, lines: int) -> None:
        """There is so much to scroll through."""
        size = Size(self.size.width, lines)
        before, room = self.virtual_size, self.container_size.height
        if size.width != before.width or (lines > room) != (before.height > room):
            self.virtual_size = size  # whether it can be scrolled at all is decided by a layout
        else:
            self.set_reactive(Widget.virtual_size, size)
            self.scroll_y = self.validate_scroll_y(self.scroll_y)
