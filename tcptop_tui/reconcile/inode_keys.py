"""Sockets that addresses and ports do not tell apart, by their inode, which both the map and sock_diag know.

Listeners may share an address (SO_REUSEPORT). And some local ports are chosen after the state has been announced, by
connect() and by listen() without bind(): nothing else fires until the first retransmit, or the end of the listener,
and without the port that sock_diag knows meanwhile the same socket would stand in the table twice, and look as if
nobody had seen it begin. The kernel side keeps the inode where the cookie will be (``read_early_port`` in ``c/``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.dump import Dump
from tcptop_tui.records import UNKNOWN_NS, Mask, Rows, State
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import KeyIndex, key_with_birth, tuple_hash, tuple_hash_any_device

PORT_CHOOSING_STATES = [State.SYN_SENT, State.LISTEN]
"""States that are announced before the port is chosen."""


def entry_key(conns: Rows) -> NDArray[np.uint64]:
    """One 64-bit number for each socket, shape (n,): ``tuple_hash``, but for listeners; dtype CONN, or a beginning."""
    return _key_with_inode(conns, conns["cookie"])


def dump_key(dump: Dump) -> NDArray[np.uint64]:
    """The same number of the sockets of a dump."""
    return _key_with_inode(dump.rows, dump.inode)


def _key_with_inode(rows: Rows, inode: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
    """A listener's inode is enough: its device may be another one than when it began to listen."""
    keys, listens = tuple_hash(rows), np.flatnonzero(rows["state"] == State.LISTEN)
    keys[listens] = key_with_birth(tuple_hash_any_device(picked(rows, listens)), inode[listens].astype(np.uint64))
    return keys


def portless_mask(conns: Rows) -> Mask:
    """Which entries of the map (dtype CONN, or a beginning of it) wait for their port; shape (n,)."""
    without: Mask = (conns["lport"] == 0) & np.isin(conns["state"], PORT_CHOOSING_STATES)
    return without


def clear_inodes(conns: Rows) -> None:
    """Have no inode stand for a cookie, in place; of any dtype that has them."""
    conns["cookie"][(conns["state"] == State.LISTEN) | portless_mask(conns)] = 0


@dataclass(frozen=True, slots=True)
class PortlessSockets:
    """The sockets of one dump that the map may have without a port."""

    rows: Rows
    """dtype DUMP_ROW, shape (n,)"""
    by_inode: KeyIndex

    @classmethod
    def from_dump(cls, dump: Dump) -> PortlessSockets:
        """Those with an inode: a socket that no process has neither connects nor listens."""
        which = np.flatnonzero(np.isin(dump.rows["state"], PORT_CHOOSING_STATES) & (dump.inode != 0))
        return cls(picked(dump.rows, which), KeyIndex.from_keys(dump.inode[which].astype(np.uint64)))

    def give_ports(self, conns: Rows, until_ns: int = UNKNOWN_NS) -> NDArray[np.intp]:
        """Give entries of the map without a port their local end, in place.

        Args:
            conns: dtype CONN, or a beginning of it.
            until_ns: who was born later may be the same socket's next try, with another port.

        Returns:
            Which were given one. A connection's inode is its cookie afterwards.
        """
        asking = np.flatnonzero(portless_mask(conns) & (conns["born_ns"] < until_ns))
        place, found = self.by_inode.find(conns["cookie"][asking])
        which, place = asking[found], place[found]
        for name in ("lport", "laddr"):
            conns[name][which] = self.rows[name][place]
        connects = conns["state"][which] == State.SYN_SENT
        conns["cookie"][which[connects]] = self.rows["cookie"][place[connects]]
        return which
