"""The source of kernel events: what the tracer records, joined with what sock_diag tells.

``BpfSource.run`` is the loop of the worker thread. ``Program`` is the loaded tracer with its maps. ``EventReader``
passes transitions and ended connections from the rings to the sink. ``Reconciler`` compares the kernel side's entries
with dumps of sock_diag. ``Joiner`` makes the rows of a table of the entries that changed and the latest dump.
``NameOffers`` adds what namespaces, cgroups and devices are called.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import numpy as np

from tcptop_tui.bpf.event_reader import EventReader
from tcptop_tui.bpf.load.compiler_client import CompileRequest
from tcptop_tui.bpf.loss_counters import read_loss
from tcptop_tui.bpf.name_offers import NameOffers
from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.reconciler import Reconciler
from tcptop_tui.diag.namespaces import Namespaces
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import clock
from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.reconcile.event_filter import EventFilter
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.records import CONN_HEAD, Mask, Rows
from tcptop_tui.row_copy import subset
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture, Loss, Sink, Source, Status, Table, reading_stage
from tcptop_tui.stream.capture_match import CaptureMatch
from tcptop_tui.stream.identity import endpoints_mask

_INPUT_WAIT_S = 0.05
"""How long to wait for reconcile inputs at a time: the rings fill meanwhile."""

_BUSY_SHARE = 1 / 16
"""A ring that was this full is read again at once: at 400,000 transitions a second it fills in 0.3 s."""

_IDLE_POLL_S = 0.2
"""Time between two polls where nothing happens: half of the polls cost a tenth of an idle dashboard. The ring lasts as
long."""
_IDLE_POLLS = 5
"""Nothing happens where more polls than this in a row have found the rings empty."""


@dataclass(frozen=True, slots=True)
class _OpenState:
    """What exists from ``open`` to ``close``."""

    program: Program
    names: NameOffers
    events: EventReader
    reconciler: Reconciler


class BpfSource(Source):
    """Raw tracepoints tell what happens, sock_diag what was there before.

    Args:
        settings: periods and sizes.
        capture: what the kernel side looks at.
    """

    backend = "bpf"

    def __init__(self, settings: Settings, capture: Capture) -> None:
        self._settings = settings
        self._cgroups = Cgroups()
        self._capture, self._capture_match = capture, CaptureMatch(capture, self._cgroups)
        self._next_capture: Capture | None = None
        self._wants_details = False
        self._request: CompileRequest | None = None
        self._open_state: _OpenState | None = None
        self._exit_stack = ExitStack()
        self._joiner = Joiner()
        self._offered_loss = Loss()
        self._sockets_read = 0
        """Sockets of the first dump so far; the thread of the reconcile inputs counts them."""

    def prepare(self) -> None:
        """Start the compiler already; ``open`` raises what goes wrong with it.

        Compiling takes as long as everything else that a start needs, and there is a second core for it.
        """
        with suppress(BackendUnavailable):
            self._request = Program.start_compiler(self._settings, self._capture)

    def open(self) -> None:
        """Compile, load and attach the kernel programs.

        Raises:
            BackendUnavailable: this host cannot run the kernel programs.
        """
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        diag = Namespaces(self._settings.max_namespaces)
        self._exit_stack.callback(diag.close)
        diag.on_sockets = self._count_sockets_read
        request, self._request = self._request, None
        program = Program(self._settings, self._capture, request)
        self._exit_stack.callback(program.close)
        program.attach(self._capture)
        names = NameOffers(diag, self._cgroups, self.backend)
        event_filter = EventFilter(self._capture, self._capture_match)
        events = EventReader(program, self._settings.ring_bytes, self._joiner, event_filter, names)
        reconciler = Reconciler(program, diag, self._joiner, events, names, self._capture, self._capture_match)
        self._exit_stack.callback(reconciler.close)
        self._open_state = _OpenState(program, names, events, reconciler)
        reconciler.want_details(wanted=self._wants_details)

    def _require_open(self) -> _OpenState:
        if self._open_state is None:
            raise RuntimeError("run() before open()")
        return self._open_state

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``: events at each poll, a table at each refresh."""
        state = self._require_open()
        sink.offer(Status(self.backend, stage=reading_stage(0)))
        # before the first event is passed on: the table has the owners of what was there
        self._offer_table(sink)
        next_table_s = time.monotonic() + self._settings.refresh_s
        idle_polls = 0
        while True:
            self._apply_capture(sink)
            read_bytes = state.events.drain(sink)
            idle_polls = 0 if read_bytes else idle_polls + 1
            state.reconciler.run_if_due(sink, self._settings.reconcile_s)
            now_s = time.monotonic()
            if now_s >= next_table_s:
                self._offer_table(sink)
                next_table_s = now_s + self._settings.refresh_s
            if stopped(min(self._pause_s(read_bytes, idle_polls), max(0, next_table_s - time.monotonic()))):
                break
        # what is still in the rings, and what waits for a reset
        state.events.drain(sink)
        state.events.flush(sink)
        self._offer_table(sink)

    def _pause_s(self, read_bytes: int, idle_polls: int) -> float:
        """Time until the next poll, after one that read so much and so many in a row that read nothing."""
        if read_bytes > self._settings.ring_bytes * _BUSY_SHARE:
            return 0
        return max(self._settings.poll_s, _IDLE_POLL_S) if idle_polls > _IDLE_POLLS else self._settings.poll_s

    def set_refresh(self, settings: Settings) -> None:
        """From any thread: other periods from the next poll on; sizes stay."""
        self._settings = settings

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details``, from the next dump on, or do without."""
        self._wants_details = wanted
        if self._open_state is not None:
            self._open_state.reconciler.want_details(wanted=wanted)

    def set_capture(self, capture: Capture) -> None:
        """From any thread: another capture filter from the next poll on."""
        self._next_capture = capture

    def before_narrowing(self) -> None:
        """The process is about to give up its capabilities, and has no other thread yet: fork the map maker."""
        self._require_open().program.slots.use_map_maker()

    def _apply_capture(self, sink: Sink) -> None:
        """Change the kernel's filter if another one was set, delete entries that it excludes, and reconcile anew."""
        capture, self._next_capture = self._next_capture, None
        if capture is None:
            return
        state = self._require_open()
        state.events.drain(sink)
        state.program.set_capture(capture)
        self._capture, self._capture_match = capture, CaptureMatch(capture, self._cgroups)
        state.events.event_filter = EventFilter(capture, self._capture_match)
        # by endpoints only: a process that is excluded may hand its socket to one that is not
        excluded = [
            skaddr[~endpoints_mask(entries, capture)] for skaddr, entries in state.program.slots.read_entries(CONN_HEAD)
        ]
        state.program.slots.delete(np.concatenate([*excluded, np.zeros(0, "<u8")]))
        self._joiner.reset()
        state.reconciler.set_capture(capture, self._capture_match)

    def _offer_table(self, sink: Sink) -> None:
        """Make a table of all sockets and offer it, with the names in it and the loss until now."""
        state = self._require_open()
        self._await_reconciliation(sink)
        reading = state.program.slots.read_changes(self._joiner.slots_to_reread)
        utc_ns, now_ns = time.time_ns(), clock.monotonic_ns()
        all_rows = self._joiner.make_table(reading, dump_pending=state.reconciler.is_reading, now_ns=now_ns)
        state.events.release_ownerless(all_rows)
        rows = self._included_rows(all_rows)
        state.events.holds_back = False
        state.names.collect(rows)
        state.names.offer(sink)
        hists, holders, details = self._joiner.hists, self._joiner.holders, self._joiner.details
        sink.offer(Table(rows, now_ns, utc_ns, hists, holders, details, state.events.events_ns))
        self._offer_loss(sink)

    def _await_reconciliation(self, sink: Sink) -> None:
        """Reconcile, if that was not done since the start or the last change of the capture filter.

        A table without a complete dump would say that the other sockets do not exist.
        """
        state, reported_sockets = self._require_open(), self._sockets_read
        while not state.reconciler.has_reconciled:
            state.reconciler.run_if_due(sink, self._settings.reconcile_s, _INPUT_WAIT_S)
            state.events.drain(sink)
            is_first_table = state.events.holds_back
            if is_first_table and reported_sockets != self._sockets_read:
                reported_sockets = self._sockets_read
                sink.offer(Status(self.backend, stage=reading_stage(reported_sockets)))

    def _included_rows(self, rows: Rows) -> Rows:
        """The rows that the capture filter includes; of sockets with an entry the kernel side has judged the cgroup.

        TIME_WAIT sockets and requests, whose cgroup is not known, are left out where cgroups are asked for.
        """
        if self._capture == Capture():
            return rows
        with_entry: Mask = (rows["skaddr"] != 0) & self._capture_match.mask_without_cgroup(rows, unknown=False)
        return subset(rows, with_entry | self._capture_match.mask(rows, unknown=False))

    def _count_sockets_read(self, sockets: int) -> None:
        self._sockets_read = sockets

    def _offer_loss(self, sink: Sink) -> None:
        loss = read_loss(self._require_open().program, self._joiner)
        if loss != self._offered_loss and sink.offer(loss):
            self._offered_loss = loss

    def close(self) -> None:
        """Detach and let the kernel free everything; may be called twice, and without ``open``."""
        if self._request is not None:
            self._request.cancel()
            self._request = None
        self._open_state = None
        self._exit_stack.close()
