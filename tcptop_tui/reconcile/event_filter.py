"""Filters events on their way from the rings to the sink: fills in owners, and drops what is not wanted."""

from __future__ import annotations

import numpy as np

from tcptop_tui.reconcile.owner_fill import ListenerIndex, OwnerIndex, fill_owners, fill_transitions
from tcptop_tui.reconcile.ownerless import OwnerlessTransitions
from tcptop_tui.records import ROW, Rows
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.batches import Capture, EndedConnections, LateEndings, Transitions
from tcptop_tui.stream.capture_match import CaptureMatch


class EventFilter:
    """Filters events for one capture filter; used from the source's thread only.

    Args:
        capture: the capture filter.
        capture_match: applies it.
    """

    def __init__(self, capture: Capture, capture_match: CaptureMatch) -> None:
        self._capture, self._capture_match = capture, capture_match
        self._ownerless = OwnerlessTransitions(capture)
        self.listeners = ListenerIndex(np.zeros(0, ROW))
        """Owners of listeners, by the latest dump."""

    def filter(
        self, batch: Transitions | EndedConnections | LateEndings, owners: OwnerIndex
    ) -> list[Transitions | EndedConnections | LateEndings]:
        """Fill in owners and drop what the capture filter excludes.

        Args:
            batch: as the kernel side wrote it; its rows are changed in place.
            owners: by the latest table.

        Returns:
            What is to be passed on, in order. Transitions that have waited for their owner come first.
        """
        if isinstance(batch, LateEndings):
            return [batch]
        fill = fill_transitions if isinstance(batch, Transitions) else fill_owners
        rows = fill(batch.rows, owners)
        self.listeners.fill_owners(rows)
        if self._capture != Capture():
            rows = picked(rows, self._capture_match.mask_without_cgroup(rows, unknown=self._may_be_unknown(batch)))
        if not self._capture.pids:
            return [type(batch)(rows)]
        if isinstance(batch, Transitions):
            return [Transitions(self._ownerless.add(rows))]
        transitions, ended = self._ownerless.release_ended(rows)
        return [Transitions(transitions), EndedConnections(ended)]

    def _may_be_unknown(self, batch: Transitions | EndedConnections) -> bool:
        """Whether rows without an owner pass.

        The owner of a transition may become known. That of an ended connection stays unknown, but with ``-p`` it passes
        here, because the transitions that have waited for it must be released first.
        """
        return isinstance(batch, Transitions) or bool(self._capture.pids) or not self._capture_match.filters_processes

    def release(self, table: Rows) -> list[Transitions | EndedConnections]:
        """Release wanted transitions that have waited for an owner in ``table`` (dtype ROW)."""
        transitions = self._ownerless.release(table)
        return [Transitions(transitions)] if len(transitions) else []
