"""What round-trip time is usual for each remote address, and which are far slower than that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import Rows
from tcptop_tui.stream.identity import KeyIndex, peer_hash

SLOW_FACTOR, SLOW_US = 4.0, 20_000
"""A remote address is slow at so many times its usual round-trip time and so much more than that."""
BASELINE_SHARE = 0.05
"""Of the latest second in what is usual: a minute ago counts a twentieth."""
MIN_SECONDS = 20
"""Seconds before anything is usual."""
_SPARE = 4096
"""So many addresses that no connection has are remembered at most."""


class RttBaseline:
    """Follows the average of each address, second by second.

    An address has a number, which its connections keep: their address does not change.
    """

    def __init__(self) -> None:
        self._ids = np.zeros(0, np.uint64)
        self._number = np.zeros(0, np.intp)
        # by number
        self._keys = np.zeros(0, np.uint64)
        self._usual_us = np.zeros(0)
        self._seconds = np.zeros(0, np.intp)

    def slow_addresses(self, rows: Rows) -> Iterator[tuple[int, float, float]]:
        """Take a table (dtype ROW, sorted by ``id``); a row of each slow address, its average in µs, the usual one."""
        self._number_addresses(rows)
        if len(self._keys) > len(rows) + _SPARE:
            self._forget_unused()
        srtt_us, number = rows["srtt_us"].astype(np.float64), self._number
        timed = srtt_us != 0
        count = np.bincount(number, timed, len(self._keys))
        now_us = np.bincount(number, srtt_us, len(self._keys)) / np.maximum(count, 1)
        usual_us = np.where(self._seconds > 0, self._usual_us, now_us)
        slow = (self._seconds >= MIN_SECONDS) & (now_us > SLOW_FACTOR * usual_us) & (now_us > usual_us + SLOW_US)
        # what is usual does not follow what is not
        self._usual_us = np.where(slow, usual_us, usual_us + BASELINE_SHARE * (now_us - usual_us))
        # who is not there any more begins anew
        self._seconds = np.where(count > 0, self._seconds + 1, 0)
        for address in np.flatnonzero(slow & (count > 0)).tolist():
            yield int(np.argmax((number == address) & timed)), float(now_us[address]), float(usual_us[address])

    def _number_addresses(self, rows: Rows) -> None:
        """Number the addresses of connections that are new."""
        step = TableDiff.from_ids(self._ids, rows["id"].copy())
        self._ids, self._number = step.ids, step.carry_over(self._number, 0)
        fresh = np.flatnonzero(~step.existed)
        if not len(fresh):
            return
        keys, group = np.unique(peer_hash(rows, fresh), return_inverse=True)
        numbers, known = KeyIndex.from_keys(self._keys).find(keys)
        more = np.count_nonzero(~known)
        numbers[~known] = len(self._keys) + np.arange(more)
        self._number[fresh] = numbers[group.reshape(-1)]
        self._keys = np.concatenate([self._keys, keys[~known]])
        self._usual_us = np.concatenate([self._usual_us, np.zeros(more)])
        self._seconds = np.concatenate([self._seconds, np.zeros(more, np.intp)])

    def _forget_unused(self) -> None:
        used = np.bincount(self._number, minlength=len(self._keys)) > 0
        self._number = (np.cumsum(used) - 1)[self._number]
        self._keys, self._usual_us, self._seconds = self._keys[used], self._usual_us[used], self._seconds[used]
