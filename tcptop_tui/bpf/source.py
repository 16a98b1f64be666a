"""The source that everything else falls back from: kernel events, joined with sock_diag."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from tcptop_tui.bpf.load.compiler_client import CompileRequest
from tcptop_tui.bpf.loss_counters import read_loss
from tcptop_tui.bpf.program import Program
from tcptop_tui.diag.name_collector import NameCollector
from tcptop_tui.diag.namespaces import Namespaces, skipped_namespaces_note
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import clock
from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.host.socket_owners import OwnerFinder
from tcptop_tui.reconcile.event_filter import EventFilter
from tcptop_tui.reconcile.half_closed import HalfClosed
from tcptop_tui.reconcile.inputs import InputReader, Inputs, Schedule
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.reconcile.late_resets import LateResets, only_transitions
from tcptop_tui.reconcile.owner_fill import ListenerIndex
from tcptop_tui.records import CONN_HEAD, Mask, Rows, State
from tcptop_tui.row_copy import picked, subset
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import (
    Capture,
    EndedConnections,
    LateEndings,
    Loss,
    Sink,
    Source,
    Status,
    Table,
    Transitions,
    reading_stage,
)
from tcptop_tui.stream.capture_match import CaptureMatch
from tcptop_tui.stream.identity import cookie_key, endpoints_mask

_INPUT_WAIT_S = 0.05
"""For a survey, while the rings fill."""

# A ring that was this full is read again at once: at 400,000 transitions a second it fills in 0.3 s.
_BUSY_SHARE = 1 / 16

_IDLE_POLL_S = 0.2
"""Where nothing happens: half of the polls cost a tenth of an idle dashboard. The ring lasts as long."""
_IDLE_POLLS = 5

_PART_BYTES = 2**21
"""Of a ring at a time: whoever handles it needs a few times as much, and others wait that long for their turn."""


class BpfSource(Source):
    """Raw tracepoints for what happens, sock_diag for what was there before.

    Args:
        settings: periods and sizes.
        capture: what the kernel side looks at.
    """

    backend = "bpf"

    def __init__(self, settings: Settings, capture: Capture) -> None:
        self._settings = settings
        self._capture = capture
        self._program: Program | None = None
        self._request: CompileRequest | None = None
        self._diag: Namespaces | None = None
        self._input_reader: InputReader | None = None
        self._next_capture: Capture | None = None
        self._details = False
        self._cgroups = Cgroups()
        self._capture_match = CaptureMatch(capture, self._cgroups)
        self._name_collector = NameCollector(self._cgroups)
        self._joiner = Joiner()
        self._event_filter = EventFilter(capture, self._capture_match)
        self._late_resets = LateResets()
        self._half_closed = HalfClosed()
        self._unfiltered: list[Transitions | EndedConnections | LateEndings] = []
        self._unsent: list[Transitions | EndedConnections | LateEndings] = []
        self._drained_ns = 0
        self._has_table = False
        self._reconciled = False
        self._unwanted_sockets = np.zeros(0, "<u8")
        """Sockets of processes that are not wanted, at the latest survey (``cookie_key``)."""
        self._loss = Loss()
        self._schedule = Schedule()
        self._netns: frozenset[int] = frozenset()
        self._left_out = 0
        self._sockets_read = 0
        """Sockets of the first dump so far; the survey's thread counts them."""

    def prepare(self) -> None:
        """Start the compiler already; what is wrong ``open`` says.

        It takes as long as everything else that a start needs, and there is a second core for it.
        """
        with suppress(BackendUnavailable):
            self._request = Program.start_compiler(self._settings, self._capture)

    def open(self) -> None:
        """Compile, load, attach; then look at what is there already.

        Raises:
            BackendUnavailable: this host cannot run the kernel programs.
        """
        try:
            self._diag = Namespaces(self._settings.max_namespaces)
            self._diag.on_sockets, self._diag.details = self._count_sockets_read, self._details
            request, self._request = self._request, None
            self._program = Program(self._settings, self._capture, request)
            self._program.attach(self._capture)
            self._input_reader = InputReader(
                self._diag, self._program.slots, OwnerFinder(self._program.read_holders, 0)
            )
        except BaseException:
            self.close()
            raise

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``: the rings each poll, the table each refresh."""
        sink.offer(Status(self.backend, stage=reading_stage(0)))
        # before the first event is passed on: the owners of what was there are known then
        self._offer_table(sink)
        next_table_s = time.monotonic() + self._settings.refresh_s
        idle = 0
        while True:
            self._apply_capture(sink)
            drained = self._drain(sink)
            idle = 0 if drained else idle + 1
            self._reconcile(sink)
            now_s = time.monotonic()
            if now_s >= next_table_s:
                self._offer_table(sink)
                next_table_s = now_s + self._settings.refresh_s
            if stopped(min(self._pause_s(drained, idle), max(0, next_table_s - time.monotonic()))):
                break
        # the last word: what is still in the rings, and who waits for an answer
        self._drain(sink)
        self._hold_back(*self._late_resets.flush(), sink)
        self._offer_events(sink)
        self._offer_table(sink)

    def _pause_s(self, drained: int, idle: int) -> float:
        """Until the next poll, after one that found so much, and so many that have found nothing."""
        if drained > self._settings.ring_bytes * _BUSY_SHARE:
            return 0
        return max(self._settings.poll_s, _IDLE_POLL_S) if idle > _IDLE_POLLS else self._settings.poll_s

    def set_refresh(self, settings: Settings) -> None:
        """From any thread: other periods from the next poll on; sizes stay."""
        self._settings = settings

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details``, from the next survey on, or do without."""
        self._details = wanted
        if self._diag is not None:
            self._diag.details, self._schedule.asked = wanted, wanted

    def set_capture(self, capture: Capture) -> None:
        """From any thread: look at something else from the next poll on."""
        self._next_capture = capture

    def before_narrowing(self) -> None:
        """The process is about to give up its capabilities, and has no other thread yet."""
        self._require_program().slots.use_map_maker()

    def _apply_capture(self, sink: Sink) -> None:
        """Change the kernel's filter, and start every comparison anew."""
        capture, self._next_capture = self._next_capture, None
        if capture is None:
            return
        self._drain(sink)
        self._require_program().set_capture(capture)
        self._capture, self._capture_match = capture, CaptureMatch(capture, self._cgroups)
        self._event_filter = EventFilter(capture, self._capture_match)
        conns = self._require_program().slots
        # whatever their process: it may hand them to one that is wanted
        unwanted = [keys[~endpoints_mask(entries, capture)] for keys, entries in conns.read_entries(CONN_HEAD)]
        conns.delete(np.concatenate([*unwanted, np.zeros(0, "<u8")]))
        self._joiner.reset()
        self._reconciled = False
        self._schedule = Schedule()

    def _require_program(self) -> Program:
        if self._program is None:
            raise RuntimeError("run() before open()")
        return self._program

    def _drain(self, sink: Sink) -> int:
        """Pass the rings on, part by part. What the reader has no room for stays here, then in the ring.

        Returns:
            Bytes that there were.
        """
        self._require_program().slots.reserve()
        drained, more = 0, self._offer_events(sink)
        while more and drained < self._settings.ring_bytes:
            part = self._read_rings(sink)
            drained += part
            # less than a part was all there was; what has come meanwhile is the next poll's
            more = self._offer_events(sink) and part > _PART_BYTES // 2
        return drained

    def _read_rings(self, sink: Sink) -> int:
        """Of each ring; bytes that there were."""
        rings, now_ns = self._require_program(), clock.monotonic_ns()
        # in this order: whatever a reset followed is read before the reset
        ended = rings.ended.read(most_bytes=_PART_BYTES)
        moved = rings.transitions.read("ts_ns", _PART_BYTES)
        if len(moved):
            self._schedule.has_events = True
            self._joiner.remember_closed(only_transitions(moved))
        if len(ended):
            self._joiner.remember_ended(ended)
        self._hold_back(*self._late_resets.settle(moved, ended, now_ns), sink)
        if moved.nbytes + ended.nbytes <= _PART_BYTES // 2:  # that was all there was
            self._drained_ns = now_ns
        elif len(moved):
            self._drained_ns = int(moved["ts_ns"][-1])
        return moved.nbytes + ended.nbytes

    def _hold_back(self, moved: Rows, ended: Rows, resets: Rows, sink: Sink) -> None:
        """Until the reader takes them."""
        if len(moved):
            self._unfiltered.append(Transitions(moved))
            if self._name_collector.collect(moved):
                self._offer_names(sink)  # before the first line that needs them
        if len(ended):
            self._unfiltered.append(EndedConnections(ended))
        if len(ended) or len(resets):
            endings = self._half_closed.resolve(ended, resets)
            if len(endings):
                self._unfiltered.append(LateEndings(endings))

    def _offer_events(self, sink: Sink) -> bool:
        """Offer what is held, oldest first; False when the reader has no room for all of it.

        Before the first table it is not known who owns what was there already: all is held.
        """
        while self._unsent or (self._unfiltered and self._has_table):
            if not self._unsent:
                self._unsent = self._event_filter.filter(self._unfiltered.pop(0), self._joiner.owners)
            elif sink.offer(self._unsent[0]):
                self._unsent.pop(0)
            else:
                return False
        return True

    @property
    def _events_ns(self) -> int:
        """What happened before this has been passed on."""
        waiting = (batch.rows for batch in (*self._unsent, *self._unfiltered) if isinstance(batch, Transitions))
        return min([self._drained_ns, *(int(rows["ts_ns"].min()) for rows in waiting if len(rows))])

    def _wanted_rows(self, rows: Rows) -> Rows:
        """Without the sockets that are not wanted; by cgroup the kernel programs have chosen theirs themselves.

        TIME_WAIT and requests whose cgroup has not come out are left out where cgroups are asked for.
        """
        if self._capture == Capture():
            return rows
        mapped: Mask = (rows["skaddr"] != 0) & self._capture_match.mask_without_cgroup(rows, unknown=False)
        shown = mapped | self._capture_match.mask(rows, unknown=False)
        return subset(rows, shown)

    def _offer_names(self, sink: Sink) -> None:
        if self._diag is None:
            return
        self._name_collector.offer(sink, self._diag.names, self._netns, self._diag.device_name)
        left_out = self._diag.skipped
        if left_out != self._left_out and sink.offer(Status(self.backend, skipped_namespaces_note(left_out))):
            self._left_out = left_out

    def _count_sockets_read(self, sockets: int) -> None:
        self._sockets_read = sockets

    def _offer_table(self, sink: Sink) -> None:
        told = self._sockets_read
        while not self._reconciled:  # a table of half of it would say that the rest has gone
            self._reconcile(sink, _INPUT_WAIT_S)
            self._drain(sink)
            if not self._has_table and told != self._sockets_read:
                told = self._sockets_read
                sink.offer(Status(self.backend, stage=reading_stage(told)))
        reading = self._require_program().slots.read_changes(self._joiner.slots_to_reread)
        utc_ns, now_ns = time.time_ns(), clock.monotonic_ns()
        surveying = self._input_reader is not None and self._input_reader.busy
        table = self._joiner.make_table(reading, surveying=surveying, now_ns=now_ns)
        self._unsent += self._event_filter.release(table)
        rows = self._wanted_rows(table)
        self._has_table = True
        self._name_collector.collect(rows)
        self._offer_names(sink)
        hists, holders, details = self._joiner.hists, self._joiner.holders, self._joiner.details
        sink.offer(Table(rows, now_ns, utc_ns, hists, holders, details, self._events_ns))
        self._offer_loss(sink)

    def _reconcile(self, sink: Sink, timeout_s: float = 0) -> None:
        """Have a survey made when it is time, and take up what it has found, if it has within ``timeout_s``."""
        if self._input_reader is None:
            raise RuntimeError("run() before open()")
        if not self._input_reader.busy and self._schedule.is_due(self._settings.reconcile_s, steady=self._details):
            self._schedule.started()
            self._input_reader.start(self._capture)
        found = self._input_reader.result(timeout_s)
        if found is None:
            return
        if found.capture != self._capture:
            return
        self._drain(sink)  # whatever ended before the dump must be known when it is compared
        started_s = time.thread_time()
        self._reconcile_with(found)
        self._schedule.finished(found.cpu_s + time.thread_time() - started_s, doubts=self._joiner.has_unconfirmed)
        self._reconciled = True

    def _reconcile_with(self, found: Inputs) -> None:
        self._netns = found.dump.netns
        self._read_pinned_maps()
        dump = found.dump
        self._event_filter.listeners = ListenerIndex(picked(dump.rows, dump.rows["state"] == State.LISTEN))
        # what is not wanted must look neither missed here nor left over there, whoever knows its owner
        met = subset(found.entry_digests, self._capture_match.process_mask(found.entry_digests, unknown=True))
        wanted = self._capture_match.mask(dump.rows, unknown=True)
        expected = self._expected_in_map(dump.rows, wanted)
        wrong = self._joiner.reconcile(dump.subset(wanted), met, expected, found.rebound, found.sharing.subset(wanted))
        self._require_program().slots.delete(wrong)
        self._require_program().remember_listeners(found.listeners, found.listener_owners)

    def _expected_in_map(self, rows: Rows, wanted: Mask) -> Mask:
        """Which of the ``wanted`` ones the kernel side should know.

        Not what was another process's at the survey before and has been handed to one that is wanted.
        """
        expected = self._capture_match.decidable(rows) & wanted
        if self._capture_match.filters_processes:
            keys = cookie_key(rows)
            expected &= ~np.isin(keys, self._unwanted_sockets)
            self._unwanted_sockets = keys[~wanted]
        return expected[wanted]

    def _read_pinned_maps(self) -> None:
        """The maps are somebody else's, who may change them at any time."""
        if self._capture.cgroup_map_path:
            self._capture_match.pinned_cgroups = self._require_program().read_pinned("pinned_cgroups")
        if self._capture.mntns_map_path:
            self._capture_match.pinned_mntns = self._require_program().read_pinned("pinned_mntns")

    def _offer_loss(self, sink: Sink) -> None:
        loss = read_loss(self._require_program(), self._joiner)
        if loss != self._loss and sink.offer(loss):
            self._loss = loss

    def close(self) -> None:
        """Detach and let the kernel free everything."""
        if self._request is not None:
            self._request.cancel()
            self._request = None
        if self._program is not None:
            self._program.close()
            self._program = None
        if self._input_reader is not None:
            self._input_reader.close()
            self._input_reader = None
        if self._diag is not None:
            self._diag.close()
            self._diag = None
