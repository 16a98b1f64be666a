"""Which connections closed after the latest dump was made, so that the dump does not bring them back into the table.

A dump that was being made while a connection closed may contain the connection, too. So its tombstone stays until no
such dump can come any more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.dump_index import DumpIndex
from tcptop_tui.records import Mask, Rows, State
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import tuple_hash


class Tombstones:
    """The tombstones of one joiner; used from the source's thread only."""

    def __init__(self) -> None:
        self._batches: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        """Times (CLOCK_MONOTONIC, ascending) and ``tuple_hash`` of connections that closed, oldest batch first."""
        self._applied_batches = 0
        """The first so many are in ``closed``."""
        self.closed: Mask = np.zeros(0, np.bool_)
        """Which rows of the latest dump have closed since, as far as ``apply`` has been called."""

    def add(self, transitions: Rows, dump_ns: int) -> None:
        """Remember those of ``transitions`` (dtype TRANSITION) that closed a connection after ``dump_ns``."""
        closing = (transitions["newstate"] == State.CLOSE) & (transitions["ts_ns"] > dump_ns)
        closing_rows = picked(transitions, closing)
        if len(closing_rows):
            self._batches.append((closing_rows["ts_ns"].copy(), tuple_hash(closing_rows)))

    def apply(self, dump: DumpIndex, *, dump_pending: bool) -> None:
        """Mark full sockets of ``dump`` that have closed; a TIME_WAIT socket is what is left after the CLOSE.

        Without a dump that is being made (``dump_pending``) the tombstones are not needed afterwards.
        """
        hashes = [hashes for _, hashes in self._batches[self._applied_batches :]]
        if hashes:
            self.closed |= dump.full & dump.index.mask_of(np.concatenate(hashes))
        if not dump_pending:
            self._batches.clear()
        self._applied_batches = len(self._batches)

    def start_dump(self, dump: DumpIndex) -> None:
        """Begin with another dump: keep what closed after it."""
        self._batches = [(ts_ns, hashes) for ts_ns, hashes in self._batches if ts_ns[-1] > dump.now_ns]
        self.closed, self._applied_batches = np.zeros(len(dump.rows), np.bool_), 0
