"""Bytes per second of each connection, from one reading of the table to a later one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.succession import Succession
from tcptop_tui.records import Flag, Rows

_PERIOD_NS = 1_000_000_000
"""A rate is an average over at least this long: shorter ones jump between 0 and a burst."""

Rate = NDArray[np.float64]


class Rates:
    """Remembers each connection's counters of about a second ago.

    ``tx`` and ``rx`` are bytes/s, shape (n,), aligned with the rows given last; NaN: unknown.
    """

    def __init__(self) -> None:
        self._since_ns = np.zeros(0, np.int64)
        self._bytes = np.zeros((2, 0), "<u8")
        self._rate = np.zeros((2, 0))
        self._known = np.zeros(0, np.bool_)

    @property
    def tx(self) -> Rate:
        """Payload bytes sent per second."""
        rate: Rate = self._rate[0]
        return rate

    @property
    def rx(self) -> Rate:
        """Payload bytes received per second."""
        rate: Rate = self._rate[1]
        return rate

    def update(self, rows: Rows, now_ns: int, step: Succession) -> None:
        """Take the table ``rows`` (dtype ROW, sorted by ``id``), read at ``now_ns``; ``step`` leads to it."""
        counters = np.stack([rows["tx_bytes"], rows["rx_bytes"]])
        known = (rows["flags"] & Flag.GAUGES) != 0
        same = known & step.carried(self._known, False)
        passed_ns = np.where(same, now_ns - step.carried(self._since_ns, now_ns), 0)
        base = step.carried(self._bytes, 0)
        due = same & (passed_ns >= _PERIOD_NS)
        rate = (counters - base) * (1e9 / np.maximum(passed_ns, 1))
        rate[counters < base] = 0.0
        self._rate = np.where(due, rate, np.where(same, step.carried(self._rate, np.nan), np.nan))
        self._since_ns = np.where(due, now_ns, now_ns - passed_ns)
        self._bytes = np.where(same & ~due, base, counters)
        self._known = known
