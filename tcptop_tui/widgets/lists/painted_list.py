"""Paints a list: titles, rows and the cursor. Only what is on the screen is ever formatted, only changes are painted.

``Listing`` adds the keys that move the cursor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip

from tcptop_tui.config.schema import ColumnChoice
from tcptop_tui.fields import Field
from tcptop_tui.safe_text import fit
from tcptop_tui.widgets.lists.columns import PlacedColumn, place_columns, select_columns
from tcptop_tui.widgets.lists.line_cache import LineCache
from tcptop_tui.widgets.lists.list_content import NO_CONTENT, ListContent
from tcptop_tui.widgets.panels.panel import Panel

HEADER_LINES = 1


class PaintedList(Panel):
    """Paints a ``ListContent``. A line on the screen is a list of cells, one for each placed column."""

    COLUMNS: ClassVar[tuple[Field, ...]] = ()
    """All columns that the list can show."""
    PINNED: ClassVar[str] = "comm"
    """The column that stays when others are brought in from the right."""
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--sorted", "table--cursor"}

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._content = NO_CONTENT
        self.columns = self.COLUMNS
        """The columns that the user has chosen; ``COLUMNS`` if he has chosen none."""
        self.is_searched = False
        """A search runs in this list: the cursor is shown although the keys go elsewhere."""
        self._cursor = 0
        """Position of the row under the cursor."""
        self._skip = 0
        """Which column → has brought to the left edge, counted from 1; 0: none."""
        self._line_cache = LineCache()
        self._lines: list[list[str]] = []
        """The cells of each line on the screen."""
        self._line_style_keys: list[object] = []
        self._lines_key: tuple[object, ...] = ()
        """What ``_lines`` were made for."""

    def show_content(self, content: ListContent) -> None:
        """Paint ``content``; of what is on the screen already only the cells that changed."""
        old, self._content = self._content, content
        is_other = (content.view_options, content.empty_text) != (old.view_options, old.empty_text)
        if content.view_options != old.view_options:
            self._line_cache.widest.clear()
        self.set_line_count(len(content.order) + HEADER_LINES)
        has_moved = self._follow_selection()
        self._refresh_changes(None if is_other or has_moved else (self._lines, self._line_style_keys))

    def _follow_selection(self) -> bool:
        """Move the cursor to where the selected row is now; returns whether it moved."""
        return False

    def _refresh_changes(self, previous: tuple[list[list[str]], list[object]] | None) -> None:
        """Ask for a repaint of the cells that differ from ``previous`` lines and style keys; None: of everything."""
        lines = self._visible_lines()
        if previous is None or len(previous[0]) != len(lines):
            self.refresh()
            return
        old_lines, old_style_keys = previous
        columns = self.placed_columns
        restyled = [old != new for old, new in zip(old_style_keys, self._line_style_keys, strict=True)]
        regions = [
            Region(columns[number].left, line + HEADER_LINES, columns[number].width + 1, 1)
            for line, (old, new) in enumerate(zip(old_lines, lines, strict=True))
            if old != new or restyled[line]
            for number in range(len(columns))
            if restyled[line] or old[number : number + 1] != new[number : number + 1]
        ]
        if regions:
            self.refresh(*regions)

    @property
    def placed_columns(self) -> tuple[PlacedColumn, ...]:
        """The columns that are on the screen, from left to right."""
        widest, exact = tuple(self._line_cache.widest.items()), self.columns != self.COLUMNS
        return place_columns(
            self.available_columns,
            self.PINNED,
            self.size.width,
            self._skip,
            exact=exact,
            sort=self._content.sort_key,
            widest=widest,
        )

    @property
    def available_columns(self) -> tuple[Field, ...]:
        """Those of ``columns`` that have anything to show."""
        return self.columns

    def choose_columns(self, choices: Iterable[ColumnChoice]) -> None:
        """Show these columns and no others; with no choices the list's own."""
        self.columns = select_columns(self.COLUMNS, choices) or self.COLUMNS
        self._skip = 0
        self._lines_key = ()
        self.refresh()

    def _visible_lines(self) -> list[list[str]]:
        """The lines on the screen, made once for each content and scroll position."""
        top = self.scroll_offset.y
        key = (self._content, top, self.size, self._skip)
        if key != self._lines_key:
            numbers = self._content.order[top : top + max(0, self.size.height - HEADER_LINES)]
            ids = self._content.ids[numbers].tolist()
            columns, rows = self.placed_columns, self._content.select_rows(numbers)
            self._lines = self._line_cache.lines(ids, rows, columns)
            self._line_style_keys = [self.row_style_key(row) for row in numbers.tolist()]
            if self.placed_columns != columns:  # a longer address has come
                self._lines = self._line_cache.lines(ids, rows, self.placed_columns)
                self.refresh()
            self._lines_key = key
        return self._lines

    def render_line(self, y: int) -> Strip:
        """One line of the screen; line 0 is the header."""
        width = self.size.width
        lines = self._visible_lines()  # first, because it may move the columns
        if y < HEADER_LINES:
            return self._header().adjust_cell_length(width, self.get_component_rich_style("table--header"))
        line = y - HEADER_LINES
        if line < len(lines):
            return self._row_strip(lines[line], self.scroll_offset.y + line).adjust_cell_length(width, self.rich_style)
        if line == 0:
            empty = Segment(self._content.empty_text, self.rich_style)
            return Strip([empty]).adjust_cell_length(width, self.rich_style)
        return Strip.blank(width, self.rich_style)

    def _row_strip(self, cells: list[str], position: int) -> Strip:
        base = self.rich_style
        is_selected = position == self._cursor and (self.has_focus or self.is_searched)
        if is_selected:
            base = self.get_component_rich_style("table--cursor")
        row = int(self._content.order[position])
        segments: list[Segment] = []
        plain = ""
        for placed, cell in zip(self.placed_columns, cells, strict=True):
            style = None if is_selected else self.cell_style(row, placed.column.key)
            gap = "" if len(cell) > placed.width else " "  # a group's label goes on in the next column
            if style is None:
                plain += cell + gap
                continue
            # cells of one style make one segment: each segment costs bytes on the way to the terminal
            segments += [Segment(plain, base), Segment(cell, base + style)]
            plain = gap
        return Strip([*segments, Segment(plain, base)])

    def row_style_key(self, row: int) -> object:
        """What of a row's style is not in its texts. When it changes, the whole line is painted again."""
        del row
        return None

    def cell_style(self, row: int, key: str) -> Style | None:
        """The colour of one cell, by row number and key of its column; None: the row's."""
        del row, key
        return None

    def title(self, column: Field) -> str:
        """What stands above a column."""
        return column.title

    def _header(self) -> Strip:
        plain = self.get_component_rich_style("table--header")
        sorted_style = self.get_component_rich_style("table--sorted")
        segments: list[Segment] = []
        for placed in self.placed_columns:
            title, style = self.title(placed.column), plain
            order = self._content.sort_order
            if order is not None and placed.column.key == order.key:
                title = (title + ("▼" if order.descending else "▲"))[-placed.width :]
                style = sorted_style
            segments += [Segment(fit(title, placed.width, right=placed.column.right), style), Segment(" ", plain)]
        return Strip(segments)

    @property
    def rich_style(self) -> Style:
        """The widget's style, without the handling of links that Textual's own property adds at each read."""
        return self.visual_style.rich_style
