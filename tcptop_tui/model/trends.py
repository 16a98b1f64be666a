"""RTT and rates of every connection over the last minute, so that a page that is opened now has a past."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.rates import Rate
from tcptop_tui.records import Rows

SAMPLES = 60
_APART_NS = 10**9


@dataclass(frozen=True, slots=True, eq=False)
class TrendSample:
    """One table, immutable; every array has shape (n,) and is sorted by ``ids``."""

    now_ns: int
    ids: NDArray[np.uint64]
    values: NDArray[np.float32]
    """Smoothed RTT in µs, sent and received bytes/s, shape (3, n); NaN: not known."""


class Trends:
    """Keeps a sample a second.

    Args:
        limit: rows of all samples together, 20 bytes each: with many connections the past is shorter.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._samples: deque[TrendSample] = deque(maxlen=SAMPLES)

    def update(self, rows: Rows, ids: NDArray[np.uint64], tx_rate: Rate, rx_rate: Rate, now_ns: int) -> None:
        """Take a table (dtype ROW, sorted by ``id``) with its ids, which are kept, and its rates."""
        if self._samples and now_ns - self._samples[-1].now_ns < _APART_NS:
            return
        values = np.empty((3, len(rows)), np.float32)
        values[0], values[1], values[2] = rows["srtt_us"], tx_rate, rx_rate
        values[0][values[0] == 0] = np.nan
        self._samples.append(TrendSample(now_ns, ids, values))
        while len(self._samples) > 1 and sum(len(sample.ids) for sample in self._samples) > self._limit:
            self._samples.popleft()

    @property
    def samples(self) -> tuple[TrendSample, ...]:
        """Oldest first."""
        return tuple(self._samples)


def trend(samples: tuple[TrendSample, ...], row_id: int) -> NDArray[np.float32]:
    """One connection's, oldest first, shape (3, n); NaN where it was not there."""
    found = np.full((3, len(samples)), np.nan, np.float32)
    for column, sample in enumerate(samples):
        place = int(np.searchsorted(sample.ids, np.uint64(row_id)))
        if place < len(sample.ids) and sample.ids[place] == row_id:
            found[:, column] = sample.values[:, place]
    return found
