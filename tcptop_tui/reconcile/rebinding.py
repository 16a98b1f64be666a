"""Connections that setsockopt(SO_BINDTODEVICE) has bound to another device since their entries were written.

The kernel side reads a socket's device at each change of state. Nothing fires when setsockopt() changes it later, so
that sock_diag has the connection under another device, or under none. It is still the same connection.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.dump import Dump
from tcptop_tui.reconcile.inode_keys import dump_key
from tcptop_tui.records import Flag, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.identity import KeyIndex, key_with_birth, tuple_hash_any_device

REBOUND = np.dtype([("socket_key", "<u8"), ("dump_key", "<u8")])
"""``identity.socket_key`` of an entry, and ``inode_keys.dump_key`` of the same socket in the dump."""

NO_REBOUND = np.zeros(0, REBOUND)

_UNMATCHED_ENTRY = np.dtype([("entry_row", "<i8"), ("hash", "<u8"), ("socket_key", "<u8")])
_FREE_SOCKET = np.dtype([("dump_row", "<i8"), ("hash", "<u8")])


class RebindingFinder:
    """Finds rebound connections by one dump and the entries right after it.

    Args:
        dump: read before the entries were.
    """

    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self.keys = dump_key(dump)
        """``inode_keys.dump_key`` of each row of the dump."""
        self._has_bound_sockets = bool(dump.rows["dev"].any())
        self._unmatched: list[Rows] = []

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex.from_keys(self.keys)

    def add_entries(self, first_row: int, skaddr: NDArray[np.uint64], conns: Rows, keys: NDArray[np.uint64]) -> None:
        """Remember those of some entries that the dump does not have.

        Args:
            first_row: number of the first one among all entries.
            skaddr: their sockets, shape (n,).
            conns: dtype CONN, or a beginning of it, shape (n,).
            keys: ``inode_keys.entry_key`` of each, shape (n,).
        """
        candidates = (conns["state"] != State.LISTEN) & (conns["born_ns"] < self._dump.now_ns)
        if not self._has_bound_sockets:
            candidates &= conns["dev"] != 0
        row_index = np.flatnonzero(candidates)
        if len(row_index):
            row_index = row_index[~self._index.find(keys[row_index])[1]]
        if len(row_index):
            unmatched = np.zeros(len(row_index), _UNMATCHED_ENTRY)
            unmatched["entry_row"] = first_row + row_index
            unmatched["hash"] = tuple_hash_any_device(picked(conns, row_index))
            unmatched["socket_key"] = key_with_birth(skaddr[row_index], conns["born_ns"][row_index])
            self._unmatched.append(unmatched)

    def match(self, keys: NDArray[np.uint64]) -> Rows:
        """Give entries that the dump has with another device the dump's key, in place.

        An entry and an open socket of the dump are the same connection if they have the same addresses and ports, and
        no other entry or socket without a counterpart has these.

        Args:
            keys: ``inode_keys.entry_key`` of all entries, in the order in which they were added.

        Returns:
            dtype REBOUND.
        """
        if not self._unmatched:
            return NO_REBOUND
        entries = _unique_rows(concat(_UNMATCHED_ENTRY, *self._unmatched))
        rows = self._dump.rows
        has_entry = KeyIndex.from_keys(keys).find(self.keys)[1]
        is_open_connection = (rows["state"] != State.LISTEN) & ((rows["flags"] & Flag.GAUGES) != 0)
        dump_row = np.flatnonzero(~has_entry & is_open_connection)
        sockets = np.zeros(len(dump_row), _FREE_SOCKET)
        sockets["dump_row"], sockets["hash"] = dump_row, tuple_hash_any_device(picked(rows, dump_row))
        sockets = _unique_rows(sockets)
        socket_row, matched = KeyIndex.from_keys(sockets["hash"]).find(entries["hash"])
        rebound = np.zeros(int(matched.sum()), REBOUND)
        rebound["socket_key"] = entries["socket_key"][matched]
        rebound["dump_key"] = self.keys[sockets["dump_row"][socket_row[matched]]]
        keys[entries["entry_row"][matched]] = rebound["dump_key"]
        return rebound


def _unique_rows(rows: Rows) -> Rows:
    """The rows whose ``hash`` no other row has."""
    _, first, count = np.unique(rows["hash"], return_index=True, return_counts=True)
    return picked(rows, first[count == 1])
