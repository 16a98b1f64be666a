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

REBOUND = np.dtype([("life", "<u8"), ("key", "<u8")])
"""``identity.socket_key`` of an entry, and ``inode_keys.dump_key`` of the same socket in the dump."""

NO_REBOUND = np.zeros(0, REBOUND)

_UNMATCHED = np.dtype([("at", "<i8"), ("ends", "<u8"), ("life", "<u8")])


class RebindingFinder:
    """Finds them, by one dump.

    Args:
        dump: read before the entries of the map were.
    """

    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self.keys = dump_key(dump)
        self._bound = bool(dump.rows["dev"].any())
        self._unmatched: list[Rows] = []

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex.from_keys(self.keys)

    def add_entries(self, at: int, skaddr: NDArray[np.uint64], conns: Rows, keys: NDArray[np.uint64]) -> None:
        """Look at entries of the map: those that the dump does not have are remembered.

        Args:
            at: number of the first one.
            skaddr: their sockets, shape (n,).
            conns: dtype CONN, or a beginning of it, shape (n,).
            keys: ``inode_keys.entry_key`` of each, shape (n,).
        """
        possible = (conns["state"] != State.LISTEN) & (conns["born_ns"] < self._dump.now_ns)
        which = np.flatnonzero(possible if self._bound else possible & (conns["dev"] != 0))
        if len(which):
            which = which[~self._index.find(keys[which])[1]]
        if len(which):
            made = np.zeros(len(which), _UNMATCHED)
            made["at"] = at + which
            made["ends"] = tuple_hash_any_device(picked(conns, which))
            made["life"] = key_with_birth(skaddr[which], conns["born_ns"][which])
            self._unmatched.append(made)

    def match(self, keys: NDArray[np.uint64]) -> Rows:
        """Give entries that the dump has with another device the dump's key, in place.

        That is so where one entry and one open socket of the dump are left over with the same addresses and ports.

        Args:
            keys: ``inode_keys.entry_key`` of all entries, in the order in which they were noted.

        Returns:
            dtype REBOUND.
        """
        if not self._unmatched:
            return NO_REBOUND
        entries = _unique_rows(concat(_UNMATCHED, *self._unmatched), "ends")
        rows = self._dump.rows
        claimed = KeyIndex.from_keys(keys).find(self.keys)[1]
        free = np.flatnonzero(~claimed & (rows["state"] != State.LISTEN) & ((rows["flags"] & Flag.GAUGES) != 0))
        sockets = np.zeros(len(free), _UNMATCHED)
        sockets["at"], sockets["ends"] = free, tuple_hash_any_device(picked(rows, free))
        sockets = _unique_rows(sockets, "ends")
        place, same = KeyIndex.from_keys(sockets["ends"]).find(entries["ends"])
        made = np.zeros(int(same.sum()), REBOUND)
        made["life"], made["key"] = entries["life"][same], self.keys[sockets["at"][place[same]]]
        keys[entries["at"][same]] = made["key"]
        return made


def _unique_rows(rows: Rows, name: str) -> Rows:
    """Those whose value in field ``name`` no other one has."""
    _, first, count = np.unique(rows[name], return_index=True, return_counts=True)
    return picked(rows, first[count == 1])
