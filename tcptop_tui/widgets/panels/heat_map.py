"""The map beside the histogram: a line a bucket, a cell a step of time, the darker the more samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats
from tcptop_tui.model.heat_map import STEP_S
from tcptop_tui.records import Mask

SHADES = " ░▒▓█"
LEAST_CELLS = 12
"""Below a minute a map says nothing that the numbers do not."""


def heat_lines(columns: NDArray[np.uint64], slots: range, cells: int, unread: Mask | None = None) -> list[str]:
    """A line for each of ``slots``, the newest step at the right; each shade is some times the one before.

    Args:
        columns: samples by slot and step, newest last, shape (RTT_SLOTS, n).
        slots: which buckets have a line.
        cells: steps at most.
        unread: steps of which nothing is known, shape (n,); None: none.
    """
    shown = columns[:, -cells:][slots.start : slots.stop].astype(np.float64)
    most = shown.max(initial=0)
    levels = np.ceil((len(SHADES) - 1) * np.log1p(shown) / np.log1p(max(1, most))).astype(int)
    if unread is not None and unread.any():
        levels[:, unread[-cells:]] = len(SHADES)
    shades = SHADES + formats.UNKNOWN
    return ["".join(shades[level] for level in line).rjust(cells) for line in levels.tolist()]


def heat_scale(columns: NDArray[np.uint64], slots: range, cells: int) -> str:
    """What the shades of ``heat_lines`` mean: from how many samples on a cell has each."""
    most = int(columns[:, -cells:][slots.start : slots.stop].max(initial=0))
    steps = len(SHADES) - 1
    least = [int((1 + most) ** ((level - 1) / steps) - 1 + 1e-9) + 1 for level in range(1, steps + 1)]
    # of shades that begin with the same count only the darkest is ever drawn
    drawn = [level for level in range(steps) if least[level] <= most and least[level] not in least[level + 1 :]]
    told = [f"{SHADES[level + 1]} {formats.count(least[level])}" for level in drawn]
    return f"map from {'  '.join(told)}" if told else ""


def heat_title(columns: int, cells: int, whole: int) -> str:
    """Above the map, ``cells`` wide: how far back its first column is, and ``now`` above its last.

    Args:
        columns: steps that are known at all.
        cells: steps that there is room for.
        whole: the last so many are complete; of older ones some connections are not kept.
    """
    shown = min(columns, cells)
    told = [f"-{_span(shown)}, {STEP_S} s a cell", f"-{_span(shown)}"]
    if whole < shown:
        told = [f"-{_span(shown)}, complete for {_span(whole)}", f"complete for {_span(whole)}", f"-{_span(whole)}?"]
    room = cells - len(" now")
    left = next((one for one in told if len(one) <= room), "")
    return f"{left:<{max(len(left), shown - len(' now'))}} now".rjust(cells)


def _span(steps: int) -> str:
    seconds = steps * STEP_S
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
