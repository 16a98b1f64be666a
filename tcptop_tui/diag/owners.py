"""Which process has a socket open, from /proc: for sockets from before our time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import overwrite, parts, picked

_MIN_PERIOD_S = 2.0
_SCAN_SHARE = 0.1
"""Of one core that scanning may take: it holds the interpreter's lock."""
_LONGEST_WAIT_S = 64.0

_OWNER = np.dtype([("due_s", "<f8"), ("inode", "<u4"), ("pid", "<u4"), ("wait_s", "<f4"), ("comm", "S16")])
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
        self._known = _Known()
        self._not_before_s = -np.inf

    def resolve(self, inodes: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[np.bytes_]]:
        """PID and comm (dtype S16) for each of ``inodes``, shape (n,); 0 and b"" where nobody is found.

        Forgets the inodes that are not asked for any more.
        """
        asked, place = np.unique(inodes.astype("<u4"), return_inverse=True)
        self._known.keep(asked)
        if self._clock() >= self._not_before_s:
            self._look()
        entries = self._known.entries
        return entries["pid"][place], entries["comm"][place]

    def _look(self) -> None:
        """Scan, if there is anybody to look for."""
        started_s = self._clock()
        self._known.forget_ended()
        due = self._known.due(started_s)
        if len(due):
            found = _scan(self._known.entries["inode"][due])
            ended_s = self._clock()
            self._known.note(due, *found, ended_s, self._min_period_s)
            self._not_before_s = ended_s + max(self._min_period_s, (ended_s - started_s) / _SCAN_SHARE)


_PART = 4096
"""Entries that are copied at a time."""


class _Known:
    """What the scans have found, and when to look again for the rest; ``entries`` is sorted by inode."""

    def __init__(self) -> None:
        self.entries = np.zeros(0, _OWNER)

    def __len__(self) -> int:
        return len(self.entries)

    def keep(self, asked: NDArray[np.uint32]) -> None:
        """Have entries for ``asked`` (ascending) and no others; new ones are due at once."""
        if np.array_equal(asked, self.entries["inode"]):
            return
        kept = np.zeros(len(asked), _OWNER)
        kept["inode"] = asked
        kept["due_s"] = np.where(asked == 0, np.inf, -np.inf)  # 0: no process has the socket
        old = np.searchsorted(self.entries["inode"], asked)
        same = np.flatnonzero(old < len(self.entries))
        same = same[self.entries["inode"][old[same]] == asked[same]]
        for part in parts(same, _PART):
            overwrite(kept, part, picked(self.entries, old[part]))
        self.entries = kept

    def forget_ended(self) -> None:
        """Make those due again whose owner has ended."""
        pids = np.unique(self.entries["pid"]).tolist()
        ended = [pid for pid in pids if pid and not os.path.exists(f"/proc/{pid}")]  # noqa: PTH110  1 µs, not 6
        orphaned = np.isin(self.entries["pid"], ended)
        for name, value in (("pid", 0), ("comm", b""), ("due_s", -np.inf), ("wait_s", 0.0)):
            self.entries[name][orphaned] = value

    def due(self, now_s: float) -> NDArray[np.intp]:
        """Indices of those to look for."""
        return np.flatnonzero(self.entries["due_s"] <= now_s)

    def note(
        self, due: NDArray[np.intp], pid: NDArray[np.uint32], comm: NDArray[np.bytes_], now_s: float, least_s: float
    ) -> None:
        """Enter what a scan for ``due`` has found."""
        self.entries["pid"][due] = pid
        self.entries["comm"][due] = comm
        wait_s = np.clip(2 * self.entries["wait_s"][due], least_s, _LONGEST_WAIT_S)
        self.entries["wait_s"][due] = wait_s
        self.entries["due_s"][due] = np.where(self.entries["pid"][due] > 1, np.inf, now_s + wait_s)


def _scan(wanted: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.bytes_]]:
    """PID and comm (dtype S16) of who has each of the inodes ``wanted`` open, ascending, shape (n,); 0 and b"": nobody.

    Of several processes the lowest PID: the parent opened it and its children inherited it. PID 1
    comes last: systemd keeps the listeners of the services that it starts.
    """
    sought, found, comm = wanted.astype(np.uint64), np.zeros(len(wanted), np.uint32), np.zeros(len(wanted), "S16")
    pids = sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), key=lambda pid: (pid == 1, pid))
    for pid in pids:
        if found.all():
            break
        # no sets: of 100,000 sockets they would be 20 MB
        theirs = np.fromiter(_sockets_of(pid), np.uint64)
        place = np.minimum(np.searchsorted(sought, theirs), len(sought) - 1)
        mine = place[(sought[place] == theirs) & (found[place] == 0)]
        if len(mine):
            found[mine], comm[mine] = pid, comm_of(pid)
    return found, comm


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
