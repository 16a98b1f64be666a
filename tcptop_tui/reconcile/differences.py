"""Where a dump and the entries contradict each other, and how many transitions nobody can have seen.

Dump and entries are not read at the same moment, so that one difference means nothing. It is unconfirmed, and counts
when the next dump shows it again: a socket without an entry was missed, an entry without its socket, or in another
state, is wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.dump_index import DumpIndex, DumpMatch, in_namespaces
from tcptop_tui.reconcile.state_depth import STATE_DEPTH
from tcptop_tui.records import Mask, Rows, State


class Differences:
    """Counts confirmed differences, and remembers unconfirmed ones; used from the source's thread only."""

    def __init__(self) -> None:
        self.missed = 0
        """Connections that only reconciling found."""
        self.mended = 0
        """Rows that reconciling added or removed."""
        self.unseen_transitions = 0
        """Transitions, at least, that the kernel programs were not run for, as far as a dump or an end shows it."""
        self._unconfirmed_entries = np.zeros(0, "<u8")
        """A number for each entry, in one state, that the latest dump contradicts."""

    @property
    def has_unconfirmed_entries(self) -> bool:
        """Whether the latest dump contradicts an entry for the first time."""
        return bool(len(self._unconfirmed_entries))

    def forget_unconfirmed_entries(self) -> None:
        """Start anew, because other entries are captured from now on."""
        self._unconfirmed_entries = np.zeros(0, "<u8")

    def count_missed(self, dump: DumpIndex, expected: Mask, earlier: DumpIndex, match: DumpMatch) -> None:
        """Count sockets that two dumps show without an entry, and fill ``dump.unconfirmed``.

        A namespace's first dump confirms nothing: what is in it may be from before the start.

        Args:
            dump: the new one.
            expected: which of its sockets should have an entry, shape (n,).
            earlier: the dump before.
            match: which of their rows are the same sockets.
        """
        without_entry = dump.unmapped & expected & dump.full & in_namespaces(dump.rows, dump.netns & earlier.netns)
        confirmed = without_entry & match.rows_of(earlier.unconfirmed)
        self.missed += int(confirmed.sum())
        self.mended += int(confirmed.sum())
        self.unseen_transitions += int(STATE_DEPTH[dump.rows["state"][confirmed]].sum())
        dump.unconfirmed = without_entry & ~match.rows_of(earlier.unmapped)

    def confirm_wrong_entries(self, dump: DumpIndex, entry_digests: Rows) -> NDArray[np.uint64]:
        """Find entries (dtype ENTRY_DIGEST) that this dump and the one before contradict, unchanged in between.

        Their sockets, where there are any, are rows of the dump alone from now on (``dump.unmapped``).

        Returns:
            Their keys (skaddr), shape (k,).
        """
        entry_state = entry_digests["state"]
        dump_row, has_socket = dump.index.find(entry_digests["hash"])
        dump_state = np.full(len(entry_digests), State.CLOSE, "u1")  # a connection without a socket has come to its end
        dump_state[has_socket] = dump.rows["state"][dump_row[has_socket]]
        differs = ~(has_socket & (dump_state == entry_state)) & in_namespaces(entry_digests, dump.netns)
        differs &= entry_digests["lport"] != 0
        # after the dump a state may have changed; an entry in CLOSE is not in the table
        differs &= (entry_digests["state_ns"] < dump.now_ns) & (entry_state != State.CLOSE)
        entry_in_state = entry_digests["skaddr"] ^ entry_digests["state_ns"]
        confirmed = differs & np.isin(entry_in_state, self._unconfirmed_entries)
        self._unconfirmed_entries = entry_in_state[differs & ~confirmed]
        self.mended += int(confirmed.sum())
        dump.unmapped[dump_row[confirmed & has_socket]] = True  # shown, without being counted as missed in its turn
        if len(dump.rows):  # the end is no step in STATE_DEPTH
            steps = STATE_DEPTH[dump_state[confirmed]] - STATE_DEPTH[entry_state[confirmed]]
            self.unseen_transitions += int(np.maximum(steps, 1).sum())
        wrong: NDArray[np.uint64] = entry_digests["skaddr"][confirmed]
        return wrong

    def count_unseen_before_end(self, ended: Rows, dump: DumpIndex) -> None:
        """Count unseen transitions of connections (dtype ENDED) that came and went since ``dump``, and were met late.

        Each dump gives the sockets that it finds a cookie, so a connection without one was born after the latest dump.
        """
        met_late = (ended["born_ns"] == 0) & (ended["cookie"] == 0) & (ended["end_ns"] > dump.now_ns)
        if met_late.any():
            met_late &= in_namespaces(ended, dump.netns)
            self.unseen_transitions += int(np.where(ended["established_ns"][met_late] != 0, 1, 2).sum())
