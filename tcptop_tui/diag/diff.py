"""Two dumps, one after the other: what is the same connection, and what happened to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import ROW, RTT_SLOTS, SESSION, TRANSITION, UNKNOWN_NS, Flag, Mask, Rows, State
from tcptop_tui.source.identity import tuple_hash

_CARRIED = ("id", "born_ns", "state_ns", "rtt_hist", "rtt_sum_us")
_FORGOTTEN_IN_TIME_WAIT = ("pid", "comm", "uid", "tx_bytes", "rx_bytes", "srtt_us", "retrans")
_SHARED_FIELDS = ("skaddr", "born_ns", "tx_bytes", "rx_bytes", "laddr", "raddr", "netns", "pid", "uid",
                  "srtt_us", "retrans", "lport", "rport", "comm")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Changes:
    """What one poll brought."""

    rows: Rows
    """dtype ROW, sorted by ``id``."""
    transitions: Rows
    sessions: Rows


class Differ:
    """Compares each dump with the one before."""

    def __init__(self) -> None:
        self._before: Rows | None = None
        self._next_id = 1

    def compare(self, rows: Rows, now_ns: int) -> Changes:
        """Give ``rows`` (dtype ROW, without ids) their identity and say what changed.

        At the first dump nothing has changed: when those connections began is unknown.
        """
        before = np.zeros(0, ROW) if self._before is None else self._before
        place, known = _match(rows, before)
        for name in _CARRIED:
            rows[name][known] = before[name][place[known]]
        _remember_time_wait(rows, before, place, known)
        fresh = np.flatnonzero(~known)
        rows["id"][fresh] = np.arange(self._next_id, self._next_id + len(fresh))
        self._next_id += len(fresh)
        gone = np.ones(len(before), np.bool_)
        gone[place[known]] = False
        if self._before is None:
            changes = Changes(rows, np.zeros(0, TRANSITION), np.zeros(0, SESSION))
        else:
            changes = _changes(rows, before, place, known, gone, now_ns)
        _sample_rtt(rows, before, place, known)
        self._before = changes.rows[np.argsort(changes.rows["id"], kind="stable")]
        return Changes(self._before, changes.transitions, changes.sessions)


def _match(rows: Rows, before: Rows) -> tuple[NDArray[np.intp], Mask]:
    """Row of ``before`` for each of ``rows``: by cookie, else by addresses for what turned TIME_WAIT."""
    place, known = _find(before["cookie"], rows["cookie"])
    known &= rows["cookie"] != 0
    left = np.ones(len(before), np.bool_)
    left[place[known]] = False
    candidates = np.flatnonzero(left & (before["state"] != State.LISTEN))
    again, found = _find(tuple_hash(before[candidates]), tuple_hash(rows))
    # a full socket and its TIME_WAIT have different cookies; so have a request and its child
    found &= ~known & ((rows["state"] == State.TIME_WAIT) | (rows["state"] == State.FIN_WAIT2))
    place[found] = candidates[again[found]]
    _, first = np.unique(place[found], return_index=True)
    unique = np.zeros(int(found.sum()), np.bool_)
    unique[first] = True
    found[np.flatnonzero(found)[~unique]] = False
    return place, known | found


def _find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.intp], Mask]:
    if not len(keys):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    return order[place], keys[order][place] == wanted


def _remember_time_wait(rows: Rows, before: Rows, place: NDArray[np.intp], known: Mask) -> None:
    """A TIME_WAIT socket has no process and no counters: the last ones stay with it."""
    forgetful = known & ((rows["flags"] & Flag.GAUGES) == 0) & (rows["state"] != State.LISTEN)
    for name in _FORGOTTEN_IN_TIME_WAIT:
        rows[name][forgetful] = before[name][place[forgetful]]
    rows["flags"][forgetful] |= before["flags"][place[forgetful]] & Flag.GAUGES


def _changes(rows: Rows, before: Rows, place: NDArray[np.intp], known: Mask, gone: Mask, now_ns: int) -> Changes:
    old = before["state"][place] if len(before) else np.zeros(len(rows), "u1")
    opened = ~known & (rows["state"] != State.TIME_WAIT)
    rows["born_ns"][opened] = now_ns
    moved = (known & (rows["state"] != old)) | opened
    oldstate = np.where(opened, State.CLOSE, old)[moved]
    spent = np.where(known, rows["state_ns"], 0)[moved]
    rows["state_ns"][moved & (rows["state"] != State.TIME_WAIT)] = now_ns
    changed = _transitions(rows[moved], oldstate, rows["state"][moved], spent, now_ns)
    left = before[gone]
    closed = _transitions(left, left["state"], np.full(len(left), State.CLOSE), left["state_ns"], now_ns)
    sessions = np.zeros(len(left), SESSION)
    for name in ROW.names or ():
        if name != "id":
            sessions[name] = left[name]
    sessions["end_ns"] = now_ns
    return Changes(rows, np.concatenate([changed, closed]), sessions)


def _transitions(
    rows: Rows, old: NDArray[np.uint8], new: NDArray[np.uint8], since_ns: NDArray[np.uint64], now_ns: int
) -> Rows:
    made = np.zeros(len(rows), TRANSITION)
    for name in _SHARED_FIELDS:
        made[name] = rows[name]
    made["ts_ns"] = now_ns
    made["spent_ns"] = np.where(since_ns != 0, now_ns - since_ns, UNKNOWN_NS)
    made["oldstate"], made["newstate"] = old, new
    made["flags"] = (rows["flags"] & Flag.GAUGES) | Flag.POLLED
    return made


def _sample_rtt(rows: Rows, before: Rows, place: NDArray[np.intp], known: Mask) -> None:
    """One sample a poll for each connection that moved: the nearest to one a segment that there is."""
    busy = known & (rows["state"] == State.ESTABLISHED) & (rows["srtt_us"] != 0)
    if len(before):
        old = before[place]
        busy &= (rows["rx_bytes"] != old["rx_bytes"]) | (rows["tx_bytes"] != old["tx_bytes"])
    chosen = np.flatnonzero(busy)
    srtt_us = rows["srtt_us"][chosen]
    slot = np.minimum(np.log2(np.maximum(srtt_us, 1)).astype(np.intp), RTT_SLOTS - 1)
    rows["rtt_hist"][chosen, slot] += 1
    rows["rtt_sum_us"][chosen] += srtt_us
