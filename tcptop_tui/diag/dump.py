"""What sock_diag has told of one moment, and how it is put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import guess_syn
from tcptop_tui.records import DUMP_ROW, Mask, Rows
from tcptop_tui.row_copy import appended, picked
from tcptop_tui.stream.socket_details import NO_DETAILS, SOCKET_DETAIL

_FEW = 1024


@dataclass(frozen=True, slots=True)
class Dump:
    """The sockets of one moment, or of the few ms that the kernel took."""

    rows: Rows
    """dtype DUMP_ROW, shape (n,), no ``cookie`` twice in a namespace; no ``id``, no owner."""
    inode: NDArray[np.uint32]
    """Of each socket, 0 where no process has it; shape (n,)."""
    now_ns: int
    """CLOCK_MONOTONIC just before."""
    netns: frozenset[int]
    """Inode numbers of the network namespaces that were read; one may have no socket."""
    details: Rows = field(default_factory=lambda: NO_DETAILS)
    """Of each socket, dtype SOCKET_DETAIL, shape (n,); empty: nobody wanted them."""

    def subset(self, which: Mask) -> Dump:
        """Of the same moment, with ``which`` of the sockets."""
        if which.all():
            return self
        details = picked(self.details, which) if len(self.details) else self.details
        return Dump(picked(self.rows, which), self.inode[which], self.now_ns, self.netns, details)


class DumpBuilder:
    """Sockets as they come, put where they will stay: 100,000 in parts that are joined later are 16 MB twice.

    Args:
        expected: how many there may be.
        told: called after each part with the number of sockets so far.
        details: keep ``stream.socket_details`` of each as well.
    """

    def __init__(self, expected: int = 0, told: Callable[[int], None] | None = None, *, details: bool = False) -> None:
        self._on_sockets = told
        self.details = details
        room = max(_FEW, expected + expected // 8)
        self._rows: Rows = np.empty(room, DUMP_ROW)
        self._inode: NDArray[np.uint32] = np.empty(room, np.uint32)
        self._details: Rows = np.empty(room, SOCKET_DETAIL) if details else NO_DETAILS
        self.count = 0

    def add(self, rows: Rows, inode: NDArray[np.uint32], details: Rows = NO_DETAILS) -> None:
        """More of them, dtype DUMP_ROW, with their inodes, and their details where these are kept."""
        self._rows, self._inode = appended(self._rows, self.count, rows), appended(self._inode, self.count, inode)
        if self.details:
            self._details = appended(self._details, self.count, details)
        self.count += len(rows)
        if self._on_sockets is not None:
            self._on_sockets(self.count)

    def truncate(self, count: int) -> None:
        """Keep the first ``count``."""
        self.count = count

    def drop_superseded(self, start: int) -> None:
        """From ``start`` on of one and the same socket only the last reading stays.

        A bound socket that connects while the kernel walks its tables is met in two of them.
        """
        latest = _latest(self._rows["cookie"][start : self.count])
        if not latest.all():
            which = start + np.flatnonzero(latest)
            rows, inode = picked(self._rows, which), self._inode[which]
            details = picked(self._details, which) if self.details else NO_DETAILS
            self.truncate(start)
            self.add(rows, inode, details)

    def finish(self, now_ns: int, netns: frozenset[int]) -> Dump:
        """All of them; nothing is added afterwards."""
        guess_syn(self._rows[: self.count])
        return Dump(self._rows[: self.count], self._inode[: self.count], now_ns, netns, self._details[: self.count])


def _latest(cookie: NDArray[np.uint64]) -> Mask:
    _, from_end = np.unique(cookie[::-1], return_index=True)
    latest: Mask = cookie == 0
    latest[len(cookie) - 1 - from_end] = True
    return latest
