"""Transitions whose owner is not known yet, while ``--pid`` asks for certain processes.

An accepted connection has no owner until a process reads from it, sends, or is found to have it open. Until then its
transitions wait here. When it turns out that they are wanted they are passed on, before any later one.
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
"""Transitions, 11 MB; the oldest are dropped first."""


class OwnerlessTransitions:
    """The transitions that wait under one capture filter; used from the source's thread only.

    Args:
        capture: the filter, with ``pids``.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._waiting = np.zeros(0, TRANSITION)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, transitions: Rows) -> Rows:
        """Add transitions (dtype TRANSITION) to those that wait.

        Returns:
            All that are wanted for sure, in order. Those whose owner is still unknown wait, the others are dropped.
        """
        rows = concat(TRANSITION, self._waiting, transitions)
        return self._release_decided(rows, rows, np.flatnonzero(_owner_is_sure(rows) & (rows["pid"] != 0)))

    def release(self, table: Rows) -> Rows:
        """Release the waiting transitions whose owners a table (dtype ROW) knows; returns the wanted ones."""
        if not len(self._waiting):
            return self._waiting
        is_decided = _owner_is_sure(table) | (table["holder_lookup"] == HolderLookup.DONE)
        table_row = np.flatnonzero(is_decided & (table["pid"] != 0) & (table["skaddr"] != 0))
        return self._release_decided(self._waiting, table, table_row)

    def release_ended(self, ended: Rows) -> tuple[Rows, Rows]:
        """Release the waiting transitions of connections that have ended (dtype ENDED).

        Returns:
            The wanted transitions, and the wanted ones of ``ended``.
        """
        transitions = self._release_decided(self._waiting, ended, np.arange(len(ended)))
        return transitions, picked(ended, process_mask(ended, self._capture, unknown=False))

    def _release_decided(self, transitions: Rows, owners: Rows, owner_row: NDArray[np.intp]) -> Rows:
        """Return those of ``transitions`` that are wanted by the owners that are known now; keep the undecided.

        Args:
            transitions: dtype TRANSITION; their owners are filled in, in place.
            owners: rows with owners, of any dtype that has sockets.
            owner_row: rows of ``owners`` that decide, ascending; of one connection the last one counts.
        """
        owner_row = owner_row[::-1]
        index_row, has_owner = KeyIndex.from_keys(socket_key(owners)[owner_row]).find(socket_key(transitions))
        unsure = np.flatnonzero(has_owner & ~_owner_is_sure(transitions))
        copy_owner(transitions, unsure, owners, owner_row[index_row[unsure]])
        is_wanted: Mask = process_mask(transitions, self._capture, unknown=False)
        undecided = np.flatnonzero(~is_wanted & ~has_owner)
        self._waiting = picked(transitions, undecided[-_MAX_WAITING:])
        return picked(transitions, is_wanted)


def _owner_is_sure(rows: Rows) -> Mask:
    is_sure: Mask = (rows["flags"] & Flag.OWNER_SURE) != 0
    return is_sure
