"""What happened to connections whose process is not known yet, while a process is asked for.

An accepted connection is nobody's until somebody reads from it, sends, or is found to have it open. Until then its
transitions wait here; when it comes out that they are wanted they are passed on, before any later one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.owner_fill import own
from tcptop_tui.records import TRANSITION, Flag, Looked, Mask, Rows, joined, picked
from tcptop_tui.stream.batches import Capture
from tcptop_tui.stream.identity import Index, process_mask, socket_life

_MOST = 65_536
"""Transitions, 11 MB; the oldest go first."""


class Undecided:
    """For one capture, and one worker thread.

    Args:
        capture: what is wanted.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._waiting = np.zeros(0, TRANSITION)

    def __len__(self) -> int:
        return len(self._waiting)

    def passed(self, moved: Rows) -> Rows:
        """Of what has waited and what has just ``moved`` (dtype TRANSITION): the wanted, in order; the rest waits."""
        rows = joined(TRANSITION, self._waiting, moved)
        decided = rows["flags"] & Flag.OWNER_SURE != 0
        return self._passed(rows, rows, np.flatnonzero(decided & (rows["pid"] != 0)))

    def settled(self, table: Rows) -> Rows:
        """What the owners in a table (dtype ROW) decide of what waits: the wanted; the unwanted goes, too."""
        if not len(self._waiting):
            return self._waiting
        known = (table["pid"] != 0) & (((table["flags"] & Flag.OWNER_SURE) != 0) | (table["looked"] == Looked.FOR))
        return self._passed(self._waiting, table, np.flatnonzero(known & (table["skaddr"] != 0)))

    def ended(self, sessions: Rows) -> tuple[Rows, Rows]:
        """Of connections that ended (dtype SESSION) the transitions that waited, and the sessions; the wanted."""
        waited = self._passed(self._waiting, sessions, np.arange(len(sessions)))
        return waited, picked(sessions, process_mask(sessions, self._capture, unknown=False))

    def _passed(self, rows: Rows, owners: Rows, which: NDArray[np.intp]) -> Rows:
        """Those of ``rows`` that rows ``which`` of ``owners``, the last of a connection, show to be wanted."""
        lives, which = socket_life(rows), which[::-1]
        place, found = Index.of(socket_life(owners)[which]).find(lives)
        asked = np.flatnonzero(found & ~_sure(rows))
        own(rows, asked, owners, which[place[asked]])
        wanted: Mask = process_mask(rows, self._capture, unknown=False)
        waiting = ~wanted & ~found
        self._waiting = picked(rows, np.flatnonzero(waiting)[-_MOST:])
        return picked(rows, wanted)


def _sure(rows: Rows) -> Mask:
    sure: Mask = (rows["flags"] & Flag.OWNER_SURE) != 0
    return sure
