"""The cells of the lines on the screen. A row that has not changed keeps its cells, but for those that show a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.cells import cell_len

from tcptop_tui.fields import BY_KEY
from tcptop_tui.safe_text import fit, fit_middle
from tcptop_tui.widgets.lists.columns import PlacedColumn
from tcptop_tui.widgets.lists.list_rows import ListRows, cell_texts


def _spread_label(cells: list[str], columns: tuple[PlacedColumn, ...], rows: ListRows, row: int) -> list[str]:
    """Let a group's label take the empty columns to its right too, with the blanks between them.

    Where the column that the members of the group have in common is not on the screen, its text joins the label.

    Returns:
        The cells. Each cell that the label goes through has the blank behind it as well.
    """
    first = next((number for number, placed in enumerate(columns) if placed.column.key == "comm"), None)
    label, common_key = rows.tree_labels[row], rows.common_keys[row]
    if common_key not in {"comm", *(placed.column.key for placed in columns)}:
        label = f"{label} {BY_KEY[common_key].texts(rows.select(np.array([row])))[0]}"
    if first is None or cell_len(label) != len(label):
        return cells
    last = first
    while last + 1 < len(columns) and not cells[last + 1].strip():
        last += 1
    left, right = columns[first].left, columns[last].left + columns[last].width
    text = fit(label, right - left)
    spread = [
        text[placed.left - left : placed.left - left + placed.width + (number < last)]
        for number, placed in enumerate(columns[first : last + 1], first)
    ]
    return [*cells[:first], *spread, *cells[last + 1 :]]


@dataclass(slots=True)
class LineCache:
    """Remembers the cells of the latest screen, by the id of their row."""

    widest: dict[str, int] = field(default_factory=dict)
    """Cells that the longest text so far takes, by key of columns whose texts are cut in their middle."""
    _columns: tuple[PlacedColumn, ...] = ()
    _inputs_and_cells_by_id: dict[int, tuple[tuple[object, ...], list[str]]] = field(default_factory=dict)

    def _fitted_cells(self, placed: PlacedColumn, texts: list[str]) -> list[str]:
        if not placed.column.cut_in_middle:
            return [fit(text, placed.width, right=placed.column.right) for text in texts]
        longest = max(map(len, texts), default=0)
        self.widest[placed.column.key] = max(self.widest.get(placed.column.key, 0), longest)
        return [fit_middle(text, placed.width) for text in texts]

    def lines(self, ids: Sequence[int], rows: ListRows, columns: tuple[PlacedColumn, ...]) -> list[list[str]]:
        """A line for each of ``rows``, which have these ``ids``: a list of cells, one for each of ``columns``."""
        previous = self._inputs_and_cells_by_id if columns == self._columns else {}
        inputs = rows.text_inputs()
        unknown: tuple[tuple[object, ...], list[str]] = ((), [])
        previous_by_line = [previous.get(row_id, unknown) for row_id in ids]
        # a host name may have been found meanwhile
        changed = [
            line for line in range(len(ids))
            if previous_by_line[line][0] != inputs[line] or rows.host_names is not None
        ]  # fmt: skip
        changed_rows = rows.select(np.array(changed, np.intp)) if len(changed) < len(ids) else rows
        lines = [list(cells) for _, cells in previous_by_line]
        for line in changed:
            lines[line] = [""] * len(columns)
        for number, placed in enumerate(columns):
            numbers, part = (range(len(ids)), rows) if placed.column.changes_with_time else (changed, changed_rows)
            if len(numbers):
                cells = self._fitted_cells(placed, cell_texts(placed.column, part))
                for line, cell in zip(numbers, cells, strict=True):
                    lines[line][number] = cell
        self._columns = columns
        self._inputs_and_cells_by_id = dict(zip(ids, zip(inputs, lines, strict=True), strict=True))
        if not any(rows.common_keys):
            return lines
        return [_spread_label(lines[line], columns, rows, line) if rows.common_keys[line] else lines[line]
                for line in range(len(lines))]  # fmt: skip
