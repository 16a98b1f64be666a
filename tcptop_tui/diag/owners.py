"""Which process has a socket open, from /proc: for sockets from before our time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PERIOD_S = 2.0
"""Between two scans at least, and ten times what a scan took."""


class Owners:
    """Finds owners by inode; for one worker thread.

    A scan reads a link for each descriptor of each process, so there is one only when a socket is
    asked for that no scan has looked for yet, and then it answers for all of them.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, bytes]] = {}
        self._not_before_s = 0.0

    def resolve(self, inodes: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[np.bytes_]]:
        """PID and comm for each of ``inodes``, shape (n,); 0 and b"" where nobody is found.

        Forgets the inodes that are not asked for any more.
        """
        wanted = inodes.tolist()
        fresh = {inode for inode in wanted if inode and inode not in self._known}
        nobody = (0, b"")
        self._known = {inode: self._known[inode] for inode in wanted if inode in self._known}
        if fresh and time.monotonic() >= self._not_before_s:
            started_s = time.monotonic()
            found = _scan(fresh)
            self._known.update((inode, found.get(inode, nobody)) for inode in fresh)
            took_s = time.monotonic() - started_s
            self._not_before_s = time.monotonic() + max(_PERIOD_S, 10 * took_s)
        owners = [self._known.get(inode, nobody) for inode in wanted]
        return (
            np.array([pid for pid, _ in owners], "<u4").reshape(-1),
            np.array([comm for _, comm in owners], "S16").reshape(-1),
        )


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
