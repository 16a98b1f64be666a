"""Numbers as a line of bars, one cell each."""

from __future__ import annotations

import math
from collections.abc import Iterable

LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[float], cells: int) -> str:
    """The last ``cells`` of ``values``, from 0 to their largest; a blank where one is unknown (NaN).

    Nothing is the lowest level, and the least that is more than nothing is one above.
    """
    shown = list(values)[-cells:]
    most = max((value for value in shown if not math.isnan(value)), default=0.0)
    return "".join(_level(value, most) for value in shown).rjust(cells)


def _level(value: float, most: float) -> str:
    if math.isnan(value):
        return " "
    if value <= 0 or most <= 0:
        return LEVELS[0]
    return LEVELS[max(1, math.ceil(value / most * (len(LEVELS) - 1)))]
