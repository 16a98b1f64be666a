"""Count, average and percentiles of a log2 histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import RTT_SLOTS

Histogram = NDArray[np.uint64]
"""Samples per slot, shape (RTT_SLOTS,)."""


@dataclass(frozen=True, slots=True)
class Summary:
    """None: no sample. Percentiles are interpolated inside their bucket."""

    count: int
    avg_us: float | None
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None


def bucket_bounds(slot: int) -> tuple[int, int | None]:
    """Lowest and highest whole value of a slot, µs, as bcc prints them; the last one is open."""
    low = 0 if slot == 0 else 1 << slot
    return low, None if slot == RTT_SLOTS - 1 else (1 << (slot + 1)) - 1


def percentile(hist: Histogram, share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of the samples lie, µs; None without samples.

    Samples count as spread evenly over their bucket. In the open last bucket its lower bound is
    all that is known.
    """
    used = np.flatnonzero(hist)
    if not len(used):
        return None
    upto = np.cumsum(hist[used])
    wanted = share * float(upto[-1])
    index = int(np.searchsorted(upto, wanted, side="left"))
    slot = int(used[index])
    low, high = bucket_bounds(slot)
    if high is None:
        return float(low)
    inside = 1 - (float(upto[index]) - wanted) / float(hist[slot])
    return low + inside * (high + 1 - low)


def average(hist: Histogram, sum_us: int) -> float | None:
    """Of all samples, from their sum, so that it is exact; None without samples."""
    count = int(hist.sum())
    return sum_us / count if count else None


def summarize(hist: Histogram, sum_us: int) -> Summary:
    """Everything that is said about a histogram in words."""
    return Summary(
        int(hist.sum()),
        average(hist, sum_us),
        *(percentile(hist, share) for share in (0.5, 0.9, 0.99)),
    )
