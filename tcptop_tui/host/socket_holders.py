"""Which processes hold which sockets: from descriptors as a scan finds them to the owner of each socket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import HOLDING, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked

HOLDER = np.dtype(
    [
        ("skaddr", "<u8"),  # 0: not known
        ("inode", "<u8"),
        ("pid", "<u4"),
        ("start_ticks", "<u4"),  # as in records.CONN; 0: not read yet
        ("mntns", "<u4"),  # 0: not asked for
        ("state", "<u4"),  # State; 0: not known
        ("comm", "S16"),
    ]
)
"""``struct holder`` of ``bpf/c/holders.c``: a descriptor of a socket, 48 bytes."""

HOLDING_PROCESS = np.dtype([("pid", "<u4"), ("start_ticks", "<u4"), ("mntns", "<u4"), ("comm", "S16")])

OWNER = np.dtype([("pid", "<u4"), ("start_ticks", "<u4"), ("mntns", "<u4"), ("holders", "<u4"), ("comm", "S16")])
"""``struct owner`` of ``bpf/c/records.c``: whose a socket is, and how many processes have it open; 32 bytes."""

_INIT = 1
_MAX_SHARED_HOLDERS = 65_536
"""Holders that are listed of all shared sockets together: 2 MB. The number of holders is known of each socket."""
_LISTENING = np.dtype([("skaddr", "<u8"), ("inode", "<u8")])


@dataclass(frozen=True, slots=True)
class Holders:
    """The processes that hold each of some sockets, from one scan of all descriptors."""

    inodes: NDArray[np.uint64]
    """Of the sockets, ascending, shape (n,)."""
    processes: Rows
    """dtype HOLDING_PROCESS, by ``pid``."""
    pairs: NDArray[np.uint64]
    """Each of a socket and a process, ascending: number of the socket above 32 bits, PID below; shape (m,)."""
    listening: Rows
    """``skaddr`` and ``inode`` of those in LISTEN whose address is known."""

    @classmethod
    def from_descriptors(cls, inodes: NDArray[np.uint64], parts: Iterable[Rows]) -> Holders:
        """Of the sockets ``inodes`` (ascending, shape (n,)), from descriptors of dtype HOLDER, some at a time.

        Of 100,000 sockets 2 MB are kept: no sets, no objects.
        """
        pairs, processes, listening = [np.zeros(0, np.uint64)], [], []
        for part in parts:
            place = np.minimum(np.searchsorted(inodes, part["inode"]), max(len(inodes) - 1, 0))
            hit = np.flatnonzero(inodes[place] == part["inode"]) if len(inodes) else place[:0]
            if not len(hit):
                continue
            pid = part["pid"][hit]
            pairs.append(place[hit].astype(np.uint64) << np.uint64(32) | pid)
            processes.append(_fields(picked(part, hit[np.unique(pid, return_index=True)[1]]), HOLDING_PROCESS))
            listening.append(_fields(picked(part, hit[part["state"][hit] == State.LISTEN]), _LISTENING))
        known = concat(HOLDING_PROCESS, *processes)
        return cls(
            inodes, picked(known, np.unique(known["pid"], return_index=True)[1]),
            np.unique(np.concatenate(pairs)), concat(_LISTENING, *listening),
        )  # fmt: skip

    def owners_of(self, inodes: NDArray[np.uint64], seen: NDArray[np.uint32]) -> Rows:
        """Whose each socket is, dtype OWNER, shape of ``inodes``; zeros where nobody has it open.

        Of several processes it is the one that was seen at work on it last, if it still has it; else the lowest PID:
        the parent opened it, its children inherited it. PID 1 comes last, since systemd keeps the listeners of the
        services that it starts.

        Args:
            inodes: of sockets, shape (n,).
            seen: PID of who was seen with each, 0: nobody; shape (n,).
        """
        made = np.zeros(len(inodes), OWNER)
        if not len(self.pairs):
            return made
        place = np.minimum(np.searchsorted(self.inodes, inodes), len(self.inodes) - 1)
        first, end = self._spans()
        count = np.where((self.inodes[place] == inodes) & (inodes != 0), end[place] - first[place], 0)
        which = np.flatnonzero(count)
        chosen = self._choose_owner(place[which], first[place[which]], count[which], seen[which])
        process = self.processes[np.searchsorted(self.processes["pid"], chosen)]
        for name in HOLDING_PROCESS.names or ():
            made[name][which] = process[name]
        made["holders"] = count
        return made

    def _spans(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where the pairs of each socket begin and end."""
        edges = np.searchsorted(self.pairs, np.arange(len(self.inodes) + 1, dtype=np.uint64) << np.uint64(32))
        return edges[:-1], edges[1:]

    def _choose_owner(
        self, place: NDArray[np.intp], first: NDArray[np.intp], count: NDArray[np.intp], seen: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        pids = self.pairs.astype(np.uint32)  # the lower 32 bits
        chosen = pids[first]
        others = np.flatnonzero((chosen == _INIT) & (count > 1))
        chosen[others] = pids[first[others] + 1]
        wanted = place.astype(np.uint64) << np.uint64(32) | seen
        found = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        still = self.pairs[found] == wanted
        chosen[still] = seen[still]
        return chosen

    def shared(self, inodes: NDArray[np.uint64]) -> SharedSockets:
        """Which of the sockets ``inodes``, shape (n,), several processes have open."""
        if not len(self.pairs):
            return NO_SHARED_SOCKETS
        first, end = self._spans()
        place = np.minimum(np.searchsorted(self.inodes, inodes), len(self.inodes) - 1)
        count = np.where((self.inodes[place] == inodes) & (inodes != 0), end[place] - first[place], 0)
        which = np.flatnonzero(count > 1)
        several = count[which]
        offsets = np.arange(several.sum()) - np.repeat(np.cumsum(several) - several, several)
        pairs = self.pairs[np.repeat(first[place[which]], several) + offsets]
        process = np.searchsorted(self.processes["pid"], pairs.astype(np.uint32))
        return SharedSockets(
            np.repeat(which, several)[:_MAX_SHARED_HOLDERS], picked(self.processes, process[:_MAX_SHARED_HOLDERS])
        )


@dataclass(frozen=True, slots=True)
class SharedSockets:
    """Sockets that several processes have open."""

    rows: NDArray[np.intp]
    """Number of the socket, one for each process that has it, ascending; shape (m,)."""
    processes: Rows
    """dtype HOLDING_PROCESS, shape (m,)."""

    def subset(self, which: Mask) -> SharedSockets:
        """Of ``which`` sockets, shape (n,), with the numbers that these have among themselves."""
        if which.all() or not len(self.rows):
            return self
        kept = which[self.rows]
        return SharedSockets((np.cumsum(which) - 1)[self.rows[kept]], picked(self.processes, kept))

    def rows_by_id(self, ids: NDArray[np.uint64]) -> Rows:
        """Dtype HOLDING, sorted by ``id`` and PID; ``ids`` of the sockets, shape (n,)."""
        made = np.zeros(len(self.rows), HOLDING)
        made["id"] = ids[self.rows]
        for name in ("pid", "start_ticks", "comm"):
            made[name] = self.processes[name]
        return made[np.argsort(made["id"], kind="stable")]


NO_SHARED_SOCKETS = SharedSockets(np.zeros(0, np.intp), np.zeros(0, HOLDING_PROCESS))
NO_HOLDERS = Holders(
    np.zeros(0, np.uint64), np.zeros(0, HOLDING_PROCESS), np.zeros(0, np.uint64), np.zeros(0, _LISTENING)
)


def _fields(rows: Rows, dtype: np.dtype[np.void]) -> Rows:
    made = np.empty(len(rows), dtype)
    for name in dtype.names or ():
        made[name] = rows[name]
    return made
