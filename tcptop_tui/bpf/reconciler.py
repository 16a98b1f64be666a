"""When to reconcile, with which rows, and what the kernel side learns from it.

``InputReader`` reads a dump, owners and entry digests in a thread of its own; ``Joiner.reconcile`` compares them. This
module starts the first, narrows both sides to what the capture filter includes, and writes the result into the kernel's
maps: wrong entries are deleted, owners of listening sockets are told.
"""

from __future__ import annotations

import time

import numpy as np

from tcptop_tui.bpf.event_reader import EventReader
from tcptop_tui.bpf.name_offers import NameOffers
from tcptop_tui.bpf.program import Program
from tcptop_tui.diag.namespaces import Namespaces
from tcptop_tui.host.socket_owners import OwnerFinder
from tcptop_tui.reconcile.inputs import InputReader, Inputs, Schedule
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.reconcile.owner_fill import ListenerIndex
from tcptop_tui.records import Mask, Rows, State
from tcptop_tui.row_copy import picked, subset
from tcptop_tui.stream.batches import Capture, Sink
from tcptop_tui.stream.capture_match import CaptureMatch
from tcptop_tui.stream.identity import cookie_key


class Reconciler:
    """Reconciles one tracer with sock_diag; used by the worker thread, apart from ``want_details``.

    Args:
        program: the tracer, whose entries are compared and corrected.
        diag: makes the dumps, in the thread of the reconcile inputs.
        joiner: compares, and makes tables of the result.
        events: is drained before a comparison, and is given the owners of listening sockets.
        names: is told which network namespaces there are.
        capture: the capture filter.
        capture_match: says which rows it includes.
    """

    def __init__(
        self, program: Program, diag: Namespaces, joiner: Joiner, events: EventReader, names: NameOffers,
        capture: Capture, capture_match: CaptureMatch,
    ) -> None:  # fmt: skip
        self._program = program
        self._diag = diag
        self._joiner = joiner
        self._events = events
        self._names = names
        self._input_reader = InputReader(diag, program.slots, OwnerFinder(program.read_holders, 0))
        self._schedule = Schedule()
        self._capture, self._capture_match = capture, capture_match
        self._excluded_sockets = np.zeros(0, "<u8")
        """Sockets of the latest dump that the capture filter excludes (``cookie_key``)."""
        self._wants_details = False
        self.has_reconciled = False
        """Whether dump and entries have been compared since the start, or since the capture filter changed."""

    @property
    def is_reading(self) -> bool:
        """Whether inputs are being read, or wait to be compared."""
        return self._input_reader.busy

    def set_capture(self, capture: Capture, capture_match: CaptureMatch) -> None:
        """Start anew for another capture filter: inputs that were read for the one before are dropped."""
        self._capture, self._capture_match = capture, capture_match
        self._schedule = Schedule()
        self.has_reconciled = False

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have details of sockets read with the next dump, which is due at once, or no longer."""
        self._wants_details = self._diag.details = self._schedule.is_requested = wanted

    def run_if_due(self, sink: Sink, period_s: float, timeout_s: float = 0) -> None:
        """Start reading inputs if that is due, and compare those that are there.

        Args:
            sink: takes the events that are drained before a comparison.
            period_s: least time between two comparisons.
            timeout_s: how long to wait for inputs that are being read.

        Raises:
            BackendUnavailable: the kernel refuses a dump.
            TcptopError: the thread of the inputs was lost in another namespace.
        """
        self._schedule.has_events |= self._events.take_activity()
        if not self._input_reader.busy and self._schedule.is_due(period_s, steady=self._wants_details):
            self._schedule.started()
            self._input_reader.start(self._capture)
        inputs = self._input_reader.result(timeout_s)
        if inputs is None or inputs.capture != self._capture:
            return
        self._events.drain(sink)  # what ended before the dump must be known when it is compared
        started_s = time.thread_time()
        self.compare(inputs)
        cpu_s = inputs.cpu_s + time.thread_time() - started_s
        self._schedule.finished(cpu_s, needs_confirmation=self._joiner.has_unconfirmed)
        self.has_reconciled = True

    def compare(self, inputs: Inputs) -> None:
        """Compare a dump with the entries, and correct the kernel's maps."""
        dump = inputs.dump
        self._names.netns = dump.netns
        self._read_pinned_maps()
        self._events.event_filter.listeners = ListenerIndex(picked(dump.rows, dump.rows["state"] == State.LISTEN))
        # excluded sockets must look neither missing here nor left over there, whichever side knows their owner
        entries = subset(inputs.entry_digests, self._capture_match.process_mask(inputs.entry_digests, unknown=True))
        included = self._capture_match.mask(dump.rows, unknown=True)
        expected = self._expected_entries(dump.rows, included)
        wrong = self._joiner.reconcile(
            dump.subset(included),
            entries,
            expected=expected,
            rebound=inputs.rebound,
            shared_sockets=inputs.shared_sockets.subset(included),
        )
        self._program.slots.delete(wrong)
        self._program.remember_listeners(inputs.listeners, inputs.listener_owners)

    def _expected_entries(self, rows: Rows, included: Mask) -> Mask:
        """Which of the ``included`` rows of a dump the kernel side should have an entry of.

        A socket that the capture filter excluded at the dump before, and that a process has handed to an included one
        since, has none.
        """
        expected = self._capture_match.decidable(rows) & included
        if self._capture_match.filters_processes:
            keys = cookie_key(rows)
            expected &= ~np.isin(keys, self._excluded_sockets)
            self._excluded_sockets = keys[~included]
        return expected[included]

    def _read_pinned_maps(self) -> None:
        """Read the pinned maps again: whoever pinned them may change them at any time."""
        if self._capture.cgroup_map_path:
            self._capture_match.pinned_cgroups = self._program.read_pinned("pinned_cgroups")
        if self._capture.mntns_map_path:
            self._capture_match.pinned_mntns = self._program.read_pinned("pinned_mntns")

    def close(self) -> None:
        """Wait for inputs that are being read."""
        self._input_reader.close()
