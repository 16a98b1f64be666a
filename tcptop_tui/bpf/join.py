"""One table out of two truths: the kernel map that follows events, and sock_diag's dump.

The map knows every connection that moved since the start, with times, owner and histogram.
sock_diag knows every socket that exists, in each network namespace, with none of these. Each
reading of the map is joined with the latest dump by (netns, addresses, ports): sockets from before
our time and TIME_WAIT come from the dump alone; gauges of a connection that is quiet come from
whichever saw more. What the two still disagree on a whole dump later is mended and counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.bpf.portless import adopt_ports
from tcptop_tui.bpf.steps import STEPS
from tcptop_tui.diag.netlink import Dump
from tcptop_tui.records import CONN, ROW, End, Flag, Mask, Rows, State, joined
from tcptop_tui.source.identity import Index, cookie_key, tuple_hash

_MOST_ENDED = 65_536
_CONN_FIELDS = list(CONN.names or ())
_KEPT_IN_TIME_WAIT = ["pid", "uid", "comm", "born_ns", "tx_bytes", "rx_bytes", "srtt_us", "retrans", "cgroup", "mntns"]


def _is_full_socket(rows: Rows) -> Mask:
    """Sockets that the tracer should know: not TIME_WAIT and not a half-open request."""
    known: Mask = ((rows["flags"] & Flag.GAUGES) != 0) | (rows["state"] == State.LISTEN)
    known &= rows["state"] != State.SYN_RECV
    return known


class Joiner:
    """Keeps identities and the latest dump between readings; used from the worker thread only."""

    def __init__(self) -> None:
        self.missed = 0
        self.mended = 0
        self.escaped = 0
        """Transitions, at least, that the kernel programs were not run for, as far as a comparison or an end shows."""
        self._netns: frozenset[int] = frozenset()
        self._next_id = 1
        self._last = np.zeros(0, ROW)
        self._dump = np.zeros(0, ROW)
        self._dump_hash = np.zeros(0, "<u8")
        self._dump_ns = 0
        self._alone: Mask = np.zeros(0, np.bool_)
        self._suspect: Mask = np.zeros(0, np.bool_)
        self._full: Mask = np.zeros(0, np.bool_)
        self._doubted = np.zeros(0, "<u8")
        self._closed: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        self._ended: list[Rows] = []

    @property
    def rows(self) -> Rows:
        """The latest table, dtype ROW, sorted by ``id``."""
        return self._last

    def note_transitions(self, rows: Rows) -> None:
        """Remember which connections closed after the dump, so that it does not bring them back."""
        closed = rows[(rows["newstate"] == State.CLOSE) & (rows["ts_ns"] > self._dump_ns)]
        if len(closed):
            self._closed.append((closed["ts_ns"].copy(), tuple_hash(closed)))

    def note_sessions(self, rows: Rows) -> None:
        """Remember who owned what has just ended: TIME_WAIT sockets themselves do not know."""
        ended = np.zeros(len(rows), ROW)
        for name in _CONN_FIELDS:
            ended[name] = rows[name]
        # a reset leaves no TIME_WAIT; and what comes in between two dumps is not bounded by anything else
        self._ended.append(ended[(ended["ends"] & (End.RST_SENT | End.RST_RECEIVED)) == 0][-_MOST_ENDED:])
        while sum(map(len, self._ended)) > _MOST_ENDED:
            self._ended.pop(0)
        self.escaped += self._not_seen_to_begin(ended, rows["end_ns"])

    def _not_seen_to_begin(self, ended: Rows, end_ns: NDArray[np.uint64]) -> int:
        """Transitions of connections that came and went between two dumps, but were met late.

        Each dump gives the sockets that it finds a cookie: who has none at its end was born after the last one.
        """
        late = (ended["born_ns"] == 0) & (ended["cookie"] == 0) & (end_ns > self._dump_ns)
        late &= _among(ended, self._netns)
        return int(np.where(ended["established_ns"][late] != 0, 1, 2).sum())

    def start_anew(self) -> None:
        """The capture changed: what it lets in again was not missed, what it leaves out is not left over."""
        self._netns = frozenset()  # the next dump is each namespace's first one
        self._doubted = np.zeros(0, "<u8")

    @property
    def doubts(self) -> bool:
        """The latest dump and the map did not agree: another dump shall say who is right."""
        return bool(len(self._doubted) or self._suspect.any())

    def table(self, keys: NDArray[np.uint64], conns: Rows) -> Rows:
        """Join a reading of the map with the latest dump.

        Args:
            keys: socket addresses, shape (n,).
            conns: their entries, dtype CONN, shape (n,).

        Returns:
            dtype ROW, sorted by ``id``.
        """
        # where the guard was skipped a closed socket keeps its entry until it is destroyed
        present = conns["state"] != State.CLOSE
        keys, conns = keys[present], conns[present]
        mapped = np.zeros(len(keys), ROW)
        for name in _CONN_FIELDS:
            mapped[name] = conns[name]
        mapped["skaddr"] = keys
        adopt_ports(mapped, self._dump)
        mapped_hash = tuple_hash(mapped)
        self._fill_from_dump(mapped, mapped_hash)
        self._name_mapped(mapped, mapped_hash)
        alone = self._dump[self._alone & self._still_there(mapped_hash)]
        rows = joined(ROW, mapped, alone)
        self._last = rows[np.argsort(rows["id"], kind="stable")]
        return self._last

    def _still_there(self, mapped_hash: NDArray[np.uint64]) -> Mask:
        there: Mask = ~np.isin(self._dump_hash, mapped_hash)
        if self._closed:
            # a TIME_WAIT socket is what is left after the CLOSE
            there &= ~(self._full & np.isin(self._dump_hash, np.concatenate([hashes for _, hashes in self._closed])))
        listens: Mask = self._dump["state"] == State.LISTEN  # several may share an address
        return there | (listens & self._alone)

    def _fill_from_dump(self, mapped: Rows, mapped_hash: NDArray[np.uint64]) -> None:
        """Take owner and gauges from the dump where the map has not seen them or less of them."""
        place, found = Index.of(self._dump_hash).find(mapped_hash)
        found &= mapped["born_ns"] < self._dump_ns  # a later connection may reuse the ports
        if not found.any():
            return
        other = self._dump[place[found]]
        mine = mapped[found]
        unowned = mine["pid"] == 0
        for name in ("pid", "comm", "mntns"):
            mine[name] = np.where(unowned, other[name], mine[name])
        mine["cgroup"] = np.where(mine["cgroup"] == 0, other["cgroup"], mine["cgroup"])
        gauges = (other["flags"] & Flag.GAUGES) != 0
        for name in ("tx_bytes", "rx_bytes", "retrans"):
            mine[name] = np.where(gauges, np.maximum(mine[name], other[name]), mine[name])
        mine["srtt_us"] = np.where(mine["srtt_us"] == 0, other["srtt_us"], mine["srtt_us"])
        mine["flags"] |= other["flags"] & Flag.GAUGES
        mine["accept_queue"], mine["backlog"] = other["accept_queue"], other["backlog"]
        mapped[found] = mine

    def _name_mapped(self, mapped: Rows, mapped_hash: NDArray[np.uint64]) -> None:
        """Give each row the ``id`` that it had: by socket and birth, else by addresses and ports."""
        place, same = Index.of(_life(self._last)).find(_life(mapped))
        mapped["id"][same] = self._last["id"][place[same]]
        alone = np.flatnonzero(self._alone)
        place, taken = Index.of(self._dump_hash[alone]).find(mapped_hash)
        taken &= ~same & (mapped["born_ns"] == 0)
        mapped["id"][taken] = self._dump["id"][alone[place[taken]]]
        self._number(mapped)

    def _number(self, rows: Rows) -> None:
        fresh = np.flatnonzero(rows["id"] == 0)
        rows["id"][fresh] = np.arange(self._next_id, self._next_id + len(fresh), dtype=np.uint64)
        self._next_id += len(fresh)

    def take_dump(
        self, dump: Dump, keys: NDArray[np.uint64], conns: Rows, expected: Mask | None = None
    ) -> NDArray[np.uint64]:
        """Make ``dump`` the latest one and compare it with a reading of the map made after it.

        Of the dump only rows that are ``expected`` in the map can be missed there; None: all.

        Returns:
            Keys of map entries that are wrong for the second time: the caller deletes them.
        """
        rows = dump.rows
        hashes = tuple_hash(rows)
        map_hash = tuple_hash(conns)
        before, before_alone, before_suspect = self._dump, self._alone, self._suspect
        full = _is_full_socket(rows)
        self._inherit(rows, full, hashes, before, before_alone)
        self._number(rows)
        unmapped = ~np.isin(hashes, map_hash)
        # of several listeners on one address some may be in the map: cookies tell which are not
        old_listener = (rows["state"] == State.LISTEN) & np.isin(cookie_key(rows), cookie_key(before[before_alone]))
        self._alone = unmapped | old_listener
        judged = full & _among(rows, dump.netns & self._netns)
        if expected is not None:
            judged &= expected
        self._judge(rows, judged, before, before_alone, before_suspect)
        self._netns = dump.netns
        self._dump, self._dump_hash, self._dump_ns, self._full = rows, hashes, dump.now_ns, full
        self._closed = [(ts_ns, closed) for ts_ns, closed in self._closed if ts_ns[-1] > dump.now_ns]
        # what ended while the dump was read turns TIME_WAIT only in the next one
        self._ended = [ended for ended in self._ended if len(ended) and ended["state_ns"].max() > dump.now_ns]
        return self._wrong_entries(keys, conns, map_hash, _among(conns, dump.netns))

    def _inherit(self, rows: Rows, full: Mask, hashes: NDArray[np.uint64], before: Rows, before_alone: Mask) -> None:
        """Carry ids over by cookie, and what TIME_WAIT forgot over by addresses and ports."""
        old = before[before_alone]
        place, same = Index.of(cookie_key(old)).find(cookie_key(rows))
        same &= rows["cookie"] != 0
        rows["id"][same] = old["id"][place[same]]
        unowned = same & (rows["pid"] == 0)
        for name in ("pid", "comm", "mntns"):
            rows[name][unowned] = old[name][place[unowned]]
        _keep(rows, same & ~full, old, place)
        live = self._last[self._last["state"] != State.LISTEN]
        known = joined(ROW, *reversed(self._ended), live)  # the latest end counts
        place, found = Index.of(tuple_hash(known)).find(hashes)
        # closed by its process before the dump, gone from the map after it: only its end tells whose it was
        orphaned = found & full & (rows["pid"] == 0)
        for name in ("pid", "comm", "mntns"):
            rows[name][orphaned] = known[name][place[orphaned]]
        found &= ~same & ~full & (rows["state"] != State.SYN_RECV)
        _keep(rows, found, known, place)
        free = found & (rows["id"] == 0)
        rows["id"][free] = known["id"][place[free]]
        _drop_repeated_ids(rows)

    def _judge(self, rows: Rows, judged: Mask, before: Rows, before_alone: Mask, before_suspect: Mask) -> None:
        """A full socket that the map does not know is doubtful once and missed the second time.

        Not at a namespace's first dump: what is in it may be from before our time.
        """
        expected = self._alone & judged
        keys = cookie_key(rows)
        seen_before = np.isin(keys, cookie_key(before[before_alone]))
        doubted = np.isin(keys, cookie_key(before[before_suspect]))
        confirmed = int((expected & doubted).sum())
        self.missed += confirmed
        self.mended += confirmed
        self.escaped += int(STEPS[rows["state"][expected & doubted]].sum())
        self._suspect = expected & ~seen_before

    def _wrong_entries(
        self, keys: NDArray[np.uint64], conns: Rows, map_hash: NDArray[np.uint64], dumped: Mask
    ) -> NDArray[np.uint64]:
        """Entries that sock_diag contradicts, now and a whole dump ago, unchanged in between."""
        place, found = Index.of(self._dump_hash).find(map_hash)
        agrees = found & (self._dump["state"][place] == conns["state"]) if len(self._dump) else found
        doubtful = ~agrees & dumped & (conns["lport"] != 0)
        doubtful &= (conns["state_ns"] < self._dump_ns) & (conns["state"] != State.CLOSE)  # see table()
        marks = keys ^ conns["state_ns"]
        confirmed = doubtful & np.isin(marks, self._doubted)
        self._doubted = marks[doubtful & ~confirmed]
        self.mended += int(confirmed.sum())
        if len(self._dump):  # a connection that is not there has come to its end, which is no step in STEPS
            states = np.where(found, self._dump["state"][place], State.CLOSE)
            steps = STEPS[states[confirmed]] - STEPS[conns["state"][confirmed]]
            self.escaped += int(np.maximum(steps, 1).sum())
        wrong: NDArray[np.uint64] = keys[confirmed].copy()
        return wrong


def _among(rows: Rows, netns: frozenset[int]) -> Mask:
    """Which of ``rows`` are in one of these namespaces."""
    return np.isin(rows["netns"], np.array(sorted(netns), "<u4"))


def _keep(rows: Rows, which: Mask, source: Rows, place: NDArray[np.intp]) -> None:
    """Give ``which`` of ``rows`` what row ``place`` of ``source`` still knew of the connection."""
    for name in _KEPT_IN_TIME_WAIT:
        rows[name][which] = source[name][place[which]]
    rows["flags"][which] |= source["flags"][place[which]] & Flag.GAUGES


def _drop_repeated_ids(rows: Rows) -> None:
    """Of rows with one ``id`` only the first keeps it."""
    used = np.flatnonzero(rows["id"] != 0)
    _, first = np.unique(rows["id"][used], return_index=True)
    repeated = np.ones(len(used), np.bool_)
    repeated[first] = False
    rows["id"][used[repeated]] = 0


def _life(rows: Rows) -> NDArray[np.uint64]:
    """One number for a socket address and its birth: addresses are reused, lives are not."""
    life: NDArray[np.uint64] = rows["skaddr"] ^ (rows["born_ns"] * np.uint64(0x9E3779B97F4A7C15))
    return life
