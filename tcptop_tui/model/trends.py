"""Trends: RTT and rates of every connection for the last minute, so that a page that is opened now has a past."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.rates import Rate
from tcptop_tui.model.table_diff import Ids
from tcptop_tui.records import Rows

MAX_SAMPLES = 60
_PERIOD_NS = 10**9


@dataclass(frozen=True, slots=True, eq=False)
class TrendSample:
    """The values of one table. Immutable."""

    now_ns: int
    ids: Ids
    values: NDArray[np.float32]
    """Beside ``ids``: smoothed RTT in µs, sent and received bytes/s, shape (3, n); NaN: unknown."""


class Trends:
    """Stores a sample a second.

    Args:
        limit: rows of all samples together, 20 bytes each: the more connections there are, the shorter is the past.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._samples: deque[TrendSample] = deque(maxlen=MAX_SAMPLES)

    def update(self, rows: Rows, ids: Ids, tx_rate: Rate, rx_rate: Rate, now_ns: int) -> None:
        """Store a table's values, if the latest sample is a second old.

        Args:
            rows: dtype ROW, sorted by ``id``.
            ids: its ids; this array is stored, not copied.
            tx_rate: bytes/s beside ``rows``.
            rx_rate: as ``tx_rate``.
            now_ns: time of the table.
        """
        if self._samples and now_ns - self._samples[-1].now_ns < _PERIOD_NS:
            return
        values = np.empty((3, len(rows)), np.float32)
        values[0], values[1], values[2] = rows["srtt_us"], tx_rate, rx_rate
        values[0][values[0] == 0] = np.nan
        self._samples.append(TrendSample(now_ns, ids, values))
        while len(self._samples) > 1 and sum(len(sample.ids) for sample in self._samples) > self._limit:
            self._samples.popleft()

    @property
    def samples(self) -> tuple[TrendSample, ...]:
        """All samples, oldest first."""
        return tuple(self._samples)


def trend(samples: tuple[TrendSample, ...], row_id: int) -> NDArray[np.float32]:
    """The values of one connection, oldest first, shape (3, len(samples)); NaN where a table did not have it."""
    values = np.full((3, len(samples)), np.nan, np.float32)
    for column, sample in enumerate(samples):
        index = int(np.searchsorted(sample.ids, np.uint64(row_id)))
        if index < len(sample.ids) and sample.ids[index] == row_id:
            values[:, column] = sample.values[:, index]
    return values
