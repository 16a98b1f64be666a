"""Local ports that are chosen after the state has been announced, by connect() and by listen() without bind().

Nothing else fires until the first retransmit, or the end of the listener. sock_diag knows the port meanwhile:
without it the same socket would stand in the table twice, and look as if nobody had seen it begin. Both know the
inode of the socket; the kernel side keeps it where the cookie will be (``read_bound_port``, ``c/sockets.c``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.dump import Dump
from tcptop_tui.records import UNKNOWN_NS, Mask, Rows, State, picked
from tcptop_tui.source.identity import Index

CHOOSING = [State.SYN_SENT, State.LISTEN]
"""States that are announced before the port is chosen."""


def portless(conns: Rows) -> Mask:
    """Which entries of the map (dtype CONN, or a beginning of it) wait for their port; shape (n,)."""
    without: Mask = (conns["lport"] == 0) & np.isin(conns["state"], CHOOSING)
    return without


@dataclass(frozen=True, slots=True)
class Waiting:
    """The sockets of one dump that may be such."""

    rows: Rows
    """dtype DUMPED, shape (n,)"""
    by_inode: Index

    @classmethod
    def of(cls, dump: Dump) -> Waiting:
        """Those with an inode: a socket that no process has neither connects nor listens."""
        which = np.flatnonzero(np.isin(dump.rows["state"], CHOOSING) & (dump.inode != 0))
        return cls(picked(dump.rows, which), Index.of(dump.inode[which].astype(np.uint64)))

    def give_ports(self, conns: Rows, until_ns: int = UNKNOWN_NS) -> NDArray[np.intp]:
        """Give entries of the map without a port their local end, in place.

        Args:
            conns: dtype CONN, or a beginning of it.
            until_ns: who was born later may be the same socket's next try, with another port.

        Returns:
            Which were given one; none of them says an inode for a cookie any more.
        """
        asking = np.flatnonzero(portless(conns) & (conns["born_ns"] < until_ns))
        place, found = self.by_inode.find(conns["cookie"][asking])
        which, place = asking[found], place[found]
        for name in ("lport", "laddr", "cookie"):
            conns[name][which] = self.rows[name][place]
        return which
