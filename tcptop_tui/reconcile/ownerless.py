"""What happened to connections whose process is not known yet, while a process is asked for.

An accepted connection is nobody's until somebody reads from it, sends, or is found to have it open. Until then its
transitions wait here; when it comes out that they are wanted they are passed on, before any later one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.owner_fill import copy_owner
from tcptop_tui.records import TRANSITION, Flag, HolderLookup, Mask, Rows
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.batches import Capture
from tcptop_tui.stream.identity import KeyIndex, process_mask, socket_key

_MAX_WAITING = 65_536
"""Transitions, 11 MB; the oldest go first."""


class OwnerlessTransitions:
    """For one capture, and one worker thread.

    Args:
        capture: what is wanted.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._waiting = np.zeros(0, TRANSITION)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, moved: Rows) -> Rows:
        """Of what has waited and what has just ``moved`` (dtype TRANSITION): the wanted, in order; the rest waits."""
        rows = concat(TRANSITION, self._waiting, moved)
        decided = rows["flags"] & Flag.OWNER_SURE != 0
        return self._decide(rows, rows, np.flatnonzero(decided & (rows["pid"] != 0)))

    def release(self, table: Rows) -> Rows:
        """What the owners in a table (dtype ROW) decide of what waits: the wanted; the unwanted goes, too."""
        if not len(self._waiting):
            return self._waiting
        known = (table["pid"] != 0) & (
            ((table["flags"] & Flag.OWNER_SURE) != 0) | (table["holder_lookup"] == HolderLookup.DONE)
        )
        return self._decide(self._waiting, table, np.flatnonzero(known & (table["skaddr"] != 0)))

    def release_ended(self, sessions: Rows) -> tuple[Rows, Rows]:
        """Of connections that ended (dtype ENDED) the transitions that waited, and the sessions; the wanted."""
        waited = self._decide(self._waiting, sessions, np.arange(len(sessions)))
        return waited, picked(sessions, process_mask(sessions, self._capture, unknown=False))

    def _decide(self, rows: Rows, owners: Rows, which: NDArray[np.intp]) -> Rows:
        """Those of ``rows`` that rows ``which`` of ``owners``, the last of a connection, show to be wanted."""
        lives, which = socket_key(rows), which[::-1]
        place, found = KeyIndex.from_keys(socket_key(owners)[which]).find(lives)
        asked = np.flatnonzero(found & ~_owner_is_sure(rows))
        copy_owner(rows, asked, owners, which[place[asked]])
        wanted: Mask = process_mask(rows, self._capture, unknown=False)
        waiting = ~wanted & ~found
        self._waiting = picked(rows, np.flatnonzero(waiting)[-_MAX_WAITING:])
        return picked(rows, wanted)


def _owner_is_sure(rows: Rows) -> Mask:
    sure: Mask = (rows["flags"] & Flag.OWNER_SURE) != 0
    return sure
