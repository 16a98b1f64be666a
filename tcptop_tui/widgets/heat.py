"""The map beside the histogram: a line a bucket, a cell a step of time, the darker the more samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.heat import STEP_S

SHADES = " ░▒▓█"
LEAST_CELLS = 12
"""Below a minute a map says nothing that the numbers do not."""


def heat_lines(columns: NDArray[np.uint64], slots: range, cells: int) -> list[str]:
    """A line for each of ``slots``, the newest step at the right; each shade is some times the one before.

    Args:
        columns: samples by slot and step, newest last, shape (RTT_SLOTS, n).
        slots: which buckets have a line.
        cells: steps at most.
    """
    shown = columns[:, -cells:][slots.start : slots.stop].astype(np.float64)
    most = shown.max(initial=0)
    levels = np.ceil((len(SHADES) - 1) * np.log1p(shown) / np.log1p(max(1, most))).astype(int)
    return ["".join(SHADES[level] for level in line).rjust(cells) for line in levels.tolist()]


def heat_title(columns: int, cells: int, whole: int) -> str:
    """How far back the map goes, and what a cell is, in at most ``cells``.

    Args:
        columns: steps that are known at all.
        cells: steps that there is room for.
        whole: the last so many are complete; of older ones some connections are not kept.
    """
    shown = min(columns, cells)
    told = [f"last {_span(shown)}, {STEP_S} s a cell", f"last {_span(shown)}", _span(shown)]
    if whole < shown:
        told = [f"last {_span(shown)}, whole for {_span(whole)}", f"whole for {_span(whole)}", f"{_span(whole)}?"]
    return next((one for one in told if len(one) <= cells), "")


def _span(steps: int) -> str:
    seconds = steps * STEP_S
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
