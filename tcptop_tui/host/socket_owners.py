"""Finds the owners of sockets, again and again, because descriptors are inherited, passed on and closed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.host.clock import boottime_offset_ticks
from tcptop_tui.host.socket_holders import HOLDER, NO_HOLDERS, Holders
from tcptop_tui.records import Rows

_MIN_PERIOD_S = 0.25
_SCAN_SHARE = 0.05
"""Of one core that scans may take: reading /proc holds the interpreter's lock."""
_ONE_THREAD = 3
"""Links of /proc/PID/task of a process with one thread (``proc_task_getattr``, fs/proc/base.c)."""


def proc_holders() -> Iterator[Rows]:
    """Dtype HOLDER, a process's descriptors of sockets at a time, as /proc tells them: no address, name or start."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        inodes = np.fromiter(_sockets_of(pid), np.uint64)
        if len(inodes):
            found = np.zeros(len(inodes), HOLDER)
            found["inode"], found["pid"] = inodes, pid
            yield found


class OwnerFinder:
    """Finds owners by inode; for one worker thread.

    Each scan reads all descriptors of all processes, and gives new answers for all sockets: a process that had one open
    a moment ago may have closed it.

    Args:
        look: parts of dtype HOLDER; with ``pid`` alone of each, the rest is read from /proc.
        min_period_s: between two looks at least; twenty times what one took, if that is longer.
        clock: seconds from any start.
    """

    def __init__(
        self, look: Callable[[], Iterable[Rows]] = proc_holders, min_period_s: float = _MIN_PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._read_descriptors = look
        self._min_period_s = min_period_s
        self._clock = clock
        self._not_before_s = -np.inf
        self.holders = NO_HOLDERS
        """What the latest look has found."""
        self.is_fresh = False
        """The latest answer is of now; else of an earlier look, who has ended since left out."""

    def resolve(self, inodes: NDArray[Any], seen: NDArray[np.uint32] | None = None) -> Rows:
        """Whose each of ``inodes`` is, dtype OWNER, shape (n,); zeros where nobody is found.

        Args:
            inodes: of sockets, 0: no process has it.
            seen: PID of who was seen at work on each, 0: nobody; shape (n,).
        """
        inodes = inodes.astype(np.uint64)
        seen = np.zeros(len(inodes), np.uint32) if seen is None else seen
        self.is_fresh = self._clock() >= self._not_before_s
        if self.is_fresh:
            started_s = self._clock()
            self.holders = _fill_processes(
                Holders.from_descriptors(np.unique(inodes[inodes != 0]), self._read_descriptors())
            )
            took_s = self._clock() - started_s
            self._not_before_s = self._clock() + max(self._min_period_s, took_s / _SCAN_SHARE - took_s)
        owners = self.holders.owners_of(inodes, seen)
        if not self.is_fresh:
            owners[np.isin(owners["pid"], ended_processes(owners["pid"], owners["start_ticks"]))] = 0
        return owners


def ended_processes(pids: NDArray[np.uint32], started: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Which of these processes, shape (n,), are no more: the PID is nobody's, or somebody's who started later.

    In a PID namespace of its own /proc has other PIDs than the kernel side: there nothing is known of it.
    """
    if not is_first_pid_namespace():
        return np.zeros(0, np.uint32)
    numbers, first = np.unique(pids, return_index=True)
    known = zip(numbers.tolist(), started[first].tolist(), strict=True)
    return np.array([pid for pid, since in known if pid and not is_running(pid, since)], np.uint32)


def is_running(pid: int, since: int) -> bool:
    """Whether the process that started ``since`` (as ``start_ticks`` of records.CONN, 0: unknown) still has the PID."""
    start = start_of(pid)
    return start != 0 and since in {0, start}


@lru_cache(maxsize=1)
def is_first_pid_namespace() -> bool:
    """Whether /proc has the PIDs that the kernel side has (PROC_PID_INIT_INO, include/linux/proc_ns.h)."""
    return os.stat("/proc/self/ns/pid").st_ino == 0xEFFFFFFC  # noqa: PTH116


def _fill_processes(found: Holders) -> Holders:
    """With names and starts of processes that are known by their PID alone, in place."""
    processes = found.processes
    for index in np.flatnonzero(processes["start_ticks"] == 0).tolist():
        pid = int(processes["pid"][index])
        processes["comm"][index], processes["start_ticks"][index] = comm_of(pid), start_of(pid)
    return found


def _sockets_of(pid: int) -> Iterator[int]:
    """Inodes of the sockets that a process has open; nothing when it ended or is not ours to see."""
    try:
        with os.scandir(_descriptors(pid)) as entries:
            for entry in entries:
                try:
                    target = os.readlink(entry.path)
                except OSError:
                    continue
                if target.startswith("socket:["):
                    yield int(target[8:-1])
    except OSError:
        return


def _descriptors(pid: int) -> Path:
    """The folder of a process's descriptors.

    A first thread that has ended has none any more (``exit_files()``, kernel/exit.c); the others go on with theirs.
    """
    process = Path(f"/proc/{pid}")
    if any((process / "fd").iterdir()) or (process / "task").stat().st_nlink <= _ONE_THREAD:
        return process / "fd"
    threads = (process / "task" / thread / "fd" for thread in os.listdir(process / "task"))
    return next((folder for folder in threads if any(folder.iterdir())), process / "fd")


def comm_of(pid: int) -> bytes:
    """The kernel's name of a process, as its bytes are; b"" when it ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n")[:15]
    except OSError:
        return b""


def start_of(pid: int) -> int:
    """When a process started, as ``start_ticks`` of records.CONN; 0 when it ended.

    From /proc/PID/stat (``do_task_stat``, fs/proc/array.c): the 22nd word, of which the second, its name in
    brackets, may have any characters.
    """
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(words[19]) - boottime_offset_ticks() & 0xFFFFFFFF
    except (OSError, IndexError, ValueError):
        return 0
