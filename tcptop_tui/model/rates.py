"""Bytes per second of each connection, from one reading of the table to a later one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import Flag, Mask, Rows

_PERIOD_NS = 1_000_000_000
"""A rate is an average over at least this long: shorter ones jump between 0 and a burst."""

Rate = NDArray[np.float64]


class Rates:
    """Remembers each connection's counters of about a second ago.

    ``tx`` and ``rx`` are bytes/s, shape (n,), aligned with the rows given last; NaN: unknown.
    """

    def __init__(self) -> None:
        self._since_ns = np.zeros(0, np.int64)
        self._matched = np.zeros(0, np.bool_)
        self._tx, self._rx = _Counter(), _Counter()

    @property
    def tx(self) -> Rate:
        """Payload bytes sent per second."""
        return self._tx.rate

    @property
    def rx(self) -> Rate:
        """Payload bytes received per second."""
        return self._rx.rate

    def update(self, rows: Rows, now_ns: int, step: TableDiff) -> None:
        """Take the table ``rows`` (dtype ROW, sorted by ``id``), read at ``now_ns``; ``step`` leads to it."""
        known = (rows["flags"] & Flag.GAUGES) != 0
        same = known & step.carry_over(self._matched, False)
        passed_ns = np.where(same, now_ns - step.carry_over(self._since_ns, now_ns), 0)
        due = same & (passed_ns >= _PERIOD_NS)
        self._tx.update(rows["tx_bytes"].copy(), passed_ns, due, same, step)
        self._rx.update(rows["rx_bytes"].copy(), passed_ns, due, same, step)
        self._since_ns = np.where(due, now_ns, now_ns - passed_ns)
        self._matched = known


class _Counter:
    """One direction: bytes as they were when the present rate began to be measured, and the rate."""

    def __init__(self) -> None:
        self._bytes, self.rate = np.zeros(0, "<u8"), np.zeros(0)

    def update(
        self, counters: NDArray[np.uint64], passed_ns: NDArray[np.int64], due: Mask, same: Mask, step: TableDiff
    ) -> None:
        """All of shape (n,); a counter that has gone back has a rate of 0."""
        before = step.carry_over(self._bytes, 0)
        rate = np.where(due, 0.0, np.where(same, step.carry_over(self.rate, np.nan), np.nan))
        grown = np.flatnonzero(due & (counters > before))  # few: most connections are quiet
        rate[grown] = (counters[grown] - before[grown]) * 1e9 / passed_ns[grown]
        self.rate = rate
        self._bytes = np.where(same & ~due, before, counters)
