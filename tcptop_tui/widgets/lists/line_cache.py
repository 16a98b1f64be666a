"""The texts of the lines on the screen; of a row that has not changed only what time changes is made anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.cells import cell_len

from tcptop_tui.fields import BY_KEY
from tcptop_tui.safe_text import fit, fit_middle
from tcptop_tui.widgets.lists.columns import PlacedColumn
from tcptop_tui.widgets.lists.page import RowTexts, cell_texts


def _spread(texts: list[str], placed: tuple[PlacedColumn, ...], page: RowTexts, row: int) -> list[str]:
    """A group's label takes the empty columns to its right too, with the blanks between them.

    Where the column that its members have in common is not on the screen, its text is in the label.

    Returns:
        The texts of the columns; each that the label goes through has the blank behind it as well.
    """
    first = next((place for place, spot in enumerate(placed) if spot.column.key == "comm"), None)
    label, common = page.tree_labels[row], page.group_common[row]
    if common not in {"comm", *(spot.column.key for spot in placed)}:
        label = f"{label} {BY_KEY[common].texts(page.select(np.array([row])))[0]}"
    if first is None or cell_len(label) != len(label):
        return texts
    last = first
    while last + 1 < len(placed) and not texts[last + 1].strip():
        last += 1
    left, right = placed[first].left, placed[last].left + placed[last].width
    shown = fit(label, right - left)
    spread = [
        shown[spot.left - left : spot.left - left + spot.width + (place < last)]
        for place, spot in enumerate(placed[first : last + 1], first)
    ]
    return [*texts[:first], *spread, *texts[last + 1 :]]


@dataclass(slots=True)
class LineCache:
    """Remembers the texts of the latest screen, by the id of their row."""

    widest: dict[str, int] = field(default_factory=dict)
    """Cells that the longest text so far takes, by key of columns whose texts are cut in their middle."""
    _placed: tuple[PlacedColumn, ...] = ()
    _texts_by_id: dict[int, tuple[tuple[object, ...], list[str]]] = field(default_factory=dict)

    def _fitted_texts(self, spot: PlacedColumn, texts: list[str]) -> list[str]:
        if not spot.column.cut_in_middle:
            return [fit(shown, spot.width, right=spot.column.right) for shown in texts]
        longest = max(map(len, texts), default=0)
        self.widest[spot.column.key] = max(self.widest.get(spot.column.key, 0), longest)
        return [fit_middle(shown, spot.width) for shown in texts]

    def texts(self, ids: Sequence[int], page: RowTexts, placed: tuple[PlacedColumn, ...]) -> list[list[str]]:
        """The texts of the rows of ``page``, which have these ``ids``, in the columns ``placed``."""
        before = self._texts_by_id if placed == self._placed else {}
        origins = page.text_inputs()
        nothing: tuple[tuple[object, ...], list[str]] = ((), [])
        known = [before.get(row_id, nothing) for row_id in ids]
        # a host name may have been found meanwhile
        changed = [
            place for place, origin in enumerate(origins) if known[place][0] != origin or page.host_names is not None
        ]
        fresh = page.select(np.array(changed, np.intp)) if len(changed) < len(ids) else page
        lines = [list(texts) for _, texts in known]
        for place in changed:
            lines[place] = [""] * len(placed)
        for column, spot in enumerate(placed):
            which, part = (range(len(ids)), page) if spot.column.changes_with_time else (changed, fresh)
            if len(which):
                for place, shown in zip(which, self._fitted_texts(spot, cell_texts(spot.column, part)), strict=True):
                    lines[place][column] = shown
        self._placed, self._texts_by_id = placed, dict(zip(ids, zip(origins, lines, strict=True), strict=True))
        if not any(page.group_common):
            return lines
        return [_spread(lines[place], placed, page, place) if page.group_common[place] else lines[place]
                for place in range(len(lines))]  # fmt: skip
