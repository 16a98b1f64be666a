"""The texts of the lines on the screen; of a row that has not changed only what time changes is made anew."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tcptop_tui.text import fit, fit_middle
from tcptop_tui.widgets.lists.columns import Cell, Placed


def _made_from(cell: Cell) -> tuple[object, ...]:
    """Everything that texts are made from, but for the time."""
    rates = (None if math.isnan(rate) else rate for rate in (cell.tx_rate, cell.rx_rate))  # NaN differs from itself
    numbers = cell.hosts is None
    return (cell.row.tobytes(), *rates, cell.label, cell.common, cell.result, cell.rtt_unit, cell.names, numbers)


@dataclass(slots=True)
class Lines:
    """Remembers the texts of the latest screen, by the id of their row."""

    widest: dict[str, int] = field(default_factory=dict)
    """Cells that the longest text so far takes, by key of columns whose texts are cut in their middle."""
    _placed: tuple[Placed, ...] = ()
    _kept: dict[int, tuple[tuple[object, ...], list[str]]] = field(default_factory=dict)

    def _fitted(self, spot: Placed, cell: Cell) -> str:
        shown = spot.column.shown(cell)
        if not spot.column.middle:
            return fit(shown, spot.width, right=spot.column.right)
        self.widest[spot.column.key] = max(self.widest.get(spot.column.key, 0), len(shown))
        return fit_middle(shown, spot.width)

    def made(self, cells: list[tuple[int, Cell]], placed: tuple[Placed, ...]) -> list[list[str]]:
        """The texts of a row each, given as its id and what it is made from, in the columns ``placed``."""
        before = self._kept if placed == self._placed else {}
        self._placed, self._kept = placed, {}
        made = []
        for row_id, cell in cells:
            key = _made_from(cell)
            known, texts = before.get(row_id, (None, []))
            # a host name may have been found meanwhile
            same = known == key and cell.hosts is None
            texts = [
                shown if same and not spot.column.moves else self._fitted(spot, cell)
                for spot, shown in zip(placed, texts if same else [""] * len(placed), strict=True)
            ]
            self._kept[row_id] = key, texts
            made.append(texts)
        return made
