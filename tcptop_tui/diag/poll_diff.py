"""Compares two successive dumps of the polling backend: which rows are one connection, and what happened to it."""

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


@dataclass(frozen=True, slots=True, eq=False)
class PollChanges:
    """What has changed from one poll to the next."""

    rows: Rows
    """dtype ROW, sorted by ``id``."""
    hists: HistogramStore
    """Histograms of ``rows``."""
    transitions: Rows
    """dtype TRANSITION"""
    ended: Rows
    """dtype ENDED"""


@dataclass(slots=True, eq=False)
class _Pairs:
    """A dump's rows beside the same connections' rows of the dump before; dtype ROW."""

    rows: Rows
    """Written to."""
    earlier: Rows
    """Shape of ``rows``; zeros where there was none."""
    matched: Mask
    """Where there was one."""
    missing: Rows
    """Rows of the dump before that are in no pair."""


class PollDiff:
    """Compares each dump with the one before.

    Args:
        rtt_unit_us: what the slots of the RTT histograms count in.
    """

    def __init__(self, rtt_unit_us: int = 1) -> None:
        self._earlier: Rows | None = None
        self._earlier_ns = 0
        self._next_id = 1
        self._sampler = _Sampler(rtt_unit_us)

    def reset(self) -> None:
        """Forget the dump before, so that the next poll is the first one; no id is used again."""
        self._earlier, self._earlier_ns = None, 0
        self._sampler.start_anew()

    def update(self, rows: Rows, now_ns: int) -> PollChanges:
        """Compare a dump with the one before.

        Nothing has changed at the first dump, because it is unknown when those connections began.

        Args:
            rows: dtype ROW, without ids; ids and what the same connections had before are filled in, in place.
            now_ns: CLOCK_MONOTONIC of the dump.
        """
        is_first = self._earlier is None
        pairs = _pair(rows, np.zeros(0, ROW) if self._earlier is None else self._earlier)
        _inherit(pairs, self._earlier_ns, now_ns)
        fresh = np.flatnonzero(~pairs.matched)
        rows["id"][fresh] = np.arange(self._next_id, self._next_id + len(fresh))
        self._next_id += len(fresh)
        transitions, ended = np.zeros(0, TRANSITION), np.zeros(0, ENDED)
        if not is_first:
            transitions = concat(
                TRANSITION, _new_transitions(pairs, now_ns), _closing_transitions(pairs.missing, now_ns)
            )
            ended = _ended_connections(pairs.missing, self._sampler.hists, now_ns)
        self._sampler.sample(pairs)
        self._earlier, self._earlier_ns = rows[np.argsort(rows["id"], kind="stable")], now_ns
        return PollChanges(self._earlier, self._sampler.hists, transitions, ended)


def _pair(rows: Rows, earlier: Rows) -> _Pairs:
    """Pair rows of the same connection by cookie, else, where one has turned TIME_WAIT, by addresses and ports.

    A TIME_WAIT socket, in which FIN_WAIT2 may wait as well, has another cookie than the socket that it replaces. A
    request and the connection that it becomes have the same one.
    """
    earlier_row, matched = _find(_key(earlier), _key(rows))
    _drop_duplicates(earlier_row, matched)
    unpaired = np.ones(len(earlier), np.bool_)
    unpaired[earlier_row[matched]] = False
    candidates = np.flatnonzero(unpaired & (earlier["state"] != State.LISTEN))
    waiting = np.flatnonzero(~matched & np.isin(rows["state"], [State.TIME_WAIT, State.FIN_WAIT2]))
    candidate_row, has_candidate = _find(tuple_hash(earlier[candidates]), tuple_hash(rows[waiting]))
    _drop_duplicates(candidate_row, has_candidate)
    earlier_row[waiting[has_candidate]] = candidates[candidate_row[has_candidate]]
    matched[waiting[has_candidate]] = True
    paired = np.zeros(len(rows), ROW)
    paired[matched] = earlier[earlier_row[matched]]
    is_missing = np.ones(len(earlier), np.bool_)
    is_missing[earlier_row[matched]] = False
    return _Pairs(rows, paired, matched, earlier[is_missing])


def _key(rows: Rows) -> NDArray[np.uint64]:
    """A number for each socket from its cookie, or from its addresses and ports where it has none; shape (n,)."""
    key = cookie_key(rows)
    key[key == 0] = tuple_hash(rows[key == 0])
    return key


def _find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.intp], Mask]:
    """Index into ``keys`` for each of ``wanted``, and which of them are there."""
    if not len(keys):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
    order = np.argsort(keys, kind="stable")
    position = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    return order[position], keys[order][position] == wanted


def _drop_duplicates(earlier_row: NDArray[np.intp], matched: Mask) -> None:
    """Leave only the first of several rows that match one earlier row, in place: an id may not be there twice."""
    row_index = np.flatnonzero(matched)
    _, first = np.unique(earlier_row[row_index], return_index=True)
    matched[:] = False
    matched[row_index[first]] = True


def _inherit(pairs: _Pairs, earlier_ns: int, now_ns: int) -> None:
    """Fill in from the earlier rows what the kernel never knew, or does not know any more.

    A socket has no owner once its process has closed it, and TIME_WAIT has no counters either.
    """
    rows, earlier, matched = pairs.rows, pairs.earlier, pairs.matched
    _copy(rows, earlier, matched, _CARRIED)
    # a socket that is in another state than at the earlier dump was not in it then, whatever its timer was set to
    rows["state_ns"] = np.where(rows["state_ns"] != 0, np.clip(rows["state_ns"], earlier_ns, now_ns), 0)
    _copy(rows, earlier, matched & (rows["state"] == earlier["state"]), ("state_ns",))
    # a closed socket was its last owner's; who owns an open one the latest lookup says. That comes after the dump, so
    # an owner that is not found for the first time may have closed the socket in between
    closed = (rows["holder_lookup"] != HolderLookup.DONE) | (earlier["holders"] != 0)
    _copy(rows, earlier, matched & (rows["pid"] == 0) & closed, ("pid", "start_ticks", "comm"))
    _copy(rows, earlier, matched & (rows["uid"] == UNKNOWN_UID), ("uid",))
    _copy(rows, earlier, matched & (rows["cgroup"] == 0), ("cgroup",))
    uncounted = matched & ((rows["flags"] & Flag.GAUGES) == 0)
    _copy(rows, earlier, uncounted, _GAUGES)
    rows["flags"][uncounted] |= earlier["flags"][uncounted] & Flag.GAUGES
    resolve_syn(rows, np.where(matched, earlier["syn_sent"], SynSent.UNKNOWN))
    # a later reading may be less: decode_rows._fill_sent takes the lesser of two counts
    _copy(rows, earlier, matched & (rows["tx_bytes"] < earlier["tx_bytes"]), ("tx_bytes",))


def _copy(rows: Rows, earlier: Rows, mask: Mask, names: tuple[str, ...]) -> None:
    for name in names:
        rows[name][mask] = earlier[name][mask]


def _new_transitions(pairs: _Pairs, now_ns: int) -> Rows:
    """Transitions of rows that are new or in another state, which begins now.

    Only TIME_WAIT knows its own start. A connection that is first seen in it lived between two polls.
    """
    rows, earlier = pairs.rows, pairs.earlier
    opened = ~pairs.matched
    changed = opened | (rows["state"] != earlier["state"])
    rows["state_ns"][changed & (rows["state_ns"] == 0)] = now_ns
    rows["born_ns"][opened] = rows["state_ns"][opened]
    oldstate = np.where(opened, State.CLOSE, earlier["state"])
    return _transitions(rows[changed], oldstate[changed], rows["state"][changed], earlier["state_ns"][changed], now_ns)


def _closing_transitions(missing: Rows, now_ns: int) -> Rows:
    closed = np.full(len(missing), State.CLOSE, "u1")
    return _transitions(missing, missing["state"], closed, missing["state_ns"], now_ns)


def _ended_connections(missing: Rows, hists: HistogramStore, now_ns: int) -> Rows:
    ended = np.zeros(len(missing), ENDED)
    for name in _ENDED_FIELDS:
        ended[name] = missing[name]
    ended["rtt_hist"] = hists.histograms(missing["hist"])
    ended["end_ns"] = now_ns
    return ended


def _transitions(
    rows: Rows, oldstate: NDArray[np.uint8], newstate: NDArray[np.uint8], since_ns: NDArray[np.uint64], now_ns: int
) -> Rows:
    """Make rows of dtype TRANSITION; ``since_ns``: start of the old state, 0 where it was not seen."""
    transitions = np.zeros(len(rows), TRANSITION)
    for name in _SHARED_FIELDS:
        transitions[name] = rows[name]
    transitions["ts_ns"] = now_ns
    transitions["time_in_state_ns"] = np.where(since_ns != 0, now_ns - np.minimum(since_ns, now_ns), UNKNOWN_NS)
    transitions["oldstate"], transitions["newstate"] = oldstate, newstate
    transitions["flags"] = (rows["flags"] & Flag.GAUGES) | Flag.POLLED
    return transitions


class _Sampler:
    """Counts one RTT sample a poll for each connection whose gauges have changed.

    That is as near to a sample a segment as sock_diag allows. An acknowledgement moves no bytes, but changes the
    smoothed RTT.

    Args:
        unit_us: what the slots count in.
    """

    def __init__(self, unit_us: int) -> None:
        self._unit_us = unit_us
        self.start_anew()

    def start_anew(self) -> None:
        """Forget all samples."""
        self.hists = NO_HISTOGRAMS
        self._free: NDArray[np.uint32] = np.zeros(0, "<u4")
        self._next = 1

    def sample(self, pairs: _Pairs) -> None:
        """Add a sample to the histogram of each connection whose gauges have changed, in place."""
        self._forget(pairs.missing)
        rows, active = pairs.rows, _active_rows(pairs)
        hists = self.hists.histograms(rows["hist"][active])
        srtt_us = rows["srtt_us"][active]
        slot = np.minimum(np.log2(np.maximum(srtt_us // self._unit_us, 1)).astype(np.intp), RTT_SLOTS - 1)
        hists[np.arange(len(active)), slot] += 1
        rows["rtt_sum_us"][active] += srtt_us
        fresh = active[rows["hist"][active] == 0]
        rows["hist"][fresh] = self._allocate_numbers(len(fresh))
        self.hists = self.hists.with_histograms(rows["hist"][active], hists)

    def _forget(self, missing: Rows) -> None:
        numbers = missing["hist"][missing["hist"] != 0]
        self.hists = self.hists.with_cleared(numbers)
        self._free = np.concatenate([self._free, numbers])

    def _allocate_numbers(self, count: int) -> NDArray[np.uint32]:
        """So many histogram numbers that no row has; free ones first."""
        reused, self._free = self._free[:count], self._free[count:]
        new = np.arange(self._next, self._next + count - len(reused), dtype="<u4")
        self._next += len(new)
        return np.concatenate([reused, new])


def _active_rows(pairs: _Pairs) -> NDArray[np.intp]:
    """Rows of open connections whose gauges have changed since the dump before."""
    rows, earlier = pairs.rows, pairs.earlier
    changed = np.zeros(len(rows), np.bool_)
    for name in _GAUGES:
        changed |= rows[name] != earlier[name]
    return np.flatnonzero(changed & pairs.matched & (rows["state"] == State.ESTABLISHED) & (rows["srtt_us"] != 0))
