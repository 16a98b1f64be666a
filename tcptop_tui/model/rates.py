"""Bytes per second of each connection, from a table of about a second ago to the latest one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import Flag, Mask, Rows

_PERIOD_NS = 1_000_000_000
"""A rate is an average over at least this long: over a shorter time it would jump between 0 and a burst."""

Rate = NDArray[np.float64]


class Rates:
    """Computes the rates of each table's rows.

    ``tx`` and ``rx`` are bytes/s, shape (n,), beside the rows of the latest table; NaN: unknown.
    """

    def __init__(self) -> None:
        self._since_ns = np.zeros(0, np.int64)
        """When the present measurement of each connection began."""
        self._is_known = np.zeros(0, np.bool_)
        self._tx, self._rx = _Counter(), _Counter()

    @property
    def tx(self) -> Rate:
        """Payload bytes sent per second."""
        return self._tx.rate

    @property
    def rx(self) -> Rate:
        """Payload bytes received per second."""
        return self._rx.rate

    def update(self, rows: Rows, now_ns: int, diff: TableDiff) -> None:
        """Take a table (dtype ROW, sorted by ``id``); ``diff`` is the way to it from the one before."""
        is_known = (rows["flags"] & Flag.GAUGES) != 0
        is_measured = is_known & diff.carry_over(self._is_known, False)
        passed_ns = np.where(is_measured, now_ns - diff.carry_over(self._since_ns, now_ns), 0)
        is_due = is_measured & (passed_ns >= _PERIOD_NS)
        self._tx.update(rows["tx_bytes"].copy(), passed_ns, is_due, is_measured, diff)
        self._rx.update(rows["rx_bytes"].copy(), passed_ns, is_due, is_measured, diff)
        self._since_ns = np.where(is_due, now_ns, now_ns - passed_ns)
        self._is_known = is_known


class _Counter:
    """One direction: each connection's bytes when the present measurement began, and the rate of the one before."""

    def __init__(self) -> None:
        self._bytes, self.rate = np.zeros(0, "<u8"), np.zeros(0)

    def update(
        self, counters: NDArray[np.uint64], passed_ns: NDArray[np.int64], is_due: Mask, is_measured: Mask,
        diff: TableDiff,
    ) -> None:  # fmt: skip
        """Compute rates where a measurement is due. All arrays have shape (n,). A counter that fell has a rate of 0."""
        earlier_counters = diff.carry_over(self._bytes, 0)
        rate = np.where(is_due, 0.0, np.where(is_measured, diff.carry_over(self.rate, np.nan), np.nan))
        grown = np.flatnonzero(is_due & (counters > earlier_counters))  # few: most connections are quiet
        rate[grown] = (counters[grown] - earlier_counters[grown]) * 1e9 / passed_ns[grown]
        self.rate = rate
        self._bytes = np.where(is_measured & ~is_due, earlier_counters, counters)
