"""The texts of the lines on the screen; of a row that has not changed only what time changes is made anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tcptop_tui.text import fit, fit_middle
from tcptop_tui.widgets.lists.columns import Placed
from tcptop_tui.widgets.lists.page import Page, cell_texts


@dataclass(slots=True)
class Lines:
    """Remembers the texts of the latest screen, by the id of their row."""

    widest: dict[str, int] = field(default_factory=dict)
    """Cells that the longest text so far takes, by key of columns whose texts are cut in their middle."""
    _placed: tuple[Placed, ...] = ()
    _kept: dict[int, tuple[tuple[object, ...], list[str]]] = field(default_factory=dict)

    def _fitted(self, spot: Placed, texts: list[str]) -> list[str]:
        if not spot.column.middle:
            return [fit(shown, spot.width, right=spot.column.right) for shown in texts]
        longest = max(map(len, texts), default=0)
        self.widest[spot.column.key] = max(self.widest.get(spot.column.key, 0), longest)
        return [fit_middle(shown, spot.width) for shown in texts]

    def made(self, ids: Sequence[int], page: Page, placed: tuple[Placed, ...]) -> list[list[str]]:
        """The texts of the rows of ``page``, which have these ``ids``, in the columns ``placed``."""
        before = self._kept if placed == self._placed else {}
        origins = page.origins()
        nothing: tuple[tuple[object, ...], list[str]] = ((), [])
        known = [before.get(row_id, nothing) for row_id in ids]
        # a host name may have been found meanwhile
        changed = [place for place, origin in enumerate(origins) if known[place][0] != origin or page.hosts is not None]
        fresh = page.take(np.array(changed, np.intp)) if len(changed) < len(ids) else page
        lines = [list(texts) for _, texts in known]
        for place in changed:
            lines[place] = [""] * len(placed)
        for column, spot in enumerate(placed):
            which, part = (range(len(ids)), page) if spot.column.moves else (changed, fresh)
            if len(which):
                for place, shown in zip(which, self._fitted(spot, cell_texts(spot.column, part)), strict=True):
                    lines[place][column] = shown
        self._placed, self._kept = placed, dict(zip(ids, zip(origins, lines, strict=True), strict=True))
        return lines
