"""Ended connections that the next dump may still need: its TIME_WAIT sockets have forgotten what these knew.

A connection that ended while a dump was read turns TIME_WAIT only in the next dump, so digests stay until a dump was
made after them. A connection that left FIN_WAIT2 by CLOSE, because its process closed it, may go on waiting in
FIN_WAIT2 in a timewait socket. Its last transition says since when, and is kept until the ended connection has been
read.
"""

from __future__ import annotations

import numpy as np

from tcptop_tui.reconcile.entry_digests import ENDED_DIGEST, ended_digests
from tcptop_tui.records import TRANSITION, UNKNOWN_NS, CloseFlag, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.identity import KeyIndex, socket_key

_MAX_ENDED = 65_536
_MAX_WAIT_NS = 10**10
"""How long a transition waits for its ended connection. The kernel side writes that one microseconds later, but the
rings are read one after the other."""


class RecentEnds:
    """Digests of ended connections, at most 65,536, since the latest dump; used from the source's thread only."""

    def __init__(self) -> None:
        self._batches: list[Rows] = []
        """Digests as they came, oldest first; dtype ENDED_DIGEST."""
        self._closings = np.zeros(0, TRANSITION)
        """Transitions from FIN_WAIT2 to CLOSE whose ended connections have not been read yet."""

    def remember_transitions(self, transitions: Rows) -> None:
        """Remember since when connections that close were in FIN_WAIT2; dtype TRANSITION."""
        closing = (transitions["newstate"] == State.CLOSE) & (transitions["oldstate"] == State.FIN_WAIT2)
        closing &= transitions["time_in_state_ns"] != UNKNOWN_NS
        self._closings = concat(TRANSITION, self._closings, picked(transitions, closing))[-_MAX_ENDED:]

    def remember_ended(self, ended: Rows) -> None:
        """Remember what ended connections (dtype ENDED) knew."""
        # a reset leaves no TIME_WAIT; and nothing else bounds the number of connections that end between two dumps
        without_reset = (ended["close_flags"] & (CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED)) == 0
        ended = picked(ended, np.flatnonzero(without_reset)[-_MAX_ENDED:])
        digests = ended_digests(ended)
        self._fill_fin_wait2_start(ended, digests)
        self._batches.append(digests)
        while sum(map(len, self._batches)) > _MAX_ENDED:
            self._batches.pop(0)

    def _fill_fin_wait2_start(self, ended: Rows, digests: Rows) -> None:
        """Write into ``digests`` of ``ended`` when FIN_WAIT2 began, where their last transitions are known."""
        closings = self._closings
        if not len(closings):
            return
        closing_row, matched = KeyIndex.from_keys(socket_key(closings)).find(socket_key(ended))
        closing_row = closing_row[matched]
        digests["half_ns"][matched] = closings["ts_ns"][closing_row] - closings["time_in_state_ns"][closing_row]
        is_waiting = closings["ts_ns"] + np.uint64(_MAX_WAIT_NS) > closings["ts_ns"].max()
        is_waiting[closing_row] = False
        self._closings = picked(closings, is_waiting)

    def digests(self) -> Rows:
        """All digests, the latest batch first, because the latest end of the same addresses and ports counts."""
        return concat(ENDED_DIGEST, *reversed(self._batches))

    def forget_before(self, dump_ns: int) -> None:
        """Forget batches that ended before ``dump_ns``, CLOCK_MONOTONIC of a dump that has been compared."""
        self._batches = [batch for batch in self._batches if len(batch) and batch["state_ns"].max() > dump_ns]
