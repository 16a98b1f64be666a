"""A list with a cursor: keys, clicks, search, and the selection, which belongs to a row and not to a line."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui.filters import Filter
from tcptop_tui.widgets.lists.list_rows import logfmt
from tcptop_tui.widgets.lists.painted_list import HEADER_LINES, PaintedList
from tcptop_tui.widgets.panels.search_bar import next_match


class Listing(PaintedList, can_focus=True):
    """Shows a ``ListContent`` with a cursor that stays on its row from one content to the next."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Row up", show=False),
        Binding("down,j", "move(1)", "Row down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "first", "First row", show=False),
        Binding("end,G", "last", "Last row", show=False),
        Binding("left", "columns(-1)", "Columns to the left", show=False),
        Binding("right", "columns(1)", "Columns to the right", show=False),
    ]

    class HeaderClicked(Message):
        """The user clicked on the title of the column ``key``."""

        def __init__(self, key: str) -> None:
            self.key = key
            super().__init__()

    class ConnectionsRequested(Message):
        """The user wants to see the connections that a row counts: those that match ``filter_text``."""

        def __init__(self, filter_text: str) -> None:
            self.filter_text = filter_text
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._followed_id: int | None = None
        """Id of the row that the cursor stays on; None: the cursor stays at the top."""
        self._search_start = 0

    # -- selection ----------------------------------------------------------------------------

    def _follow_selection(self) -> bool:
        """Keep the cursor on its row, and that row on its line of the screen."""
        position = None if self._followed_id is None else self._content.position_of(self._followed_id)
        old = self._cursor
        last = max(0, len(self._content.order) - 1)
        self._cursor = min(old, last) if position is None else position
        if self._cursor == old:
            return False
        self.scroll_to(y=self.scroll_offset.y + self._cursor - old, animate=False, force=True)
        return True

    def _select(self, position: int) -> None:
        last = len(self._content.order) - 1
        self._cursor = max(0, min(position, last))
        # a cursor at the top stays at the top, whatever row comes there
        self._followed_id = self.selected_id if self._cursor else None
        top, lines = self.scroll_offset.y, max(1, self.size.height - HEADER_LINES)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, force=True)
        elif self._cursor >= top + lines:
            self.scroll_to(y=self._cursor - lines + 1, animate=False, force=True)
        self.refresh()

    @property
    def selected_row(self) -> int | None:
        """Number of the row under the cursor; None: there is no row."""
        return int(self._content.order[self._cursor]) if self._cursor < len(self._content.order) else None

    @property
    def selected_id(self) -> int | None:
        """Id of the row under the cursor; None: there is no row."""
        row = self.selected_row
        return None if row is None else int(self._content.ids[row])

    def row_text(self) -> str:
        """All columns of the row under the cursor, as ``pid=812 process=nginx ...``; empty without a row."""
        if self.selected_row is None:
            return ""
        return logfmt(self.COLUMNS, self._content.select_rows(np.array([self.selected_row])))

    # -- search -------------------------------------------------------------------------------

    def begin_search(self) -> None:
        """Let ``find`` start at the cursor, and show the cursor until ``end_search``."""
        self._search_start = self._cursor
        self.is_searched = True

    def end_search(self) -> None:
        """Show the cursor only while the list has the focus."""
        self.is_searched = False

    def find(self, search: Filter, step: int) -> str:
        """Go to the next row that matches, for -1 to the previous one, for 0 to the first since ``begin_search``.

        Returns:
            The result in words.
        """
        if self._content.matches is None:
            return "this list cannot be searched"
        positions = np.flatnonzero(self._content.matches(search)[self._content.order])
        position, result = next_match(positions, self._cursor + step if step else self._search_start, step)
        if position is not None:
            self._select(position)
        return result

    # -- keys and clicks ----------------------------------------------------------------------

    def action_move(self, lines: int) -> None:
        """Move the cursor."""
        self._select(self._cursor + lines)

    def action_page(self, pages: int) -> None:
        """Move the cursor by a screenful."""
        self._select(self._cursor + pages * max(1, self.size.height - HEADER_LINES - 1))

    def action_first(self) -> None:
        """Go to the top and stay there."""
        self._select(0)

    def action_last(self) -> None:
        """Go to the last row."""
        self._select(len(self._content.order) - 1)

    def action_columns(self, step: int) -> None:
        """Bring the columns that did not fit onto the screen, until the last one is there."""
        keys = old_keys = [placed.column.key for placed in self.placed_columns]
        while keys == old_keys and (self._skip if step < 0 else self._has_more_to_the_right(keys)):
            self._skip = min(self._skip, len(self.available_columns)) + step
            keys = [placed.column.key for placed in self.placed_columns]
        self.refresh()

    def _has_more_to_the_right(self, visible_keys: list[str]) -> bool:
        columns = self.available_columns[-1 if self._skip else 0 :]
        return self._skip < len(self.available_columns) and any(column.key not in visible_keys for column in columns)

    def action_open(self) -> None:
        """Show more of the row under the cursor. A list that has more to show overrides this."""

    def on_click(self, event: events.Click) -> None:
        """Sort by a title, select a row, open it at the second click."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y < HEADER_LINES:
            for placed in self.placed_columns if self._content.sort_order else ():  # the user cannot sort the others
                if placed.left <= offset.x < placed.left + placed.width:
                    self.post_message(self.HeaderClicked(placed.column.key))
            return
        self._select(self.scroll_offset.y + offset.y - HEADER_LINES)
        if event.chain > 1:
            self.action_open()
