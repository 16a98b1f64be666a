"""A dump: all sockets of all network namespaces at one moment, and the builder that collects its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import guess_syn
from tcptop_tui.records import DUMP_ROW, Mask, Rows
from tcptop_tui.row_copy import appended, picked
from tcptop_tui.stream.socket_details import NO_DETAILS, SOCKET_DETAIL

_MIN_ROOM = 1024
"""Sockets."""


@dataclass(slots=True, eq=False)
class Dump:
    """The sockets of one moment, or of the few ms that the kernel took."""

    rows: Rows
    """dtype DUMP_ROW, shape (n,), no ``cookie`` twice in a namespace. Reconciling and polling fill in owners."""
    inode: NDArray[np.uint32]
    """Inode of each socket, 0 where no process has it open; shape (n,)."""
    now_ns: int
    """CLOCK_MONOTONIC just before the dump."""
    netns: frozenset[int]
    """Inode numbers of the network namespaces that were read, also of those without a socket."""
    details: Rows = field(default_factory=lambda: NO_DETAILS)
    """Details of each socket, dtype SOCKET_DETAIL, shape (n,); empty where nobody wanted them."""

    def subset(self, mask: Mask) -> Dump:
        """A dump of the same moment with the sockets in ``mask``, shape (n,); this one if these are all."""
        if mask.all():
            return self
        details = picked(self.details, mask) if len(self.details) else self.details
        return Dump(picked(self.rows, mask), self.inode[mask], self.now_ns, self.netns, details)


class DumpBuilder:
    """Collects sockets part by part where they will stay: parts of 100,000 that are joined later would be 16 MB twice.

    Args:
        expected: how many there may be.
        on_sockets: called after each part with the number of sockets so far.
        details: collect ``stream.socket_details`` as well.
    """

    def __init__(
        self, expected: int = 0, on_sockets: Callable[[int], None] | None = None, *, details: bool = False
    ) -> None:
        self._on_sockets = on_sockets
        self.details = details
        room = max(_MIN_ROOM, expected + expected // 8)
        self._rows: Rows = np.empty(room, DUMP_ROW)
        self._inode: NDArray[np.uint32] = np.empty(room, np.uint32)
        self._details: Rows = np.empty(room, SOCKET_DETAIL) if details else NO_DETAILS
        self.count = 0

    def add(self, rows: Rows, inode: NDArray[np.uint32], details: Rows = NO_DETAILS) -> None:
        """Add sockets (dtype DUMP_ROW) with their inodes, and with their details where these are collected."""
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
        """Drop all but the last reading of each socket among those from ``start`` on.

        A bound socket that connects while the kernel walks its tables is found in two of them.
        """
        is_latest = _latest_mask(self._rows["cookie"][start : self.count])
        if not is_latest.all():
            row_index = start + np.flatnonzero(is_latest)
            rows, inode = picked(self._rows, row_index), self._inode[row_index]
            details = picked(self._details, row_index) if self.details else NO_DETAILS
            self.truncate(start)
            self.add(rows, inode, details)

    def finish(self, now_ns: int, netns: frozenset[int]) -> Dump:
        """Return the dump; nothing may be added afterwards."""
        guess_syn(self._rows[: self.count])
        return Dump(self._rows[: self.count], self._inode[: self.count], now_ns, netns, self._details[: self.count])


def _latest_mask(cookie: NDArray[np.uint64]) -> Mask:
    """Which elements are the last ones with their cookie; those without a cookie all are."""
    _, from_end = np.unique(cookie[::-1], return_index=True)
    latest: Mask = cookie == 0
    latest[len(cookie) - 1 - from_end] = True
    return latest
