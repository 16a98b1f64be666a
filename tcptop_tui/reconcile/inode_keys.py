"""Keys that match entries with sockets of a dump, also where addresses and ports do not tell sockets apart.

Listeners may share an address (SO_REUSEPORT). And some local ports are chosen after the state has been announced, by
connect() and by listen() without bind(). No hook fires then before the first retransmit, or the end of the listener, so
that the entry has no port. sock_diag knows the port meanwhile: without this module the socket would be in the table
twice, and look as if nobody had seen it begin. Both sides know the socket's inode. The kernel side stores it where the
cookie will be (``read_early_port`` in ``c/``).
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
    """One 64-bit number for the socket of each entry, shape (n,): its ``tuple_hash``, of a listener with the inode.

    Args:
        conns: dtype CONN, or a beginning of it.
    """
    return _key_with_inode(conns, conns["cookie"])


def dump_key(dump: Dump) -> NDArray[np.uint64]:
    """The same number for each socket of a dump, shape (n,)."""
    return _key_with_inode(dump.rows, dump.inode)


def _key_with_inode(rows: Rows, inode: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
    """A listener's key has its inode but not its device, which may have changed since it began to listen."""
    keys, listeners = tuple_hash(rows), np.flatnonzero(rows["state"] == State.LISTEN)
    keys[listeners] = key_with_birth(tuple_hash_any_device(picked(rows, listeners)), inode[listeners].astype(np.uint64))
    return keys


def portless_mask(conns: Rows) -> Mask:
    """Which entries (dtype CONN, or a beginning of it) have no local port yet; shape (n,)."""
    portless: Mask = (conns["lport"] == 0) & np.isin(conns["state"], PORT_CHOOSING_STATES)
    return portless


def clear_inodes(conns: Rows) -> None:
    """Set cookies that are inodes to 0, in place; of entries, or rows made of them."""
    conns["cookie"][(conns["state"] == State.LISTEN) | portless_mask(conns)] = 0


@dataclass(frozen=True, slots=True, eq=False)
class PortlessSockets:
    """The sockets of one dump whose entries may have no port."""

    rows: Rows
    """dtype DUMP_ROW, shape (n,)"""
    by_inode: KeyIndex

    @classmethod
    def from_dump(cls, dump: Dump) -> PortlessSockets:
        """Pick the sockets in such a state that have an inode: a process has every socket that connects or listens."""
        dump_row = np.flatnonzero(np.isin(dump.rows["state"], PORT_CHOOSING_STATES) & (dump.inode != 0))
        return cls(picked(dump.rows, dump_row), KeyIndex.from_keys(dump.inode[dump_row].astype(np.uint64)))

    def give_ports(self, conns: Rows, until_ns: int = UNKNOWN_NS) -> NDArray[np.intp]:
        """Give entries without a port the local endpoint that the dump has, in place.

        Args:
            conns: dtype CONN, or a beginning of it.
            until_ns: an entry that was born later is left alone: it may be the same socket's next try, on another port.

        Returns:
            Numbers of the entries that were given one. In a connection's entry the cookie replaces the inode.
        """
        entry_row = np.flatnonzero(portless_mask(conns) & (conns["born_ns"] < until_ns))
        socket_row, matched = self.by_inode.find(conns["cookie"][entry_row])
        entry_row, socket_row = entry_row[matched], socket_row[matched]
        for name in ("lport", "laddr"):
            conns[name][entry_row] = self.rows[name][socket_row]
        connects = conns["state"][entry_row] == State.SYN_SENT
        conns["cookie"][entry_row[connects]] = self.rows["cookie"][socket_row[connects]]
        return entry_row
