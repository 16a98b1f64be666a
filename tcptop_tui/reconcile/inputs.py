"""What is there now, whoever told of it: sock_diag's dump, owners from /proc, and the kernel map just after.

It takes 0.3 s with 100,000 sockets, so it has a thread of its own; the rings and the table do not wait for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.dump import Dump
from tcptop_tui.diag.namespaces import Namespaces
from tcptop_tui.host.memory import trim_heap
from tcptop_tui.host.socket_holders import NO_HOLDERS, SharedSockets
from tcptop_tui.host.socket_owners import OwnerFinder, ended_processes
from tcptop_tui.reconcile.entry_digests import ENTRY_DIGEST, entry_digests
from tcptop_tui.reconcile.inode_keys import PortlessSockets
from tcptop_tui.reconcile.owner_fill import copy_owner
from tcptop_tui.reconcile.rebinding import RebindingFinder
from tcptop_tui.reconcile.slot_reading import EntryReader
from tcptop_tui.records import CONN, CONN_HEAD, Flag, HolderLookup, Rows, State
from tcptop_tui.row_copy import appended, subset
from tcptop_tui.stream.batches import Capture
from tcptop_tui.stream.capture_match import mount_namespaces
from tcptop_tui.stream.identity import KeyIndex, endpoints_mask

_CPU_SHARE = 0.05
"""Of one core that comparing may take: a survey of 100,000 sockets then comes every 10 s or so."""
_CONFIRMATION_S = 0.25
"""After a survey that contradicts the map the next one comes so soon: what was missed is mended in one period."""
_QUIET_PERIODS = 3
"""To let go by while no socket changes its state: then there is nothing to find but what all programs have missed."""
_OWNER_FIELDS = ("pid", "start_ticks", "comm", "mntns", "uid")
OWNER_CORRECTION = np.dtype([(name, CONN[name]) for name in _OWNER_FIELDS])
"""What the survey knows better than the kernel side."""


class Schedule:
    """When the next survey is due; the first one is at once.

    Args:
        clock: seconds from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.has_events = True
        """Something has happened since the last one began."""
        self.asked = False
        """Somebody waits for it; may be set in any thread."""
        self._started_s = -math.inf
        self._min_pause_s = 0.0
        self._needs_confirmation = False

    def is_due(self, period_s: float, *, steady: bool = False) -> bool:
        """Is it time, with ``period_s`` between two of them where something happens, or always if ``steady``?"""
        if self.asked:
            return True
        if self._needs_confirmation:
            period_s = min(_CONFIRMATION_S, period_s)
        elif not self.has_events and not steady:
            period_s *= _QUIET_PERIODS
        return self._clock() >= self._started_s + max(period_s, self._min_pause_s)

    def started(self) -> None:
        """One has begun."""
        self._started_s = self._clock()
        self.has_events = self.asked = False

    def finished(self, cpu_s: float, *, doubts: bool) -> None:
        """It has been compared: the more work, the longer until the next one. ``doubts``: that one must confirm it."""
        self._min_pause_s = cpu_s / _CPU_SHARE
        self._needs_confirmation = doubts


@dataclass(frozen=True, slots=True)
class Inputs:
    """Of one moment, or of the few ms that it took."""

    dump: Dump
    """With owners; what the capture surely leaves out is not there, but for listeners."""
    entry_digests: Rows
    """The map's entries after the dump, dtype ENTRY_DIGEST; who has them may not be wanted."""
    rebound: Rows
    """Entries that the dump has with another device, dtype REBOUND."""
    capture: Capture
    sharing: SharedSockets
    """Which sockets of the dump several processes have open."""
    listeners: NDArray[np.uint64]
    """Addresses of listening sockets, as far as they are known, shape (k,)."""
    listener_owners: Rows
    """Whose they are, dtype OWNER, shape (k,)."""
    cpu_s: float
    """That it took."""


class InputReader:
    """Makes one survey at a time.

    Args:
        diag: the namespaces; used from the surveyor's thread from now on.
        conns: the sockets' entries.
        owners: finds who owns what; the surveyor's from now on, too.
    """

    def __init__(self, diag: Namespaces, conns: EntryReader, owners: OwnerFinder) -> None:
        self._diag = diag
        self._slots = conns
        self._owners = owners
        # its thread is started by the reading one, and has the capabilities that this one has raised
        self._thread = ThreadPoolExecutor(1, "survey")
        self._pending: Future[Inputs] | None = None

    @property
    def busy(self) -> bool:
        """One has been started and not been taken."""
        return self._pending is not None

    def start(self, capture: Capture) -> None:
        """Begin one."""
        self._pending = self._thread.submit(self._read, capture)

    def result(self, timeout_s: float = 0) -> Inputs | None:
        """What was found, once; None: not yet, within ``timeout_s``.

        Raises:
            BackendUnavailable: the kernel refuses.
            TcptopError: the thread was lost in another namespace.
        """
        if self._pending is None:
            return None
        try:
            found = self._pending.result(timeout_s)
        except TimeoutError:
            return None
        self._pending = None
        return found

    def _read(self, capture: Capture) -> Inputs:
        started_s = time.thread_time()
        trim_heap()  # never is there more at once than with two surveys
        dump = self._diag.dump()
        # who listens must be known of all: an accepted socket is its listener's at first
        dump = dump.subset(endpoints_mask(dump.rows, capture) | (dump.rows["state"] == State.LISTEN))
        rebinding = RebindingFinder(dump)
        entries = self._entry_digests(capture, PortlessSockets.from_dump(dump), rebinding)
        rebound = rebinding.match(entries["hash"])
        place, there = KeyIndex.from_keys(entries["hash"]).find(rebinding.keys)
        found, place = np.flatnonzero(there), place[there]
        # one owner on both sides: who has it open, then who was seen with it or listened
        copy_owner(dump.rows, found, entries, place)
        seen = np.zeros(len(dump.rows), np.uint32)
        sure = (entries["flags"][place] & Flag.OWNER_SURE) != 0
        seen[found[sure]] = entries["pid"][place[sure]]
        self._find_owners(dump, seen, capture)
        self._correct_owners(entries, place, dump, found)
        sharing = self._owners.holders.shared(dump.inode.astype(np.uint64))
        return Inputs(
            dump, entries, rebound, capture, sharing, *self._listener_owners(), time.thread_time() - started_s
        )

    def _entry_digests(self, capture: Capture, waiting: PortlessSockets, rebinding: RebindingFinder) -> Rows:
        """Digests of the entries with wanted endpoints, dtype ENTRY_DIGEST.

        Each is written where it stays: 100,000 in parts that are joined later would take 6 MB twice.
        """
        made, count = np.empty(self._slots.opened_slots, ENTRY_DIGEST), 0
        for keys, conns in self._slots.read_entries(CONN_HEAD):
            waiting.give_ports(conns)
            wanted = endpoints_mask(conns, capture)
            skaddr, chosen = keys[wanted], subset(conns, wanted)
            part = entry_digests(skaddr, chosen)
            rebinding.add_entries(count, skaddr, chosen, part["hash"])
            made, count = appended(made, count, part), count + len(part)
        return made[:count]

    def _find_owners(self, dump: Dump, seen: NDArray[np.uint32], capture: Capture) -> None:
        """Whose each socket is now; of one that nobody has open any more, who had it last."""
        rows = dump.rows
        owners = self._owners.resolve(dump.inode, seen)
        held = np.flatnonzero(owners["pid"])
        copy_owner(rows, held, owners, held)
        rows["holders"] = np.minimum(owners["holders"], 2**16 - 1)
        rows["holder_lookup"] = np.where(
            dump.inode == 0,
            HolderLookup.NO_INODE,
            HolderLookup.DONE if self._owners.is_fresh else HolderLookup.NOT_DONE,
        )
        if self._owners.is_fresh:  # in a message between two processes, in io_uring's table: still its last owner's
            left = np.flatnonzero((owners["pid"] == 0) & (dump.inode != 0) & (rows["pid"] != 0))
            gone = left[np.isin(rows["pid"][left], ended_processes(rows["pid"][left], rows["start_ticks"][left]))]
            copy_owner(rows, gone, owners, gone)
        if capture.mntns_map_path:
            unknown = np.flatnonzero((rows["pid"] != 0) & (rows["mntns"] == 0))
            rows["mntns"][unknown] = mount_namespaces(rows["pid"][unknown])

    def _correct_owners(self, entries: Rows, place: NDArray[np.intp], dump: Dump, found: NDArray[np.intp]) -> None:
        """Have rows ``place`` of ``entries``, and the kernel's own, say what rows ``found`` of the dump say.

        So whatever comes of them next, a table, a transition, an end, has the owner of now, and the capture
        filter asks for that one.
        """
        rows = dump.rows
        unheld = dump.inode[found] == 0  # the kernel knows no user of what is closed
        rows["uid"][found[unheld]] = entries["uid"][place[unheld]]
        differs = np.zeros(len(found), np.bool_)
        for name in _OWNER_FIELDS:
            differs |= rows[name][found] != entries[name][place]
        which, place = found[differs], place[differs]
        right = np.zeros(len(which), OWNER_CORRECTION)
        for name in _OWNER_FIELDS:
            right[name] = rows[name][which]
        before = entries["pid"][place]
        self._slots.correct_owners(entries["skaddr"][place], before, right)
        copy_owner(entries, place, rows, which)

    def _listener_owners(self) -> tuple[NDArray[np.uint64], Rows]:
        """Addresses of listeners whose owner was found now, and the owners (dtype OWNER)."""
        listening = self._owners.holders.listening if self._owners.is_fresh else NO_HOLDERS.listening
        owners = self._owners.holders.owners_of(listening["inode"], np.zeros(len(listening), np.uint32))
        return listening["skaddr"].copy(), owners

    def close(self) -> None:
        """Wait for the one that is being made."""
        self._thread.shutdown(cancel_futures=True)
