"""The source for hosts without BPF: sock_diag, polled, transitions found by comparing polls."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tcptop_tui.diag.diff import Differ
from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.diag.owners import Owners
from tcptop_tui.records import TRANSITION, Rows
from tcptop_tui.settings import Settings
from tcptop_tui.source.batches import Capture, Loss, Sessions, Sink, Status, Table, Transitions
from tcptop_tui.source.identity import capture_mask

_DUMP_SHARE = 0.1
"""Of one core that polling may take: a dump of 100,000 sockets then comes every 2 s or so."""


class DiagSource:
    """Everything that sock_diag tells; states that lasted less than a poll are not seen.

    Args:
        note: why this source is used, for the header.
    """

    backend = "diag"

    def __init__(self, settings: Settings, capture: Capture, note: str = "") -> None:
        self._settings = settings
        self._capture = capture
        self._note = note
        self._diag: SockDiag | None = None
        self._owners = Owners()
        self._differ = Differ()
        self._waiting = np.zeros(0, TRANSITION)
        self._dropped = 0

    def open(self) -> None:
        """Open the netlink socket.

        Raises:
            BackendUnavailable: the kernel has no sock_diag.
        """
        self._diag = SockDiag()

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Poll until ``stopped``."""
        sink.offer(Status(self.backend, self._note))
        while True:
            started_s = time.monotonic()
            self._poll(sink)
            took_s = time.monotonic() - started_s
            if stopped(max(self._settings.refresh_s - took_s, took_s / _DUMP_SHARE - took_s)):
                return

    def _poll(self, sink: Sink) -> None:
        if self._diag is None:
            raise RuntimeError("run() before open()")
        dump = self._diag.dump()
        dump.rows["pid"], dump.rows["comm"] = self._owners.resolve(dump.inode)
        rows = dump.rows[capture_mask(dump.rows, self._capture)]
        changes = self._differ.compare(rows, dump.now_ns)
        if len(changes.sessions):
            sink.offer(Sessions(changes.sessions))
        self._offer_transitions(sink, np.concatenate([self._waiting, changes.transitions]))
        sink.offer(Table(changes.rows, dump.now_ns, time.time_ns() - (time.monotonic_ns() - dump.now_ns)))

    def _offer_transitions(self, sink: Sink, rows: Rows) -> None:
        """Hand them over; what the reader has no room for waits, in bounded number."""
        if not len(rows) or sink.offer(Transitions(rows)):
            self._waiting = np.zeros(0, TRANSITION)
            return
        excess = max(0, len(rows) - self._settings.log_rows)
        self._waiting = rows[excess:]
        if excess:
            self._dropped += excess
            sink.offer(Loss(ring_full=self._dropped))

    def close(self) -> None:
        """Close the netlink socket."""
        if self._diag is not None:
            self._diag.close()
            self._diag = None
