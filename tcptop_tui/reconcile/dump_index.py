"""A dump of sock_diag, and what comparing it with the map has shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import TIMEWAIT_NS
from tcptop_tui.diag.dump import Dump
from tcptop_tui.reconcile.entry_digests import CARRIED_INTO_TIME_WAIT
from tcptop_tui.reconcile.inode_keys import PortlessSockets, dump_key
from tcptop_tui.reconcile.owner_fill import copy_owner
from tcptop_tui.reconcile.rebinding import NO_REBOUND
from tcptop_tui.records import DUMP_ROW, Flag, HolderLookup, Mask, Rows, State
from tcptop_tui.row_copy import chunks, picked
from tcptop_tui.stream.identity import KeyIndex, cookie_key, tuple_hash

_ROWS_PER_CHUNK = 4096
"""Rows that are compared at a time: what fits into a cache."""


_TIMEWAIT_SLACK_NS = 4_100 * 10**6
"""A timer of a minute goes off that much late at most: the grain of its level (kernel/time/timer.c, HZ 1000)."""
_KEPT_FLAGS = Flag.GAUGES | Flag.ACTIVE | Flag.PASSIVE
"""Of those of a connection what is true of its timewait socket."""
_TIMER_SLACK_NS = 10**9
"""What a timer says of one start differs by less from dump to dump."""


@dataclass(frozen=True, slots=True)
class DumpIndex:
    """The sockets of one dump; columns of shape (n,)."""

    rows: Rows
    """dtype DUMP_ROW"""
    index: KeyIndex
    """by ``inode_keys.dump_key``"""
    ids: NDArray[np.uint64]
    """of ``rows``; none before ``with_ids``"""
    by_id: NDArray[np.intp]
    """Rows by ``ids``, as tables have them."""
    listening: Mask
    full: Mask
    """What the tracer should know: not TIME_WAIT and not a half-open request."""
    unmapped: Mask
    """Not in the map."""
    id_claimed: Mask
    """An entry that came into the map later has taken its ``id``; if that has gone, as at TIME_WAIT, it is its own."""
    unconfirmed: Mask
    """Not in the map for the first time, and it should be."""
    in_table: Mask
    """In the latest table as it stands here."""
    changed_in: NDArray[np.intp]
    """Number of the first table that shows it as it is."""
    portless: PortlessSockets
    now_ns: int
    netns: frozenset[int]
    """The network namespaces that were read."""
    rebound: Rows
    """Entries that the dump has with another device, dtype REBOUND."""
    details: Rows
    """Of ``rows``, dtype SOCKET_DETAIL; empty where nobody wanted them."""

    @classmethod
    def from_dump(cls, dump: Dump, rebound: Rows = NO_REBOUND) -> DumpIndex:
        """Not compared yet."""
        rows = dump.rows
        listens = rows["state"] == State.LISTEN
        full = ((rows["flags"] & Flag.GAUGES) != 0) | listens
        full &= rows["state"] != State.SYN_RECV
        none = np.zeros(len(rows), np.bool_)
        return cls(
            rows, KeyIndex.from_keys(dump_key(dump)), np.zeros(0, "<u8"), np.zeros(0, np.intp), listens,
            full, none, none.copy(), none, none.copy(), np.zeros(len(rows), np.intp), PortlessSockets.from_dump(dump),
            dump.now_ns, dump.netns, rebound, dump.details,
        )  # fmt: skip

    @classmethod
    def empty(cls) -> DumpIndex:
        """Before the first one."""
        return cls.from_dump(Dump(np.zeros(0, DUMP_ROW), np.zeros(0, np.uint32), 0, frozenset()))

    def with_ids(self) -> DumpIndex:
        """The same, when ``rows`` have got their ids."""
        ids = self.rows["id"].copy()
        return replace(self, ids=ids, by_id=np.argsort(ids))

    def mark_unchanged(self, before: DumpIndex, successors: DumpMatch) -> None:
        """Rows that are as the table has them still need not be written again."""
        same = np.flatnonzero(successors.unchanged)
        place = successors.earlier_row[same]
        kept = before.in_table[place] & (before.ids[place] == self.ids[same])
        self.in_table[same[kept]] = True
        self.changed_in[same[kept]] = before.changed_in[place[kept]]

    def expired(self, now_ns: int) -> Mask:
        """Which TIME_WAIT sockets must have gone by ``now_ns``; none while the dump is fresh."""
        rows = self.rows
        if now_ns - self.now_ns < _TIMEWAIT_SLACK_NS:
            return np.zeros(len(rows), np.bool_)
        oldest_ns = now_ns - TIMEWAIT_NS - _TIMEWAIT_SLACK_NS
        over: Mask = (rows["state"] == State.TIME_WAIT) & (rows["state_ns"] < max(0, oldest_ns))
        return over

    @property
    def claimable(self) -> KeyIndex:
        """Those that are not in the map, as ``index``; a listener stays beside others with its address."""
        chosen = (self.unmapped & ~self.listening & ~self.id_claimed)[self.index.order]
        return KeyIndex(self.index.keys[chosen], self.index.order[chosen])


@dataclass(frozen=True, slots=True)
class DumpMatch:
    """Which rows of two dumps are the same sockets; by row of the later one, shape (n,)."""

    earlier_row: NDArray[np.intp]
    """The row of the earlier one, anything where there was none."""
    matched: Mask
    unchanged: Mask
    """``matched``, and nothing but its ``id`` differs; none before ``with_unchanged``."""

    @classmethod
    def from_dumps(cls, before: DumpIndex, latest: DumpIndex) -> DumpMatch:
        """By cookie."""
        place, there = KeyIndex.from_keys(cookie_key(before.rows)).find(cookie_key(latest.rows))
        there &= latest.rows["cookie"] != 0
        return cls(place, there, np.zeros(len(there), np.bool_))

    def with_unchanged(self, before: DumpIndex, latest: DumpIndex) -> DumpMatch:
        """The same, when ``latest`` has taken over what it does not know itself."""
        unchanged = np.zeros(len(self.matched), np.bool_)
        for part in chunks(np.flatnonzero(self.matched), _ROWS_PER_CHUNK):
            same = _words_without_id(picked(latest.rows, part)) == _words_without_id(
                picked(before.rows, self.earlier_row[part])
            )
            unchanged[part] = same.all(axis=1)
        return replace(self, unchanged=unchanged)

    def rows_of(self, chosen: Mask) -> Mask:
        """Rows whose socket is one of those ``chosen`` in the earlier dump."""
        found = self.matched.copy()
        found[found] = chosen[self.earlier_row[found]]
        return found


def _words_without_id(dumped: Rows) -> NDArray[np.uint64]:
    """What is said of each but its ``id``, shape (n, 20)."""
    return dumped.view("<u8").reshape(len(dumped), -1)[:, 1:]


def in_namespaces(rows: Rows, netns: frozenset[int]) -> Mask:
    """Which of ``rows`` are in one of these namespaces."""
    return np.isin(rows["netns"], np.array(sorted(netns), "<u4"))


def inherit(rows: Rows, which: NDArray[np.intp], source: Rows, place: NDArray[np.intp], full: Mask) -> None:
    """Give ``which`` of ``rows`` what rows ``place`` of ``source`` know of the same connections.

    Of a ``full`` socket that is the owner, if it has none; TIME_WAIT has forgotten more, its ``id`` too if it has none.
    """
    # who has ended and left a socket that nobody has open is not its owner again
    unowned = full[which] & (rows["pid"][which] == 0) & (rows["holder_lookup"][which] != HolderLookup.DONE)
    copy_owner(rows, which[unowned], source, place[unowned])
    forgot = ~full[which]
    which, place = which[forgot], place[forgot]
    for name in CARRIED_INTO_TIME_WAIT:
        rows[name][which] = source[name][place]
    rows["state_ns"][which] = _timewait_start(rows, which, source, place)
    rows["flags"][which] |= source["flags"][place] & _KEPT_FLAGS
    free = rows["id"][which] == 0
    rows["id"][which[free]] = source["id"][place[free]]


def closed_since(latest: DumpIndex, before: DumpIndex, same: Mask, place: NDArray[np.intp]) -> NDArray[np.intp]:
    """Timewait sockets of ``latest`` whose end tells more than row ``place`` of ``before`` about the ``same`` socket.

    The cookie is the one that the connection had (inet_twsk_alloc(), net/ipv4/inet_timewait_sock.c; older kernels give
    another one). It was open when the dump before read it, and had no entry any more when the map was read; or its end
    came to be read only after the first dump that had it in TIME_WAIT.
    """
    rows = latest.rows
    untold = rows["born_ns"] == 0
    untold[same] |= before.full[place]
    return np.flatnonzero(same & ~latest.full & untold & (rows["state"] != State.SYN_RECV))


def take_ends(rows: Rows, which: NDArray[np.intp], ended: Rows) -> None:
    """Give timewait sockets, ``which`` of ``rows``, what the ends of their connections know.

    Args:
        rows: of a dump, dtype DUMP_ROW; changed in place.
        which: those that some dump has shown already, shape (k,).
        ended: the ends, dtype ENDED_DIGEST.

    An owner who was seen with it is believed before the one that a survey found, and that one before a listener's.
    """
    if not len(which) or not len(ended):
        return
    place, found = KeyIndex.from_keys(ended["hash"]).find(tuple_hash(picked(rows, which)))
    which, place = which[found], place[found]
    told = picked(rows, which)
    inherit(rows, which, ended, place, np.zeros(len(rows), np.bool_))
    for name in ("tx_bytes", "rx_bytes", "retrans"):
        rows[name][which] = np.maximum(rows[name][which], told[name])
    guessed = (told["pid"] != 0) & ((ended["flags"][place] & Flag.OWNER_SURE) == 0)
    copy_owner(rows, which[guessed], told, guessed)


def _timewait_start(rows: Rows, which: NDArray[np.intp], source: Rows, place: NDArray[np.intp]) -> NDArray[np.uint64]:
    """When the present states of timewait sockets began, ``which`` of ``rows``, by ``place`` of ``source`` and timers.

    An ENDED_DIGEST knows it: no timewait socket is older than the CLOSE that made it. Where an earlier dump has shown
    the socket in the same state, what that dump said counts, unless the timer was started anew.
    """
    timed, known = rows["state_ns"][which], source["state_ns"][place]
    halves = rows["state"][which] == State.FIN_WAIT2
    if "half_ns" in (source.dtype.names or ()):
        half_ns = source["half_ns"][place]
        return np.where(halves, np.where(half_ns != 0, half_ns, known), np.maximum(timed, known))
    near = np.abs(timed.astype(np.int64) - known.astype(np.int64)) < _TIMER_SLACK_NS
    same = (source["state"][place] == rows["state"][which]) & (known != 0) & (halves | near)
    return np.where(same, known, timed)


def drop_duplicate_ids(rows: Rows) -> None:
    """Of rows with one ``id`` only the first keeps it."""
    used = np.flatnonzero(rows["id"] != 0)
    _, first = np.unique(rows["id"][used], return_index=True)
    repeated = np.ones(len(used), np.bool_)
    repeated[first] = False
    rows["id"][used[repeated]] = 0
