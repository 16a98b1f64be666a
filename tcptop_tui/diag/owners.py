"""Which process has a socket open, from /proc: for sockets from before our time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Rows

_MIN_PERIOD_S = 2.0
_SCAN_SHARE = 0.1
"""Of one core that scanning may take: it holds the interpreter's lock."""
_LONGEST_WAIT_S = 64.0

_OWNER = np.dtype([("inode", "<u8"), ("pid", "<u4"), ("comm", "S16"), ("due_s", "<f8"), ("wait_s", "<f8")])
"""What is known of one inode; ``pid`` 0: nobody was found. ``due_s``: when to look (again)."""


class Owners:
    """Finds owners by inode; for one worker thread.

    A scan reads a link for each descriptor of each process, so there is one only when the owner of
    a socket is not known, and then it answers for all of them. One that is not found is looked for
    again after 2, 4, 8 … 64 s: another user's process, without root, is never found. So is one
    that PID 1 has: systemd opens the listeners of services that start later. A socket whose owner
    has ended is looked for at once: a child may have inherited it.

    Args:
        min_period_s: between two scans at least; ten times what a scan took, if that is longer.
        clock: seconds from any start.
    """

    def __init__(self, min_period_s: float = _MIN_PERIOD_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._min_period_s = min_period_s
        self._clock = clock
        self._known = np.zeros(0, _OWNER)
        self._not_before_s = -np.inf

    def resolve(self, inodes: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[np.bytes_]]:
        """PID and comm (dtype S16) for each of ``inodes``, shape (n,); 0 and b"" where nobody is found.

        Forgets the inodes that are not asked for any more.
        """
        asked, place = np.unique(inodes.astype("<u8"), return_inverse=True)
        self._known = _kept(self._known, asked)
        if self._clock() >= self._not_before_s:
            self._look()
        found = self._known[place]
        return found["pid"], found["comm"]

    def __len__(self) -> int:
        """Inodes that are remembered."""
        return int((self._known["inode"] != 0).sum())

    def _look(self) -> None:
        """Scan, if there is anybody to look for."""
        known, started_s = self._known, self._clock()
        _forget_ended(known)
        due = np.flatnonzero((known["due_s"] <= started_s) & (known["inode"] != 0))
        if not len(due):
            return
        found = _scan(set(known["inode"][due].tolist()))
        owners = [found.get(inode, (0, b"")) for inode in known["inode"][due].tolist()]
        known["pid"][due] = [pid for pid, _ in owners]
        known["comm"][due] = [comm for _, comm in owners]
        ended_s = self._clock()
        wait_s = np.clip(2 * known["wait_s"][due], self._min_period_s, _LONGEST_WAIT_S)
        known["wait_s"][due] = wait_s
        known["due_s"][due] = np.where(known["pid"][due] > 1, np.inf, ended_s + wait_s)
        self._not_before_s = ended_s + max(self._min_period_s, (ended_s - started_s) / _SCAN_SHARE)


def _kept(known: Rows, asked: NDArray[np.uint64]) -> Rows:
    """The entries of ``asked`` (ascending), new ones due at once."""
    kept = np.zeros(len(asked), _OWNER)
    kept["inode"] = asked
    kept["due_s"] = -np.inf
    old = np.searchsorted(known["inode"], asked)
    same = np.flatnonzero(old < len(known))
    same = same[known["inode"][old[same]] == asked[same]]
    kept[same] = known[old[same]]
    return kept


def _forget_ended(known: Rows) -> None:
    """Make those due again whose owner has ended."""
    pids = np.unique(known["pid"])
    ended = [pid for pid in pids.tolist() if pid and not os.path.exists(f"/proc/{pid}")]  # noqa: PTH110  1 µs, not 6
    orphaned = np.isin(known["pid"], ended)
    known["pid"][orphaned], known["comm"][orphaned] = 0, b""
    known["due_s"][orphaned] = -np.inf
    known["wait_s"][orphaned] = 0


def _scan(wanted: set[int]) -> dict[int, tuple[int, bytes]]:
    """Owner of each inode that any process has open.

    Of several processes the lowest PID: the parent opened it and its children inherited it. PID 1
    comes last: systemd keeps the listeners of the services that it starts.
    """
    found: dict[int, tuple[int, bytes]] = {}
    pids = sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), key=lambda pid: (pid == 1, pid))
    for pid in pids:
        mine = wanted.intersection(_sockets_of(pid)).difference(found)
        if mine:
            comm = comm_of(pid)
            found.update((inode, (pid, comm)) for inode in mine)
    return found


def _sockets_of(pid: int) -> Iterator[int]:
    """Inodes of the sockets that a process has open; nothing when it ended or is not ours to see."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    target = os.readlink(entry.path)
                except OSError:
                    continue
                if target.startswith("socket:["):
                    yield int(target[8:-1])
    except OSError:
        return


def comm_of(pid: int) -> bytes:
    """The kernel's name of a process, as its bytes are; b"" when it ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n")[:15]
    except OSError:
        return b""
