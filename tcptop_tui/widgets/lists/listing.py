"""A list of rows with titles, a cursor and a sort mark; only what is on the screen is ever formatted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from tcptop_tui.config.schema import ColumnChoice
from tcptop_tui.fields import Field
from tcptop_tui.filters import Filter
from tcptop_tui.safe_text import fit
from tcptop_tui.widgets.lists.columns import PlacedColumn, place_columns, select_columns
from tcptop_tui.widgets.lists.line_cache import LineCache
from tcptop_tui.widgets.lists.list_content import NO_CONTENT, ListContent
from tcptop_tui.widgets.lists.page import logfmt
from tcptop_tui.widgets.panels.panel import Panel
from tcptop_tui.widgets.panels.search_bar import next_match

_HEADER_LINES = 1


class Listing(Panel, can_focus=True):
    """Shows a ``ListContent``. The selection belongs to a row's id, not to a line."""

    COLUMNS: ClassVar[tuple[Field, ...]] = ()
    PINNED: ClassVar[str] = "comm"
    """The column that stays when others are brought in from the right."""
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
        """The user clicked on a column's title."""

        def __init__(self, key: str) -> None:
            self.key = key
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._sheet = NO_CONTENT
        self.columns = self.COLUMNS
        """What is shown; ``COLUMNS`` until somebody chooses others."""
        self._selected_id: int | None = None
        self._cursor = 0
        self._search_from = 0
        self.searching = False
        """The cursor is shown although somebody types elsewhere."""
        self._skip = 0
        self._lines = LineCache()
        self._painted: list[list[str]] = []
        self._row_style_keys: list[object] = []
        self._painted_sheet: tuple[object, ...] = ()

    def show_sheet(self, sheet: ListContent) -> None:
        """Paint ``sheet``; of what is on the screen already only the cells that changed."""
        other = (sheet.view_options, sheet.title) != (self._sheet.view_options, self._sheet.title)
        if sheet.view_options != self._sheet.view_options:
            self._lines.widest.clear()
        self._sheet = sheet
        self.set_line_count(len(sheet.order) + _HEADER_LINES)
        moved = self._follow_selection()
        self._refresh_changes(None if other or moved else (self._painted, self._row_style_keys))

    def _follow_selection(self) -> bool:
        """Keep the cursor on its row, and that on its line of the screen."""
        place_now = None if self._selected_id is None else self._sheet.position_of(self._selected_id)
        before = self._cursor
        last = max(0, len(self._sheet.order) - 1)
        self._cursor = min(before, last) if place_now is None else place_now
        if self._cursor == before:
            return False
        self.scroll_to(y=self.scroll_offset.y + self._cursor - before, animate=False, force=True)
        return True

    def _refresh_changes(self, before: tuple[list[list[str]], list[object]] | None) -> None:
        after = self._cells()
        if before is None or len(before[0]) != len(after):
            self.refresh()
            return
        placed = self.placed
        toned = [old != new for old, new in zip(before[1], self._row_style_keys, strict=True)]
        regions = [
            Region(placed[column].left, line + _HEADER_LINES, placed[column].width + 1, 1)
            for line, (old, new) in enumerate(zip(before[0], after, strict=True))
            if old != new or toned[line]
            for column in range(len(placed))
            if toned[line] or old[column : column + 1] != new[column : column + 1]
        ]
        if regions:
            self.refresh(*regions)

    @property
    def placed(self) -> tuple[PlacedColumn, ...]:
        """The columns that are on the screen."""
        wide, exact = tuple(self._lines.widest.items()), self.columns != self.COLUMNS
        return place_columns(
            self.available_columns,
            self.PINNED,
            self.size.width,
            self._skip,
            exact=exact,
            sort=self._sheet.sort,
            wide=wide,
        )

    @property
    def available_columns(self) -> tuple[Field, ...]:
        """Those of ``columns`` that have anything to show."""
        return self.columns

    def choose_columns(self, choices: Iterable[ColumnChoice]) -> None:
        """Show these columns and no others; none: the list's own."""
        self.columns = select_columns(self.COLUMNS, choices) or self.COLUMNS
        self._skip = 0
        self._painted_sheet = ()
        self.refresh()

    def _cells(self) -> list[list[str]]:
        """The texts on the screen, a list a line; made once for a sheet and a scroll position."""
        key = (self._sheet, self.scroll_offset.y, self.size, self._skip)
        if key != self._painted_sheet:
            top = self.scroll_offset.y
            lines = max(0, self.size.height - _HEADER_LINES)
            rows = self._sheet.order[top : top + lines]
            ids = self._sheet.ids[rows].tolist()
            placed, page = self.placed, self._sheet.page(rows)
            self._painted, self._row_style_keys = (
                self._lines.texts(ids, page, placed),
                [self.row_style_key(row) for row in rows.tolist()],
            )
            if self.placed != placed:  # a longer address has come
                self._painted = self._lines.texts(ids, page, self.placed)
                self.refresh()
            self._painted_sheet = key
        return self._painted

    def render_line(self, y: int) -> Strip:
        """One line of the screen; line 0 is the header."""
        width = self.size.width
        cells = self._cells()  # first, because it may move the columns
        if y < _HEADER_LINES:
            return self._header().adjust_cell_length(width, self.get_component_rich_style("table--header"))
        line = y - _HEADER_LINES
        if line >= len(cells):
            if line == 0:
                return Strip([Segment(self._sheet.title, self.rich_style)]).adjust_cell_length(width, self.rich_style)
            return Strip.blank(width, self.rich_style)
        return self._row_strip(cells[line], self.scroll_offset.y + line).adjust_cell_length(width, self.rich_style)

    def _row_strip(self, cells: list[str], position: int) -> Strip:
        base = self.rich_style
        selected = position == self._cursor and (self.has_focus or self.searching)
        if selected:
            base = self.get_component_rich_style("table--cursor")
        row = int(self._sheet.order[position])
        segments: list[Segment] = []
        plain = ""
        for spot, cell in zip(self.placed, cells, strict=True):
            extra = None if selected else self.cell_style(row, spot.column.key)
            gap = "" if len(cell) > spot.width else " "  # a group's label goes on in the next column
            if extra is None:
                plain += cell + gap
                continue
            # what looks the same is one piece: each costs its way to the terminal
            segments += [Segment(plain, base), Segment(cell, base + extra)]
            plain = gap
        return Strip([*segments, Segment(plain, base)])

    def row_style_key(self, row: int) -> object:
        """What its texts do not say of a row's style: when it changes, all of the line does."""
        del row
        return None

    def cell_style(self, row: int, key: str) -> Style | None:
        """A colour for one cell; None: the row's."""
        del row, key
        return None

    def title(self, column: Field) -> str:
        """What stands above a column."""
        return column.title

    def _header(self) -> Strip:
        plain = self.get_component_rich_style("table--header")
        chosen = self.get_component_rich_style("table--sorted")
        segments: list[Segment] = []
        for spot in self.placed:
            title, style = self.title(spot.column), plain
            if spot.column.key == self._sheet.sort:
                title = (title + ("▼" if self._sheet.descending else "▲"))[-spot.width :]
                style = chosen
            segments += [Segment(fit(title, spot.width, right=spot.column.right), style), Segment(" ", plain)]
        return Strip(segments)

    @property
    def rich_style(self) -> Style:
        """Widget style without the link handling that the base adds for every read."""
        return self.visual_style.rich_style

    def _select(self, position: int) -> None:
        last = len(self._sheet.order) - 1
        self._cursor = max(0, min(position, last))
        # at the top the cursor stays at the top, whoever comes there
        self._selected_id = self.selected_id if self._cursor else None
        top, lines = self.scroll_offset.y, max(1, self.size.height - _HEADER_LINES)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, force=True)
        elif self._cursor >= top + lines:
            self.scroll_to(y=self._cursor - lines + 1, animate=False, force=True)
        self.refresh()

    @property
    def selected_row(self) -> int | None:
        """Row under the cursor."""
        return int(self._sheet.order[self._cursor]) if self._cursor < len(self._sheet.order) else None

    @property
    def selected_id(self) -> int | None:
        """Id of the row under the cursor."""
        row = self.selected_row
        return None if row is None else int(self._sheet.ids[row])

    def begin_search(self) -> None:
        """From here on ``find`` goes."""
        self._search_from = self._cursor

    def find(self, wanted: Filter, step: int) -> str:
        """Go to the next row that matches, for -1 to the one before, for 0 to the first since ``begin_search``.

        Returns:
            What to say of it.
        """
        if self._sheet.matches is None:
            return "this list cannot be searched"
        places = np.flatnonzero(self._sheet.matches(wanted)[self._sheet.order])
        found, told = next_match(places, self._cursor + step if step else self._search_from, step)
        if found is not None:
            self._select(found)
        return told

    def row_text(self) -> str:
        """All columns of the row under the cursor, as ``pid=812 process=nginx ...``; empty without a row."""
        if self.selected_row is None:
            return ""
        return logfmt(self.COLUMNS, self._sheet.page(np.array([self.selected_row])))

    def action_move(self, lines: int) -> None:
        """Move the cursor."""
        self._select(self._cursor + lines)

    def action_page(self, pages: int) -> None:
        """Move the cursor by a screenful."""
        self._select(self._cursor + pages * max(1, self.size.height - _HEADER_LINES - 1))

    def action_first(self) -> None:
        """Go to the top and stay there."""
        self._select(0)

    def action_last(self) -> None:
        """Go to the last row."""
        self._select(len(self._sheet.order) - 1)

    def action_columns(self, step: int) -> None:
        """Bring the columns that did not fit onto the screen, until the last one is there."""
        there = before = [spot.column.key for spot in self.placed]
        while there == before and (self._skip if step < 0 else self._more_to_the_right(there)):
            self._skip = min(self._skip, len(self.available_columns)) + step
            there = [spot.column.key for spot in self.placed]
        self.refresh()

    def _more_to_the_right(self, there: list[str]) -> bool:
        columns = self.available_columns[-1 if self._skip else 0 :]
        return self._skip < len(self.available_columns) and any(column.key not in there for column in columns)

    def action_open(self) -> None:
        """Look closer at the row under the cursor; not every list has more to show."""

    def on_click(self, event: events.Click) -> None:
        """A title sorts, a row is selected, a second click opens it."""
        spot = event.get_content_offset(self)
        if spot is None:
            return
        if spot.y < _HEADER_LINES:
            for placed in self.placed if self._sheet.sort else ():  # else its order is its own
                if placed.left <= spot.x < placed.left + placed.width:
                    self.post_message(self.HeaderClicked(placed.column.key))
            return
        self._select(self.scroll_offset.y + spot.y - _HEADER_LINES)
        if event.chain > 1:
            self.action_open()
