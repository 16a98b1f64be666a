"""A dump of sock_diag with everything that has been found out about its sockets.

A ``DumpIndex`` has a column beside the rows of a dump for each question that reconciling and the table ask of them:
which row has this key, which id, is there an entry for it, is it in the table. ``DumpMatch`` says which rows of two
successive dumps are the same socket.

Names of row numbers: ``dump_row`` is a row of the dump, ``earlier_row`` one of the dump before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import TIMEWAIT_NS
from tcptop_tui.diag.dump import Dump
from tcptop_tui.reconcile.inode_keys import PortlessSockets, dump_key
from tcptop_tui.reconcile.rebinding import NO_REBOUND
from tcptop_tui.records import DUMP_ROW, Flag, Mask, Rows, State
from tcptop_tui.row_copy import chunks, picked
from tcptop_tui.stream.identity import KeyIndex, cookie_key

_ROWS_PER_CHUNK = 4096
"""Rows that are compared at a time: what fits into a cache."""

_TIMEWAIT_SLACK_NS = 4_100 * 10**6
"""A timer of a minute goes off that much late at most: the grain of its level (kernel/time/timer.c, HZ 1000)."""


@dataclass(slots=True, eq=False)
class DumpIndex:
    """The sockets of one dump; columns of shape (n,), most of which reconciling and the table builder write to."""

    rows: Rows
    """dtype DUMP_ROW"""
    index: KeyIndex
    """Finds a row by ``inode_keys.dump_key``."""
    now_ns: int
    """CLOCK_MONOTONIC just before the dump."""
    netns: frozenset[int]
    """The network namespaces that were read."""
    listening: Mask
    full: Mask
    """Full sockets: those that the tracer should know, neither TIME_WAIT nor half-open requests."""
    portless: PortlessSockets
    rebound: Rows
    """Entries that the dump has with another device, dtype REBOUND."""
    details: Rows
    """Details of each socket, dtype SOCKET_DETAIL; empty where nobody wanted them."""
    unmapped: Mask
    """The socket had no entry when the entries were read, right after the dump."""
    id_claimed: Mask
    """An entry that was made later has taken over the row's id. The row is in the table again, with its id, only when
    that entry is gone, as at TIME_WAIT."""
    unconfirmed: Mask
    """The socket has no entry although it should have one, and this dump is the first that shows it."""
    in_table: Mask
    """The row is in the latest table as it stands here."""
    changed_in: NDArray[np.intp]
    """Number of the first table that shows the row as it is."""
    ids: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """The ids of ``rows``; empty before ``index_ids``."""
    row_by_id: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Row numbers in the order of ``ids``, which is the order of tables; empty before ``index_ids``."""

    @classmethod
    def from_dump(cls, dump: Dump, rebound: Rows = NO_REBOUND) -> DumpIndex:
        """Index a dump that has not been compared with anything yet."""
        rows = dump.rows
        listening = rows["state"] == State.LISTEN
        full = ((rows["flags"] & Flag.GAUGES) != 0) | listening
        full &= rows["state"] != State.SYN_RECV
        return cls(
            rows=rows,
            index=KeyIndex.from_keys(dump_key(dump)),
            now_ns=dump.now_ns,
            netns=dump.netns,
            listening=listening,
            full=full,
            portless=PortlessSockets.from_dump(dump),
            rebound=rebound,
            details=dump.details,
            unmapped=np.zeros(len(rows), np.bool_),
            id_claimed=np.zeros(len(rows), np.bool_),
            unconfirmed=np.zeros(len(rows), np.bool_),
            in_table=np.zeros(len(rows), np.bool_),
            changed_in=np.zeros(len(rows), np.intp),
        )

    @classmethod
    def empty(cls) -> DumpIndex:
        """What there is before the first dump."""
        return cls.from_dump(Dump(np.zeros(0, DUMP_ROW), np.zeros(0, np.uint32), 0, frozenset()))

    def index_ids(self) -> None:
        """Fill ``ids`` and ``row_by_id``, when every row has its id."""
        self.ids = self.rows["id"].copy()
        self.row_by_id = np.argsort(self.ids)

    def carry_over_unchanged(self, earlier: DumpIndex, match: DumpMatch) -> None:
        """Mark rows that are in the table as they are, so that they need not be written again."""
        dump_row = np.flatnonzero(match.unchanged)
        earlier_row = match.earlier_row[dump_row]
        same_row = earlier.in_table[earlier_row] & (earlier.ids[earlier_row] == self.ids[dump_row])
        self.in_table[dump_row[same_row]] = True
        self.changed_in[dump_row[same_row]] = earlier.changed_in[earlier_row[same_row]]

    def expired(self, now_ns: int) -> Mask:
        """Which TIME_WAIT sockets must have gone by ``now_ns``; none while the dump is fresh."""
        rows = self.rows
        if now_ns - self.now_ns < _TIMEWAIT_SLACK_NS:
            return np.zeros(len(rows), np.bool_)
        oldest_ns = now_ns - TIMEWAIT_NS - _TIMEWAIT_SLACK_NS
        expired: Mask = (rows["state"] == State.TIME_WAIT) & (rows["state_ns"] < max(0, oldest_ns))
        return expired

    @property
    def claimable(self) -> KeyIndex:
        """The part of ``index`` whose ids an entry may take over: unmapped rows whose id none has claimed.

        A listener's is not among them, because several may listen at one address.
        """
        claimable = (self.unmapped & ~self.listening & ~self.id_claimed)[self.index.order]
        return KeyIndex(self.index.keys[claimable], self.index.order[claimable])


@dataclass(frozen=True, slots=True, eq=False)
class DumpMatch:
    """Which rows of two dumps are the same sockets; columns by row of the later dump, shape (n,)."""

    earlier_row: NDArray[np.intp]
    """Row of the earlier dump; anything where ``matched`` is False."""
    matched: Mask
    unchanged: Mask
    """``matched``, and nothing but the id differs; all False before ``with_unchanged``."""

    @classmethod
    def from_dumps(cls, earlier: DumpIndex, dump: DumpIndex) -> DumpMatch:
        """Match two dumps by cookie."""
        earlier_row, matched = KeyIndex.from_keys(cookie_key(earlier.rows)).find(cookie_key(dump.rows))
        matched &= dump.rows["cookie"] != 0
        return cls(earlier_row, matched, np.zeros(len(matched), np.bool_))

    def with_unchanged(self, earlier: DumpIndex, dump: DumpIndex) -> DumpMatch:
        """Compare matched rows, when ``dump`` has inherited what it does not know itself."""
        unchanged = np.zeros(len(self.matched), np.bool_)
        for dump_row in chunks(np.flatnonzero(self.matched), _ROWS_PER_CHUNK):
            words = _words_without_id(picked(dump.rows, dump_row))
            earlier_words = _words_without_id(picked(earlier.rows, self.earlier_row[dump_row]))
            unchanged[dump_row] = (words == earlier_words).all(axis=1)
        return replace(self, unchanged=unchanged)

    def rows_of(self, earlier_mask: Mask) -> Mask:
        """Rows of the later dump whose socket is in ``earlier_mask``, a mask over rows of the earlier one."""
        mask = self.matched.copy()
        mask[mask] = earlier_mask[self.earlier_row[mask]]
        return mask


def _words_without_id(dump_rows: Rows) -> NDArray[np.uint64]:
    """Everything in each row but its id, which stands first; shape (n, 20)."""
    return dump_rows.view("<u8").reshape(len(dump_rows), -1)[:, 1:]


def in_namespaces(rows: Rows, netns: frozenset[int]) -> Mask:
    """Which of ``rows`` are in one of these namespaces."""
    return np.isin(rows["netns"], np.array(sorted(netns), "<u4"))
