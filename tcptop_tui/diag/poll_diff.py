"""Two dumps, one after the other: what is the same connection, and what happened to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import resolve_syn
from tcptop_tui.records import (
    CONN,
    ENDED,
    ROW,
    RTT_SLOTS,
    TRANSITION,
    UNKNOWN_NS,
    UNKNOWN_UID,
    Flag,
    HolderLookup,
    Mask,
    Rows,
    State,
    SynSent,
)
from tcptop_tui.row_copy import concat
from tcptop_tui.stream.histograms import NO_HISTOGRAMS, HistogramStore
from tcptop_tui.stream.identity import cookie_key, tuple_hash

_CARRIED = ("id", "born_ns", "hist", "rtt_sum_us")
_GAUGES = ("tx_bytes", "rx_bytes", "srtt_us", "retrans")
_ENDED_FIELDS = [name for name in CONN.names or () if name in (ROW.names or ())]
_SHARED_FIELDS = ("skaddr", "born_ns", "tx_bytes", "rx_bytes", "laddr", "raddr", "netns", "dev", "pid", "start_ticks",
                  "uid", "srtt_us", "retrans", "lport", "rport", "comm", "cgroup")  # fmt: skip


@dataclass(frozen=True, slots=True)
class PollChanges:
    """What one poll brought."""

    rows: Rows
    """dtype ROW, sorted by ``id``."""
    hists: HistogramStore
    """Of ``rows``."""
    transitions: Rows
    ended: Rows


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A dump's rows beside the same connections' rows of the dump before."""

    rows: Rows
    old: Rows
    """Shape of ``rows``; zeros where there was none."""
    matched: Mask
    missing: Rows
    """Rows of the dump before that are in no pair."""


class PollDiff:
    """Compares each dump with the one before.

    Args:
        rtt_unit_us: what the slots of the RTT histograms count in.
    """

    def __init__(self, rtt_unit_us: int = 1) -> None:
        self._earlier: Rows | None = None
        self._before_ns = 0
        self._next_id = 1
        self._sampler = _Sampler(rtt_unit_us)

    def reset(self) -> None:
        """Forget what was there: the next poll is the first one; numbers go on."""
        self._earlier, self._before_ns = None, 0
        self._sampler.start_anew()

    def update(self, rows: Rows, now_ns: int) -> PollChanges:
        """Give ``rows`` (dtype ROW, without ids; changed in place) their identity and say what changed.

        At the first dump nothing has changed: when those connections began is unknown.
        """
        first = self._earlier is None
        pairs = _pair(rows, np.zeros(0, ROW) if self._earlier is None else self._earlier)
        _inherit(pairs, self._before_ns, now_ns)
        fresh = np.flatnonzero(~pairs.matched)
        rows["id"][fresh] = np.arange(self._next_id, self._next_id + len(fresh))
        self._next_id += len(fresh)
        transitions, sessions = np.zeros(0, TRANSITION), np.zeros(0, ENDED)
        if not first:
            transitions = concat(
                TRANSITION, _new_transitions(pairs, now_ns), _closing_transitions(pairs.missing, now_ns)
            )
            sessions = _ended_connections(pairs.missing, self._sampler.hists, now_ns)
        self._sampler.sample(pairs)
        self._earlier, self._before_ns = rows[np.argsort(rows["id"], kind="stable")], now_ns
        return PollChanges(self._earlier, self._sampler.hists, transitions, sessions)


def _pair(rows: Rows, before: Rows) -> _Pairs:
    """Find the same connection by cookie, else by addresses for what turned TIME_WAIT.

    A TIME_WAIT socket has another cookie than the socket that it replaces; FIN_WAIT2 may be waited
    for in one too. A request and the connection that it becomes share theirs.
    """
    place, known = _find(_key(before), _key(rows))
    _drop_duplicates(place, known)
    left = np.ones(len(before), np.bool_)
    left[place[known]] = False
    candidates = np.flatnonzero(left & (before["state"] != State.LISTEN))
    waiting = np.flatnonzero(~known & np.isin(rows["state"], [State.TIME_WAIT, State.FIN_WAIT2]))
    again, found = _find(tuple_hash(before[candidates]), tuple_hash(rows[waiting]))
    _drop_duplicates(again, found)
    place[waiting[found]] = candidates[again[found]]
    known[waiting[found]] = True
    old = np.zeros(len(rows), ROW)
    old[known] = before[place[known]]
    gone = np.ones(len(before), np.bool_)
    gone[place[known]] = False
    return _Pairs(rows, old, known, before[gone])


def _key(rows: Rows) -> NDArray[np.uint64]:
    """The kernel's own number of a socket, or one of its addresses where it gave none."""
    key = cookie_key(rows)
    key[key == 0] = tuple_hash(rows[key == 0])
    return key


def _find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.intp], Mask]:
    """Index into ``keys`` for each of ``wanted``, and which were found."""
    if not len(keys):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    return order[place], keys[order][place] == wanted


def _drop_duplicates(place: NDArray[np.intp], found: Mask) -> None:
    """Of several rows with one place only the first keeps it: an ``id`` is nobody else's."""
    chosen = np.flatnonzero(found)
    _, first = np.unique(place[chosen], return_index=True)
    found[:] = False
    found[chosen[first]] = True


def _inherit(pairs: _Pairs, before_ns: int, now_ns: int) -> None:
    """Keep what the kernel never knew, or does not know any more, between the dumps of these two times.

    Once its process has closed it a socket has no owner, and TIME_WAIT has no counters either.
    """
    rows, old, known = pairs.rows, pairs.old, pairs.matched
    _copy(rows, old, known, _CARRIED)
    # what is in another state now was not in it then, whatever its timer was set to
    rows["state_ns"] = np.where(rows["state_ns"] != 0, np.clip(rows["state_ns"], before_ns, now_ns), 0)
    _copy(rows, old, known & (rows["state"] == old["state"]), ("state_ns",))
    # what a process has closed was its own; of what is still open the latest look says whose it is. That look comes
    # after the dump: who is not found for the first time may have closed it in between
    closed = (rows["holder_lookup"] != HolderLookup.DONE) | (old["holders"] != 0)
    _copy(rows, old, known & (rows["pid"] == 0) & closed, ("pid", "start_ticks", "comm"))
    _copy(rows, old, known & (rows["uid"] == UNKNOWN_UID), ("uid",))
    _copy(rows, old, known & (rows["cgroup"] == 0), ("cgroup",))
    uncounted = known & ((rows["flags"] & Flag.GAUGES) == 0)
    _copy(rows, old, uncounted, _GAUGES)
    rows["flags"][uncounted] |= old["flags"][uncounted] & Flag.GAUGES
    resolve_syn(rows, np.where(known, old["syn_sent"], SynSent.UNKNOWN))
    _copy(rows, old, known & (rows["tx_bytes"] < old["tx_bytes"]), ("tx_bytes",))  # see rows._fill_sent


def _copy(rows: Rows, old: Rows, which: Mask, names: tuple[str, ...]) -> None:
    for name in names:
        rows[name][which] = old[name][which]


def _new_transitions(pairs: _Pairs, now_ns: int) -> Rows:
    """Transitions of the rows that are new or in another state, which begins now.

    TIME_WAIT alone knows its own start. What is met in it first lived between two polls.
    """
    rows, old = pairs.rows, pairs.old
    opened = ~pairs.matched
    moved = opened | (rows["state"] != old["state"])
    rows["state_ns"][moved & (rows["state_ns"] == 0)] = now_ns
    rows["born_ns"][opened] = rows["state_ns"][opened]
    oldstate = np.where(opened, State.CLOSE, old["state"])
    return _transitions(rows[moved], oldstate[moved], rows["state"][moved], old["state_ns"][moved], now_ns)


def _closing_transitions(gone: Rows, now_ns: int) -> Rows:
    return _transitions(gone, gone["state"], np.full(len(gone), State.CLOSE, "u1"), gone["state_ns"], now_ns)


def _ended_connections(gone: Rows, hists: HistogramStore, now_ns: int) -> Rows:
    sessions = np.zeros(len(gone), ENDED)
    for name in _ENDED_FIELDS:
        sessions[name] = gone[name]
    sessions["rtt_hist"] = hists.histograms(gone["hist"])
    sessions["end_ns"] = now_ns
    return sessions


def _transitions(
    rows: Rows, old: NDArray[np.uint8], new: NDArray[np.uint8], since_ns: NDArray[np.uint64], now_ns: int
) -> Rows:
    """Of dtype TRANSITION; ``since_ns``: start of the old state, 0 where it was not seen."""
    made = np.zeros(len(rows), TRANSITION)
    for name in _SHARED_FIELDS:
        made[name] = rows[name]
    made["ts_ns"] = now_ns
    made["time_in_state_ns"] = np.where(since_ns != 0, now_ns - np.minimum(since_ns, now_ns), UNKNOWN_NS)
    made["oldstate"], made["newstate"] = old, new
    made["flags"] = (rows["flags"] & Flag.GAUGES) | Flag.POLLED
    return made


class _Sampler:
    """One sample a poll for each connection that moved: the nearest to one a segment that there is.

    An acknowledgement moves no bytes, but it is what the smoothed time is made of.

    Args:
        unit_us: what the slots count in.
    """

    def __init__(self, unit_us: int) -> None:
        self._unit_us = unit_us
        self.start_anew()

    def start_anew(self) -> None:
        """Without samples."""
        self.hists = NO_HISTOGRAMS
        self._free: NDArray[np.uint32] = np.zeros(0, "<u4")
        self._next = 1

    def sample(self, pairs: _Pairs) -> None:
        """Give those that moved a histogram, if they have none, and a sample in it."""
        self._forget(pairs.missing)
        rows, chosen = pairs.rows, _moved_rows(pairs)
        hists = self.hists.histograms(rows["hist"][chosen])
        srtt_us = rows["srtt_us"][chosen]
        slot = np.minimum(np.log2(np.maximum(srtt_us // self._unit_us, 1)).astype(np.intp), RTT_SLOTS - 1)
        hists[np.arange(len(chosen)), slot] += 1
        rows["rtt_sum_us"][chosen] += srtt_us
        fresh = chosen[rows["hist"][chosen] == 0]
        rows["hist"][fresh] = self._allocate_numbers(len(fresh))
        self.hists = self.hists.with_histograms(rows["hist"][chosen], hists)

    def _forget(self, gone: Rows) -> None:
        left = gone["hist"][gone["hist"] != 0]
        self.hists = self.hists.with_cleared(left)
        self._free = np.concatenate([self._free, left])

    def _allocate_numbers(self, count: int) -> NDArray[np.uint32]:
        """So many numbers that nobody has: those that were given back first."""
        again, self._free = self._free[:count], self._free[count:]
        new = np.arange(self._next, self._next + count - len(again), dtype="<u4")
        self._next += len(new)
        return np.concatenate([again, new])


def _moved_rows(pairs: _Pairs) -> NDArray[np.intp]:
    """Rows of open connections that have moved since the dump before."""
    rows, old = pairs.rows, pairs.old
    moved = np.zeros(len(rows), np.bool_)
    for name in _GAUGES:
        moved |= rows[name] != old[name]
    return np.flatnonzero(moved & pairs.matched & (rows["state"] == State.ESTABLISHED) & (rows["srtt_us"] != 0))
