"""The source for hosts without BPF: sock_diag, polled, transitions found by comparing polls."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tcptop_tui.diag.diff import Differ
from tcptop_tui.diag.dump import Dump
from tcptop_tui.diag.names import Namer
from tcptop_tui.diag.namespaces import Namespaces, left_out_note
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import clock
from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.host.socket_owners import Owners
from tcptop_tui.records import SESSION, TRANSITION, Looked, Rows, joined, widened
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture, Loss, Sessions, Sink, Status, Table, Transitions, reading_stage
from tcptop_tui.stream.capture_match import Chosen
from tcptop_tui.stream.socket_details import numbered

_DUMP_SHARE = 0.1
"""Of one core that polling may take: a dump of 100,000 sockets then comes every 3 s or so."""

_PROGRESS_S = 0.1
"""Between two words on how far the first dump is."""


class DiagSource:
    """Everything that sock_diag tells; states that lasted less than a poll are not seen.

    There is no histogram in sock_diag: here it counts one smoothed time a poll for each
    connection that moved.

    Args:
        settings: periods and bounds.
        capture: what to pass on.
        note: why this source is used, for the header.
    """

    backend = "diag"

    def __init__(self, settings: Settings, capture: Capture, note: str = "") -> None:
        self._settings = settings
        self._capture = capture
        self._note = note
        self._diag: Namespaces | None = None
        self._owners = Owners()
        self._pending: Capture | None = None
        self._details = False
        self._cgroups = Cgroups()
        self._choose(capture)
        self._namer = Namer(self._cgroups)
        self._left_out = 0
        self._differ = Differ(capture.rtt_unit_us)
        self._moved = np.zeros(0, TRANSITION)
        self._ended = np.zeros(0, SESSION)
        self._loss = Loss()

    def _choose(self, capture: Capture) -> None:
        self._capture = capture
        # the process is asked for after the comparison
        self._early = Chosen(replace(capture, pids=frozenset()), self._cgroups)
        self._late = Chosen(capture, self._cgroups)

    def retime(self, settings: Settings) -> None:
        """From any thread: other periods from the next poll on; sizes stay."""
        self._settings = settings

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details`` from the next poll on, or do without."""
        self._details = wanted
        if self._diag is not None:
            self._diag.details = wanted

    def recapture(self, capture: Capture) -> None:
        """From any thread: look at something else from the next poll on."""
        self._pending = capture

    def _take_capture(self) -> None:
        capture, self._pending = self._pending, None
        if capture is not None:
            self._choose(capture)
            self._differ.start_anew()  # what is left out has not ended

    def open(self) -> None:
        """Open the netlink sockets.

        Raises:
            BackendUnavailable: the kernel has no sock_diag, or what is to be captured only BPF can tell.
        """
        if self._capture.only_bpf:
            raise BackendUnavailable(
                "a pinned map can only be asked with BPF", mend="leave --backend diag out, and run as root"
            )
        self._diag = Namespaces(self._settings.max_namespaces)
        self._diag.details = self._details

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Poll until ``stopped``.

        Raises:
            BackendUnavailable: the kernel refuses a dump.
        """
        sink.offer(Status(self.backend, self._note, stage=reading_stage(0)))
        self._tell_progress(sink)
        while True:
            started_s = time.monotonic()
            self._take_capture()
            self._poll(sink)
            took_s = time.monotonic() - started_s
            if stopped(max(self._settings.refresh_s - took_s, took_s / _DUMP_SHARE - took_s)):
                return

    def _tell_progress(self, sink: Sink) -> None:
        """Have the first dump say how far it is, ten times a second at most."""
        last_s = time.monotonic()

        def told(sockets: int) -> None:
            nonlocal last_s
            if time.monotonic() - last_s >= _PROGRESS_S:
                last_s = time.monotonic()
                sink.offer(Status(self.backend, self._note, stage=reading_stage(sockets)))

        if self._diag is not None:
            self._diag.on_sockets = told

    def _poll(self, sink: Sink) -> None:
        """One dump, what it changed, and the table.

        Which process has a socket may come out later, and then it must not look as if the
        connection had ended: so polls are compared whatever the process, and rows chosen after.
        """
        if self._diag is None:
            raise RuntimeError("run() before open()")
        dump = self._diag.dump()
        self._diag.on_sockets = None
        self._find_owners(dump)
        early = self._early.mask(dump.rows, unknown=True)
        rows = widened(dump.only(early).rows)
        changes = self._differ.compare(rows, dump.now_ns)
        sharing = self._owners.holders.sharing(dump.inode.astype(np.uint64)).only(early)
        self._ended = joined(SESSION, self._ended, self._wanted(changes.sessions))
        self._moved = joined(TRANSITION, self._moved, self._wanted(changes.transitions))
        self._namer.note(changes.rows)
        self._namer.offer(sink, self._diag.names, dump.netns, self._diag.device)
        self._offer_left_out(sink, self._diag.left_out)
        self._offer(sink)
        utc_ns = time.time_ns() - (clock.monotonic_ns() - dump.now_ns)
        holders, details = sharing.named(rows["id"]), numbered(dump.only(early).details, rows["id"])
        sink.offer(Table(self._wanted(changes.rows), dump.now_ns, utc_ns, changes.hists, holders, details=details))

    def _find_owners(self, dump: Dump) -> None:
        owners, rows = self._owners.resolve(dump.inode), dump.rows
        for name in ("pid", "started", "comm"):
            rows[name] = owners[name]
        rows["holders"] = np.minimum(owners["holders"], 2**16 - 1)
        rows["looked"] = np.where(dump.inode == 0, Looked.CLOSED, Looked.FOR)

    def _wanted(self, rows: Rows) -> Rows:
        """Without those whose process or cgroup has not come out: TIME_WAIT and requests do not tell."""
        if not self._capture.pids and not self._early.asks_cgroups:
            return rows
        return rows[self._late.mask(rows, unknown=False)]

    def _offer_left_out(self, sink: Sink, left_out: int) -> None:
        if left_out != self._left_out:
            notes = filter(None, (self._note, left_out_note(left_out)))
            if sink.offer(Status(self.backend, "; ".join(notes))):
                self._left_out = left_out

    def _offer(self, sink: Sink) -> None:
        """Hand over what happened; what the reader has no room for waits, in bounded number."""
        if len(self._ended) and sink.offer(Sessions(self._ended)):
            self._ended = np.zeros(0, SESSION)
        if len(self._moved) and sink.offer(Transitions(self._moved)):
            self._moved = np.zeros(0, TRANSITION)
        excess_moved = max(0, len(self._moved) - self._settings.log_rows)
        excess_ended = max(0, len(self._ended) - self._settings.session_rows)
        if excess_moved or excess_ended:
            self._moved, self._ended = self._moved[excess_moved:].copy(), self._ended[excess_ended:].copy()
            self._loss = Loss(
                ring_full=self._loss.ring_full + excess_moved,
                sessions_ring_full=self._loss.sessions_ring_full + excess_ended,
            )
            sink.offer(self._loss)

    def close(self) -> None:
        """Close the netlink socket."""
        if self._diag is not None:
            self._diag.close()
            self._diag = None
