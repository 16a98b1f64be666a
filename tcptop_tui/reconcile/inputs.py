"""The reconcile inputs: a dump of sock_diag, the holders of its sockets, and digests of the entries right after it.

Reading them takes 0.3 s with 100,000 sockets. So a thread of its own does it, and the rings and the table do not wait.
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
"""Share of one core that reconciling may take: with 100,000 sockets it is done every 10 s or so."""
_CONFIRMATION_S = 0.25
"""How soon the next dump follows one that contradicts the entries, so that what was missed is mended in one period."""
_QUIET_PERIODS = 3
"""Periods between two dumps while no socket changes its state: only what all kernel programs missed could be found."""
_OWNER_FIELDS = ("pid", "start_ticks", "comm", "mntns", "uid")
OWNER_CORRECTION = np.dtype([(name, CONN[name]) for name in _OWNER_FIELDS])
"""What the reconcile inputs know better than the kernel side: an owner."""


class Schedule:
    """Says when the next reconcile inputs are to be read; the first ones are at once.

    Args:
        clock: seconds from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.has_events = True
        """Whether an event has come since the last reading began."""
        self.is_requested = False
        """Whether somebody waits for new inputs; may be set in any thread."""
        self._started_s = -math.inf
        self._min_pause_s = 0.0
        self._needs_confirmation = False

    def is_due(self, period_s: float, *, steady: bool = False) -> bool:
        """Whether it is time, with ``period_s`` between two readings while events come, or always if ``steady``."""
        if self.is_requested:
            return True
        if self._needs_confirmation:
            period_s = min(_CONFIRMATION_S, period_s)
        elif not self.has_events and not steady:
            period_s *= _QUIET_PERIODS
        return self._clock() >= self._started_s + max(period_s, self._min_pause_s)

    def started(self) -> None:
        """Note that a reading has begun."""
        self._started_s = self._clock()
        self.has_events = self.is_requested = False

    def finished(self, cpu_s: float, *, needs_confirmation: bool) -> None:
        """Note that the inputs have been compared.

        Args:
            cpu_s: what reading and comparing them took: the more, the longer until the next reading.
            needs_confirmation: the next dump has to confirm a difference, and follows soon.
        """
        self._min_pause_s = cpu_s / _CPU_SHARE
        self._needs_confirmation = needs_confirmation


@dataclass(slots=True, eq=False)
class Inputs:
    """The reconcile inputs of one moment, or of the few ms that reading them took."""

    dump: Dump
    """With owners; without sockets whose endpoints the capture filter excludes, but with all listeners."""
    entry_digests: Rows
    """Entries right after the dump, dtype ENTRY_DIGEST; the capture filter may exclude their owners."""
    rebound: Rows
    """Entries that the dump has with another device, dtype REBOUND."""
    capture: Capture
    """The capture filter under which they were read."""
    shared_sockets: SharedSockets
    """Which sockets of the dump several processes have open."""
    listeners: NDArray[np.uint64]
    """skaddr of listening sockets, as far as they are known, shape (k,)."""
    listener_owners: Rows
    """Their owners, dtype OWNER, shape (k,)."""
    cpu_s: float
    """CPU time that reading them took."""


class InputReader:
    """Reads one set of reconcile inputs at a time, in a thread of its own.

    Args:
        diag: the namespaces; used from that thread only, from now on.
        conns: the sockets' entries.
        owners: finds holders and owners; used from that thread only, from now on.
    """

    def __init__(self, diag: Namespaces, conns: EntryReader, owners: OwnerFinder) -> None:
        self._diag = diag
        self._slots = conns
        self._owners = owners
        # its thread is started by the reading one, and has the capabilities that this one has raised
        self._thread = ThreadPoolExecutor(1, "reconcile-inputs")
        self._pending: Future[Inputs] | None = None

    @property
    def busy(self) -> bool:
        """Whether a reading has been started whose result has not been fetched."""
        return self._pending is not None

    def start(self, capture: Capture) -> None:
        """Begin to read under this capture filter."""
        self._pending = self._thread.submit(self._read, capture)

    def result(self, timeout_s: float = 0) -> Inputs | None:
        """The inputs, once; None: they are not ready within ``timeout_s``.

        Raises:
            BackendUnavailable: the kernel refuses.
            TcptopError: the thread was lost in another namespace.
        """
        if self._pending is None:
            return None
        try:
            inputs = self._pending.result(timeout_s)
        except TimeoutError:
            return None
        self._pending = None
        return inputs

    def _read(self, capture: Capture) -> Inputs:
        started_s = time.thread_time()
        trim_heap()  # at no other time is there more memory in use than with two dumps
        dump = self._diag.dump()
        # all listeners stay, because an accepted socket has its listener's owner at first
        dump = dump.subset(endpoints_mask(dump.rows, capture) | (dump.rows["state"] == State.LISTEN))
        rebinding = RebindingFinder(dump)
        entries = self._entry_digests(capture, PortlessSockets.from_dump(dump), rebinding)
        rebound = rebinding.match(entries["hash"])
        entry_row, has_entry = KeyIndex.from_keys(entries["hash"]).find(rebinding.keys)
        dump_row, entry_row = np.flatnonzero(has_entry), entry_row[has_entry]
        # one owner on both sides: a holder, else the process that was seen with the socket or listened
        copy_owner(dump.rows, dump_row, entries, entry_row)
        seen_pids = np.zeros(len(dump.rows), np.uint32)
        is_sure = (entries["flags"][entry_row] & Flag.OWNER_SURE) != 0
        seen_pids[dump_row[is_sure]] = entries["pid"][entry_row[is_sure]]
        self._find_owners(dump, seen_pids, capture)
        self._correct_owners(entries, entry_row, dump, dump_row)
        listeners, listener_owners = self._listener_owners()
        return Inputs(
            dump=dump,
            entry_digests=entries,
            rebound=rebound,
            capture=capture,
            shared_sockets=self._owners.holders.shared(dump.inode.astype(np.uint64)),
            listeners=listeners,
            listener_owners=listener_owners,
            cpu_s=time.thread_time() - started_s,
        )

    def _entry_digests(self, capture: Capture, portless: PortlessSockets, rebinding: RebindingFinder) -> Rows:
        """Digests of the entries whose endpoints the capture filter wants, dtype ENTRY_DIGEST.

        Each is written where it stays: 100,000 in parts that are joined later would take 6 MB twice.
        """
        digests, count = np.empty(self._slots.opened_slots, ENTRY_DIGEST), 0
        for keys, conns in self._slots.read_entries(CONN_HEAD):
            portless.give_ports(conns)
            is_wanted = endpoints_mask(conns, capture)
            skaddr, wanted_conns = keys[is_wanted], subset(conns, is_wanted)
            part = entry_digests(skaddr, wanted_conns)
            rebinding.add_entries(count, skaddr, wanted_conns, part["hash"])
            digests, count = appended(digests, count, part), count + len(part)
        return digests[:count]

    def _find_owners(self, dump: Dump, seen_pids: NDArray[np.uint32], capture: Capture) -> None:
        """Write the present owner of each socket into the dump; where no process has it open, the last one stays."""
        rows = dump.rows
        owners = self._owners.resolve(dump.inode, seen_pids)
        held = np.flatnonzero(owners["pid"])
        copy_owner(rows, held, owners, held)
        rows["holders"] = np.minimum(owners["holders"], 2**16 - 1)
        rows["holder_lookup"] = np.where(
            dump.inode == 0,
            HolderLookup.NO_INODE,
            HolderLookup.DONE if self._owners.is_fresh else HolderLookup.NOT_DONE,
        )
        # a socket in a message between two processes, or in io_uring's table, is still its last owner's while that
        # lives
        if self._owners.is_fresh:
            unheld = np.flatnonzero((owners["pid"] == 0) & (dump.inode != 0) & (rows["pid"] != 0))
            has_ended = np.isin(rows["pid"][unheld], ended_processes(rows["pid"][unheld], rows["start_ticks"][unheld]))
            copy_owner(rows, unheld[has_ended], owners, unheld[has_ended])
        if capture.mntns_map_path:
            unknown = np.flatnonzero((rows["pid"] != 0) & (rows["mntns"] == 0))
            rows["mntns"][unknown] = mount_namespaces(rows["pid"][unknown])

    def _correct_owners(
        self, entries: Rows, entry_row: NDArray[np.intp], dump: Dump, dump_row: NDArray[np.intp]
    ) -> None:
        """Write the owners that rows ``dump_row`` have into their entries ``entry_row``, here and on the kernel side.

        So whatever is made of them next, a table row, a transition, an ended connection, has the present owner, and the
        capture filter decides by that one.
        """
        rows = dump.rows
        is_closed = dump.inode[dump_row] == 0  # the kernel knows no user of a socket that its process has closed
        rows["uid"][dump_row[is_closed]] = entries["uid"][entry_row[is_closed]]
        differs = np.zeros(len(dump_row), np.bool_)
        for name in _OWNER_FIELDS:
            differs |= rows[name][dump_row] != entries[name][entry_row]
        dump_row, entry_row = dump_row[differs], entry_row[differs]
        corrections = np.zeros(len(dump_row), OWNER_CORRECTION)
        for name in _OWNER_FIELDS:
            corrections[name] = rows[name][dump_row]
        self._slots.correct_owners(entries["skaddr"][entry_row], entries["pid"][entry_row], corrections)
        copy_owner(entries, entry_row, rows, dump_row)

    def _listener_owners(self) -> tuple[NDArray[np.uint64], Rows]:
        """Listeners (skaddr) whose owners have just been looked up, and the owners (dtype OWNER)."""
        listening = self._owners.holders.listening if self._owners.is_fresh else NO_HOLDERS.listening
        owners = self._owners.holders.owners_of(listening["inode"], np.zeros(len(listening), np.uint32))
        return listening["skaddr"].copy(), owners

    def close(self) -> None:
        """Wait for the reading that is under way, and end the thread."""
        self._thread.shutdown(cancel_futures=True)
