"""Transitions and sessions as they are passed on: with what is known of their owners, and only those wanted."""

from __future__ import annotations

import numpy as np

from tcptop_tui.reconcile.owner_fill import ListenerIndex, OwnerIndex, fill_owners, fill_transitions
from tcptop_tui.reconcile.ownerless import OwnerlessTransitions
from tcptop_tui.records import ROW, Rows
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.batches import Capture, EndedConnections, LateEndings, Transitions
from tcptop_tui.stream.capture_match import CaptureMatch


class EventFilter:
    """For one capture, and one worker thread.

    Args:
        capture: what is wanted.
        chosen: tells it.
    """

    def __init__(self, capture: Capture, chosen: CaptureMatch) -> None:
        self._capture, self._capture_match = capture, chosen
        self._ownerless = OwnerlessTransitions(capture)
        self.listeners = ListenerIndex(np.zeros(0, ROW))

    def filter(
        self, batch: Transitions | EndedConnections | LateEndings, known: OwnerIndex
    ) -> list[Transitions | EndedConnections | LateEndings]:
        """What of it is wanted, behind what has waited for its owner to be known; changed in place.

        Args:
            batch: as the kernel side wrote it.
            known: owners, by the latest table.
        """
        if isinstance(batch, LateEndings):
            return [batch]
        complete = fill_transitions if isinstance(batch, Transitions) else fill_owners
        rows = complete(batch.rows, known)
        self.listeners.fill_owners(rows)
        if self._capture != Capture():
            # an ended connection stays unknown; with -p, what has waited for it is to be settled first
            waits = isinstance(batch, Transitions) or bool(self._capture.pids)
            rows = picked(
                rows,
                self._capture_match.mask_without_cgroup(
                    rows, unknown=waits or not self._capture_match.filters_processes
                ),
            )
        if not self._capture.pids:
            return [type(batch)(rows)]
        if isinstance(batch, Transitions):
            return [Transitions(self._ownerless.add(rows))]
        waited, ended = self._ownerless.release_ended(rows)
        return [Transitions(waited), EndedConnections(ended)]

    def release(self, table: Rows) -> list[Transitions | EndedConnections]:
        """What has waited and is wanted, now that the owners in ``table`` (dtype ROW) are known."""
        waited = self._ownerless.release(table)
        return [Transitions(waited)] if len(waited) else []
