"""The source that everything else falls back from: kernel events, joined with sock_diag."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from tcptop_tui.bpf.load.compiler_client import Request
from tcptop_tui.bpf.loss_counters import read_loss
from tcptop_tui.bpf.program import Program
from tcptop_tui.diag.names import Namer
from tcptop_tui.diag.namespaces import Namespaces, left_out_note
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import clock
from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.host.socket_owners import Owners
from tcptop_tui.reconcile.completion import Completion
from tcptop_tui.reconcile.half_closed import HalfClosed
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.reconcile.late_resets import LateResets, without_resets
from tcptop_tui.reconcile.owner_fill import Listeners
from tcptop_tui.reconcile.survey import Found, Pace, Surveyor
from tcptop_tui.records import BRIEF, Mask, Rows, State, only, picked
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture, Endings, Loss, Sessions, Sink, Status, Table, Transitions, reading_stage
from tcptop_tui.stream.capture_match import Chosen
from tcptop_tui.stream.identity import cookie_key, ends_mask

_PATIENCE_S = 0.05
"""For a survey, while the rings fill."""

# A ring that was this full is read again at once: at 400,000 transitions a second it fills in 0.3 s.
_BUSY_SHARE = 1 / 16

_IDLE_POLL_S = 0.2
"""Where nothing happens: half of the polls cost a tenth of an idle dashboard. The ring lasts as long."""
_IDLE_POLLS = 5

_PART_BYTES = 2**21
"""Of a ring at a time: whoever handles it needs a few times as much, and others wait that long for their turn."""


class BpfSource:
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
        self._request: Request | None = None
        self._diag: Namespaces | None = None
        self._surveyor: Surveyor | None = None
        self._pending: Capture | None = None
        self._details = False
        self._cgroups = Cgroups()
        self._chosen = Chosen(capture, self._cgroups)
        self._namer = Namer(self._cgroups)
        self._joiner = Joiner()
        self._completion = Completion(capture, self._chosen)
        self._late = LateResets()
        self._half_closed = HalfClosed()
        self._held: list[Transitions | Sessions | Endings] = []
        self._ready: list[Transitions | Sessions | Endings] = []
        self._drained_ns = 0
        self._seeded = False
        self._surveyed = False
        self._others = np.zeros(0, "<u8")
        """Sockets of processes that are not wanted, at the latest survey (``cookie_key``)."""
        self._loss = Loss()
        self._pace = Pace()
        self._netns: frozenset[int] = frozenset()
        self._left_out = 0
        self._read = 0
        """Sockets of the first dump so far; the survey's thread counts them."""

    def prepare(self) -> None:
        """Start the compiler already; what is wrong ``open`` says.

        It takes as long as everything else that a start needs, and there is a second core for it.
        """
        with suppress(BackendUnavailable):
            self._request = Program.request(self._settings, self._capture)

    def open(self) -> None:
        """Compile, load, attach; then look at what is there already.

        Raises:
            BackendUnavailable: this host cannot run the kernel programs.
        """
        try:
            self._diag = Namespaces(self._settings.max_namespaces)
            self._diag.on_sockets, self._diag.details = self._note_read, self._details
            request, self._request = self._request, None
            self._program = Program(self._settings, self._capture, request)
            self._program.attach(self._capture)
            self._surveyor = Surveyor(self._diag, self._program.conns, Owners(self._program.holders, 0))
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
            self._take_capture(sink)
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
        self._hold(*self._late.rest(), sink)
        self._pass_on(sink)
        self._offer_table(sink)

    def _pause_s(self, drained: int, idle: int) -> float:
        """Until the next poll, after one that found so much, and so many that have found nothing."""
        if drained > self._settings.ring_bytes * _BUSY_SHARE:
            return 0
        return max(self._settings.poll_s, _IDLE_POLL_S) if idle > _IDLE_POLLS else self._settings.poll_s

    def retime(self, settings: Settings) -> None:
        """From any thread: other periods from the next poll on; sizes stay."""
        self._settings = settings

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details``, from the next survey on, or do without."""
        self._details = wanted
        if self._diag is not None:
            self._diag.details, self._pace.asked = wanted, wanted

    def recapture(self, capture: Capture) -> None:
        """From any thread: look at something else from the next poll on."""
        self._pending = capture

    def narrowing(self) -> None:
        """The process is about to give up its capabilities, and has no other thread yet."""
        self._opened().conns.keep_maker()

    def _take_capture(self, sink: Sink) -> None:
        """Change the kernel's filter, and start every comparison anew."""
        capture, self._pending = self._pending, None
        if capture is None:
            return
        self._drain(sink)
        self._opened().set_capture(capture)
        self._capture, self._chosen = capture, Chosen(capture, self._cgroups)
        self._completion = Completion(capture, self._chosen)
        conns = self._opened().conns
        # whatever their process: it may hand them to one that is wanted
        unwanted = [keys[~ends_mask(entries, capture)] for keys, entries in conns.parts(BRIEF)]
        conns.delete(np.concatenate([*unwanted, np.zeros(0, "<u8")]))
        self._joiner.start_anew()
        self._surveyed = False
        self._pace = Pace()

    def _opened(self) -> Program:
        if self._program is None:
            raise RuntimeError("run() before open()")
        return self._program

    def _drain(self, sink: Sink) -> int:
        """Pass the rings on, part by part. What the reader has no room for stays here, then in the ring.

        Returns:
            Bytes that there were.
        """
        self._opened().conns.make_room()
        drained, more = 0, self._pass_on(sink)
        while more and drained < self._settings.ring_bytes:
            part = self._take_part(sink)
            drained += part
            # less than a part was all there was; what has come meanwhile is the next poll's
            more = self._pass_on(sink) and part > _PART_BYTES // 2
        return drained

    def _take_part(self, sink: Sink) -> int:
        """Of each ring; bytes that there were."""
        rings, now_ns = self._opened(), clock.monotonic_ns()
        # in this order: whatever a reset followed is read before the reset
        ended = rings.sessions.drain(most_bytes=_PART_BYTES)
        moved = rings.transitions.drain("ts_ns", _PART_BYTES)
        if len(moved):
            self._pace.moving = True
            self._joiner.note_transitions(without_resets(moved))
        if len(ended):
            self._joiner.note_sessions(ended)
        self._hold(*self._late.sort_out(moved, ended, now_ns), sink)
        if moved.nbytes + ended.nbytes <= _PART_BYTES // 2:  # that was all there was
            self._drained_ns = now_ns
        elif len(moved):
            self._drained_ns = int(moved["ts_ns"][-1])
        return moved.nbytes + ended.nbytes

    def _hold(self, moved: Rows, ended: Rows, resets: Rows, sink: Sink) -> None:
        """Until the reader takes them."""
        if len(moved):
            self._held.append(Transitions(moved))
            if self._namer.note(moved):
                self._offer_names(sink)  # before the first line that needs them
        if len(ended):
            self._held.append(Sessions(ended))
        if len(ended) or len(resets):
            endings = self._half_closed.settle(ended, resets)
            if len(endings):
                self._held.append(Endings(endings))

    def _pass_on(self, sink: Sink) -> bool:
        """Offer what is held, oldest first; False when the reader has no room for all of it.

        Before the first table it is not known who owns what was there already: all is held.
        """
        while self._ready or (self._held and self._seeded):
            if not self._ready:
                self._ready = self._completion.completed(self._held.pop(0), self._joiner.known)
            elif sink.offer(self._ready[0]):
                self._ready.pop(0)
            else:
                return False
        return True

    @property
    def _events_ns(self) -> int:
        """What happened before this has been passed on."""
        waiting = (batch.rows for batch in (*self._ready, *self._held) if isinstance(batch, Transitions))
        return min([self._drained_ns, *(int(rows["ts_ns"].min()) for rows in waiting if len(rows))])

    def _shown(self, rows: Rows) -> Rows:
        """Without the sockets that are not wanted; by cgroup the kernel programs have chosen theirs themselves.

        TIME_WAIT and requests whose cgroup has not come out are left out where cgroups are asked for.
        """
        if self._capture == Capture():
            return rows
        mapped: Mask = (rows["skaddr"] != 0) & self._chosen.by_owner(rows, unknown=False)
        shown = mapped | self._chosen.mask(rows, unknown=False)
        return only(rows, shown)

    def _offer_names(self, sink: Sink) -> None:
        if self._diag is None:
            return
        self._namer.offer(sink, self._diag.names, self._netns, self._diag.device)
        left_out = self._diag.left_out
        if left_out != self._left_out and sink.offer(Status(self.backend, left_out_note(left_out))):
            self._left_out = left_out

    def _note_read(self, sockets: int) -> None:
        self._read = sockets

    def _offer_table(self, sink: Sink) -> None:
        told = self._read
        while not self._surveyed:  # a table of half of it would say that the rest has gone
            self._reconcile(sink, _PATIENCE_S)
            self._drain(sink)
            if not self._seeded and told != self._read:
                told = self._read
                sink.offer(Status(self.backend, stage=reading_stage(told)))
        reading = self._opened().conns.news(self._joiner.again)
        utc_ns, now_ns = time.time_ns(), clock.monotonic_ns()
        surveying = self._surveyor is not None and self._surveyor.busy
        table = self._joiner.table(reading, surveying=surveying, now_ns=now_ns)
        self._ready += self._completion.settled(table)
        rows = self._shown(table)
        self._seeded = True
        self._namer.note(rows)
        self._offer_names(sink)
        hists, holders, details = self._joiner.hists, self._joiner.holders, self._joiner.details
        sink.offer(Table(rows, now_ns, utc_ns, hists, holders, details, self._events_ns))
        self._offer_loss(sink)

    def _reconcile(self, sink: Sink, timeout_s: float = 0) -> None:
        """Have a survey made when it is time, and take up what it has found, if it has within ``timeout_s``."""
        if self._surveyor is None:
            raise RuntimeError("run() before open()")
        if not self._surveyor.busy and self._pace.due(self._settings.reconcile_s, steady=self._details):
            self._pace.started()
            self._surveyor.start(self._capture)
        found = self._surveyor.take(timeout_s)
        if found is None:
            return
        if found.capture != self._capture:
            return
        self._drain(sink)  # whatever ended before the dump must be known when it is compared
        started_s = time.thread_time()
        self._compare(found)
        self._pace.took(found.cpu_s + time.thread_time() - started_s, doubts=self._joiner.doubts)
        self._surveyed = True

    def _compare(self, found: Found) -> None:
        self._netns = found.dump.netns
        self._read_pins()
        dump = found.dump
        self._completion.listeners = Listeners(picked(dump.rows, dump.rows["state"] == State.LISTEN))
        # what is not wanted must look neither missed here nor left over there, whoever knows its owner
        met = only(found.met, self._chosen.by_process(found.met, unknown=True))
        wanted = self._chosen.mask(dump.rows, unknown=True)
        expected = self._expected(dump.rows, wanted)
        wrong = self._joiner.take_dump(dump.only(wanted), met, expected, found.rebound, found.sharing.only(wanted))
        self._opened().conns.delete(wrong)
        self._opened().remember_listeners(found.listeners, found.listener_owners)

    def _expected(self, rows: Rows, wanted: Mask) -> Mask:
        """Which of the ``wanted`` ones the kernel side should know.

        Not what was another process's at the survey before and has been handed to one that is wanted.
        """
        expected = self._chosen.decided(rows) & wanted
        if self._chosen.asks_processes:
            keys = cookie_key(rows)
            expected &= ~np.isin(keys, self._others)
            self._others = keys[~wanted]
        return expected[wanted]

    def _read_pins(self) -> None:
        """The maps are somebody else's, who may change them at any time."""
        if self._capture.cgroup_pin:
            self._chosen.pinned_cgroups = self._opened().pinned("pinned_cgroups")
        if self._capture.mntns_pin:
            self._chosen.pinned_mntns = self._opened().pinned("pinned_mntns")

    def _offer_loss(self, sink: Sink) -> None:
        loss = read_loss(self._opened(), self._joiner)
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
        if self._surveyor is not None:
            self._surveyor.close()
            self._surveyor = None
        if self._diag is not None:
            self._diag.close()
            self._diag = None
