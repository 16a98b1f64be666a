"""Bytes per second of each connection, from one reading of the table to a later one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Flag, Rows

_PERIOD_NS = 1_000_000_000
"""A rate is an average over at least this long: shorter ones jump between 0 and a burst."""

Rate = NDArray[np.float64]


class Rates:
    """Remembers each connection's counters of about a second ago.

    ``tx`` and ``rx`` are bytes/s, shape (n,), aligned with the rows given last; NaN: unknown.
    """

    def __init__(self) -> None:
        self._id = np.zeros(0, "<u8")
        self._since_ns = np.zeros(0, "<u8")
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

    def update(self, rows: Rows, now_ns: int) -> None:
        """Take the table ``rows`` (dtype ROW, sorted by ``id``), read at ``now_ns``."""
        counters = np.stack([rows["tx_bytes"], rows["rx_bytes"]])
        known = (rows["flags"] & Flag.GAUGES) != 0
        since_ns = np.full(len(rows), now_ns, "<u8")
        base = counters.copy()
        rate = np.full((2, len(rows)), np.nan)
        if len(self._id):
            place = np.minimum(np.searchsorted(self._id, rows["id"]), len(self._id) - 1)
            same = (self._id[place] == rows["id"]) & known & self._known[place]
            since_ns[same] = self._since_ns[place[same]]
            base[:, same] = self._bytes[:, place[same]]
            rate[:, same] = self._rate[:, place[same]]
        due = known & (now_ns - since_ns >= _PERIOD_NS)
        grown = np.where(counters >= base, counters - base, 0)
        rate[:, due] = grown[:, due] * 1e9 / (now_ns - since_ns[due])
        since_ns[due] = now_ns
        base[:, due] = counters[:, due]
        self._id, self._known = rows["id"].copy(), known
        self._since_ns, self._bytes, self._rate = since_ns, base, rate
