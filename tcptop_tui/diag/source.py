"""The source for hosts without BPF: sock_diag, polled, transitions found by comparing polls."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tcptop_tui.diag.dump import Dump
from tcptop_tui.diag.name_collector import NameCollector
from tcptop_tui.diag.namespaces import Namespaces, skipped_namespaces_note
from tcptop_tui.diag.poll_diff import PollDiff
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import clock
from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.host.socket_owners import OwnerFinder
from tcptop_tui.records import ENDED, TRANSITION, HolderLookup, Rows
from tcptop_tui.row_copy import concat, rows_from_dump
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import (
    Capture,
    EndedConnections,
    Loss,
    Sink,
    Source,
    Status,
    Table,
    Transitions,
    reading_stage,
)
from tcptop_tui.stream.capture_match import CaptureMatch
from tcptop_tui.stream.socket_details import numbered

_DUMP_SHARE = 0.1
"""Of one core that polling may take: a dump of 100,000 sockets then comes every 3 s or so."""

_PROGRESS_S = 0.1
"""Between two words on how far the first dump is."""


class DiagSource(Source):
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
        self._fallback_note = note
        self._diag: Namespaces | None = None
        self._owners = OwnerFinder()
        self._pending: Capture | None = None
        self._details = False
        self._cgroups = Cgroups()
        self._set_capture(capture)
        self._name_collector = NameCollector(self._cgroups)
        self._left_out = 0
        self._differ = PollDiff(capture.rtt_unit_us)
        self._unsent_transitions = np.zeros(0, TRANSITION)
        self._unsent_ended = np.zeros(0, ENDED)
        self._loss = Loss()

    def _set_capture(self, capture: Capture) -> None:
        self._capture = capture
        # the process is asked for after the comparison
        self._owner_known_late = CaptureMatch(replace(capture, pids=frozenset()), self._cgroups)
        self._late_owner_rows = CaptureMatch(capture, self._cgroups)

    def set_refresh(self, settings: Settings) -> None:
        """From any thread: other periods from the next poll on; sizes stay."""
        self._settings = settings

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details`` from the next poll on, or do without."""
        self._details = wanted
        if self._diag is not None:
            self._diag.details = wanted

    def set_capture(self, capture: Capture) -> None:
        """From any thread: look at something else from the next poll on."""
        self._pending = capture

    def _apply_capture(self) -> None:
        capture, self._pending = self._pending, None
        if capture is not None:
            self._set_capture(capture)
            self._differ.reset()  # what is left out has not ended

    def open(self) -> None:
        """Open the netlink sockets.

        Raises:
            BackendUnavailable: the kernel has no sock_diag, or what is to be captured only BPF can tell.
        """
        if self._capture.needs_bpf:
            raise BackendUnavailable(
                "a pinned map can only be asked with BPF", hint="leave --backend diag out, and run as root"
            )
        self._diag = Namespaces(self._settings.max_namespaces)
        self._diag.details = self._details

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Poll until ``stopped``.

        Raises:
            BackendUnavailable: the kernel refuses a dump.
        """
        sink.offer(Status(self.backend, self._fallback_note, stage=reading_stage(0)))
        self._report_progress(sink)
        while True:
            started_s = time.monotonic()
            self._apply_capture()
            self._poll(sink)
            took_s = time.monotonic() - started_s
            if stopped(max(self._settings.refresh_s - took_s, took_s / _DUMP_SHARE - took_s)):
                return

    def _report_progress(self, sink: Sink) -> None:
        """Have the first dump say how far it is, ten times a second at most."""
        last_s = time.monotonic()

        def told(sockets: int) -> None:
            nonlocal last_s
            if time.monotonic() - last_s >= _PROGRESS_S:
                last_s = time.monotonic()
                sink.offer(Status(self.backend, self._fallback_note, stage=reading_stage(sockets)))

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
        early = self._owner_known_late.mask(dump.rows, unknown=True)
        rows = rows_from_dump(dump.subset(early).rows)
        changes = self._differ.update(rows, dump.now_ns)
        sharing = self._owners.holders.shared(dump.inode.astype(np.uint64)).subset(early)
        self._unsent_ended = concat(ENDED, self._unsent_ended, self._filter_rows(changes.ended))
        self._unsent_transitions = concat(TRANSITION, self._unsent_transitions, self._filter_rows(changes.transitions))
        self._name_collector.collect(changes.rows)
        self._name_collector.offer(sink, self._diag.names, dump.netns, self._diag.device_name)
        self._offer_left_out(sink, self._diag.skipped)
        self._offer(sink)
        utc_ns = time.time_ns() - (clock.monotonic_ns() - dump.now_ns)
        holders, details = sharing.rows_by_id(rows["id"]), numbered(dump.subset(early).details, rows["id"])
        sink.offer(Table(self._filter_rows(changes.rows), dump.now_ns, utc_ns, changes.hists, holders, details=details))

    def _find_owners(self, dump: Dump) -> None:
        owners, rows = self._owners.resolve(dump.inode), dump.rows
        for name in ("pid", "start_ticks", "comm"):
            rows[name] = owners[name]
        rows["holders"] = np.minimum(owners["holders"], 2**16 - 1)
        rows["holder_lookup"] = np.where(dump.inode == 0, HolderLookup.NO_INODE, HolderLookup.DONE)

    def _filter_rows(self, rows: Rows) -> Rows:
        """Without those whose process or cgroup has not come out: TIME_WAIT and requests do not tell."""
        if not self._capture.pids and not self._owner_known_late.filters_cgroups:
            return rows
        return rows[self._late_owner_rows.mask(rows, unknown=False)]

    def _offer_left_out(self, sink: Sink, left_out: int) -> None:
        if left_out != self._left_out:
            notes = filter(None, (self._fallback_note, skipped_namespaces_note(left_out)))
            if sink.offer(Status(self.backend, "; ".join(notes))):
                self._left_out = left_out

    def _offer(self, sink: Sink) -> None:
        """Hand over what happened; what the reader has no room for waits, in bounded number."""
        if len(self._unsent_ended) and sink.offer(EndedConnections(self._unsent_ended)):
            self._unsent_ended = np.zeros(0, ENDED)
        if len(self._unsent_transitions) and sink.offer(Transitions(self._unsent_transitions)):
            self._unsent_transitions = np.zeros(0, TRANSITION)
        excess_moved = max(0, len(self._unsent_transitions) - self._settings.log_rows)
        excess_ended = max(0, len(self._unsent_ended) - self._settings.session_rows)
        if excess_moved or excess_ended:
            self._unsent_transitions, self._unsent_ended = (
                self._unsent_transitions[excess_moved:].copy(),
                self._unsent_ended[excess_ended:].copy(),
            )
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
