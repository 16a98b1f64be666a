"""The RTT baseline: which round-trip time is usual for each remote address, and which addresses are far slower."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import Rows
from tcptop_tui.stream.identity import KeyIndex, peer_hash

SLOW_FACTOR, SLOW_US = 4.0, 20_000
"""A remote address is slow when its RTT is so many times the usual one, and so much longer."""
BASELINE_SHARE = 0.05
"""Weight of the latest second in the usual RTT: what was a minute ago still has a twentieth of its weight."""
MIN_SECONDS = 20
"""Seconds with samples before an address has a usual RTT."""
_UNUSED_ADDRESSES = 4096
"""So many addresses without a connection are remembered at most."""


class RttBaseline:
    """Follows the average smoothed RTT of each remote address, second by second.

    Each address has a number. Connections keep the number of their address from table to table, so that addresses
    are hashed only once for each connection.
    """

    def __init__(self) -> None:
        self._ids = np.zeros(0, np.uint64)
        self._address_number = np.zeros(0, np.intp)
        """For each row of the latest table."""
        # by number of the address
        self._keys = np.zeros(0, np.uint64)
        self._usual_us = np.zeros(0)
        self._seconds = np.zeros(0, np.intp)

    def slow_addresses(self, rows: Rows) -> Iterator[tuple[int, float, float]]:
        """Take a table (dtype ROW, sorted by ``id``), once a second.

        Yields:
            For each slow address the number of one of its rows, its average RTT in µs, and the usual one.
        """
        self._number_addresses(rows)
        if len(self._keys) > len(rows) + _UNUSED_ADDRESSES:
            self._forget_unused()
        srtt_us, address_number = rows["srtt_us"].astype(np.float64), self._address_number
        has_srtt = srtt_us != 0
        count = np.bincount(address_number, has_srtt, len(self._keys))
        average_us = np.bincount(address_number, srtt_us, len(self._keys)) / np.maximum(count, 1)
        usual_us = np.where(self._seconds > 0, self._usual_us, average_us)
        is_slow = (average_us > SLOW_FACTOR * usual_us) & (average_us > usual_us + SLOW_US)
        is_slow &= self._seconds >= MIN_SECONDS
        # a slow second does not become usual
        self._usual_us = np.where(is_slow, usual_us, usual_us + BASELINE_SHARE * (average_us - usual_us))
        # an address that has no connection with an RTT now starts anew when it has one again
        self._seconds = np.where(count > 0, self._seconds + 1, 0)
        for number in np.flatnonzero(is_slow & (count > 0)).tolist():
            row_number = int(np.argmax((address_number == number) & has_srtt))
            yield row_number, float(average_us[number]), float(usual_us[number])

    def _number_addresses(self, rows: Rows) -> None:
        """Carry the addresses' numbers over to ``rows``; number the addresses of connections that are new."""
        diff = TableDiff.from_ids(self._ids, rows["id"].copy())
        self._ids, self._address_number = diff.ids, diff.carry_over(self._address_number, 0)
        if not len(diff.added):
            return
        keys, key_index = np.unique(peer_hash(rows, diff.added), return_inverse=True)
        numbers, is_known = KeyIndex.from_keys(self._keys).find(keys)
        new_count = np.count_nonzero(~is_known)
        numbers[~is_known] = len(self._keys) + np.arange(new_count)
        self._address_number[diff.added] = numbers[key_index.reshape(-1)]
        self._keys = np.concatenate([self._keys, keys[~is_known]])
        self._usual_us = np.concatenate([self._usual_us, np.zeros(new_count)])
        self._seconds = np.concatenate([self._seconds, np.zeros(new_count, np.intp)])

    def _forget_unused(self) -> None:
        """Drop addresses that no connection has, and number the others anew."""
        is_used = np.bincount(self._address_number, minlength=len(self._keys)) > 0
        self._address_number = (np.cumsum(is_used) - 1)[self._address_number]
        self._keys, self._usual_us = self._keys[is_used], self._usual_us[is_used]
        self._seconds = self._seconds[is_used]
