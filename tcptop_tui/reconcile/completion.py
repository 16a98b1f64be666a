"""Transitions and sessions as they are passed on: with what is known of their owners, and only those wanted."""

from __future__ import annotations

import numpy as np

from tcptop_tui.reconcile.owner_fill import Known, Listeners, complete_owners, complete_transitions
from tcptop_tui.reconcile.undecided_owners import Undecided
from tcptop_tui.records import ROW, Rows, picked
from tcptop_tui.stream.batches import Capture, Endings, Sessions, Transitions
from tcptop_tui.stream.capture_match import Chosen


class Completion:
    """For one capture, and one worker thread.

    Args:
        capture: what is wanted.
        chosen: tells it.
    """

    def __init__(self, capture: Capture, chosen: Chosen) -> None:
        self._capture, self._chosen = capture, chosen
        self._undecided = Undecided(capture)
        self.listeners = Listeners(np.zeros(0, ROW))

    def completed(
        self, batch: Transitions | Sessions | Endings, known: Known
    ) -> list[Transitions | Sessions | Endings]:
        """What of it is wanted, behind what has waited for its owner to be known; changed in place.

        Args:
            batch: as the kernel side wrote it.
            known: owners, by the latest table.
        """
        if isinstance(batch, Endings):
            return [batch]
        complete = complete_transitions if isinstance(batch, Transitions) else complete_owners
        rows = complete(batch.rows, known)
        self.listeners.complete(rows)
        if self._capture != Capture():
            # an ended connection stays unknown; with -p, what has waited for it is to be settled first
            waits = isinstance(batch, Transitions) or bool(self._capture.pids)
            rows = picked(rows, self._chosen.by_owner(rows, unknown=waits or not self._chosen.asks_processes))
        if not self._capture.pids:
            return [type(batch)(rows)]
        if isinstance(batch, Transitions):
            return [Transitions(self._undecided.passed(rows))]
        waited, ended = self._undecided.ended(rows)
        return [Transitions(waited), Sessions(ended)]

    def settled(self, table: Rows) -> list[Transitions | Sessions]:
        """What has waited and is wanted, now that the owners in ``table`` (dtype ROW) are known."""
        waited = self._undecided.settled(table)
        return [Transitions(waited)] if len(waited) else []
