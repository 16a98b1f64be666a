"""What happened in each of the last seconds, for all of the host: the pace behind the sparklines."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.ended_order import has_peer
from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import Flag, Mask, Rows, State
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import KeyIndex, connection_key

SECONDS = 60

Number = TypeVar("Number", np.uint32, np.bool_)


class EventKind(IntEnum):
    """What is counted."""

    TRANSITIONS = 0
    OPENED = 1
    """Connections that became ESTABLISHED; on loopback both ends are this host's."""
    FAILED = 2
    """connect() calls that came to nothing."""
    CLOSED = 3
    RETRANS = 4
    """Segments sent again."""


class _Retransmits:
    """What each connection's own counter has grown by, from one table to the next.

    The sum of all counters will not do: TIME_WAIT keeps the number of a connection whose session has
    been counted already, and a changed capture brings and takes numbers that nobody has sent.
    """

    def __init__(self) -> None:
        self._known_counts: Mask = np.zeros(0, np.bool_)
        self._counts = np.zeros(0, "<u4")
        self._now_ns = 0
        # a session may come a table late: those of the latest table first, then those of the one before
        self._seen = 2 * [(np.zeros(0, "<u8"), np.zeros(0, "<u4"))]
        self._ended_counts = 0

    def add_ended(self, rows: Rows, start_ns: int) -> None:
        """Dtype ENDED: what they sent again since a table had them; all, if they began since ``start_ns``."""
        sent = picked(rows, rows["retrans"] != 0)
        sent = picked(sent, _is_known(sent))
        if not len(sent):
            return
        lives, counts = (np.concatenate(parts) for parts in zip(*self._seen, strict=True))
        before, found = _values_by_key(lives, counts, connection_key(sent))
        more = (found | (sent["born_ns"] >= start_ns)) & (sent["retrans"] > before)
        self._ended_counts += int((sent["retrans"][more] - before[more]).sum(dtype=np.int64))

    def update(self, rows: Rows, now_ns: int, step: TableDiff) -> int:
        """Dtype ROW, sorted by ``id``; returns the growth since the table before, ended connections' too."""
        known, counts = _is_known(rows), rows["retrans"].copy()
        places = np.flatnonzero(known & (counts != 0))
        sent = picked(rows, places)
        before, was_known = step.carry_over(self._counts, 0)[places], step.carry_over(self._known_counts, False)[places]
        fresh = ~step.existed[places] & (sent["born_ns"] >= self._now_ns) & (sent["state"] != State.TIME_WAIT)
        more = (was_known | fresh) & (sent["retrans"] > before)
        grown = self._ended_counts + int((sent["retrans"][more] - before[more]).sum(dtype=np.int64))
        self._counts, self._known_counts = counts, known
        self._seen = [(connection_key(sent), sent["retrans"].copy()), self._seen[0]]
        self._now_ns, self._ended_counts = now_ns, 0
        return grown


def _is_known(rows: Rows) -> Mask:
    known: Mask = (rows["flags"] & Flag.GAUGES) != 0
    return known


def _values_by_key(
    keys: NDArray[np.uint64], values: NDArray[Number], wanted: NDArray[np.uint64]
) -> tuple[NDArray[Number], Mask]:
    """The value beside each of ``wanted``, else 0, and which are there; of equal keys the first counts."""
    if not len(keys):
        return np.zeros(len(wanted), values.dtype), np.zeros(len(wanted), np.bool_)
    place, there = KeyIndex.from_keys(keys).find(wanted)
    return np.where(there, values[place], values.dtype.type(0)), there


def _by_second(ts_ns: NDArray[np.uint64], most: int) -> Iterator[tuple[int, int]]:
    """Each second of the last ``most`` in which something happened, and how often."""
    if not len(ts_ns):
        return
    seconds = (ts_ns // np.uint64(10**9)).astype(np.int64)
    first = max(int(seconds.min()), int(seconds.max()) - most + 1)
    counts = np.bincount(np.maximum(seconds, first) - first)
    counts[0] = np.count_nonzero(seconds == first)
    for second in np.flatnonzero(counts).tolist():
        yield first + second, int(counts[second])


class PerSecondCounter:
    """Adds up by second of CLOCK_MONOTONIC; keeps ``SECONDS`` and the present one."""

    def __init__(self) -> None:
        self._slots = SECONDS + 1
        self._second = np.full(self._slots, -1, np.int64)
        self._counts = np.zeros((len(EventKind), self._slots))
        self._started_s = -1
        self._retrans = _Retransmits()

    def _add(self, beat: EventKind, ts_ns: NDArray[np.uint64], weight: int = 1) -> None:
        if self._started_s < 0:
            return  # what the rings held before the first table is not this second's pace
        for second, count in _by_second(ts_ns, self._slots):
            slot = second % self._slots
            if self._second[slot] < second:
                self._second[slot] = second
                self._counts[:, slot] = 0
            if self._second[slot] == second:
                self._counts[beat, slot] += count * weight

    def add_transitions(self, rows: Rows, failures: Rows) -> None:
        """Dtype TRANSITION, and those of them that are a connect()'s failure."""
        self._add(EventKind.TRANSITIONS, rows["ts_ns"])
        opened = (rows["newstate"] == State.ESTABLISHED) & (rows["oldstate"] != State.ESTABLISHED)
        self._add(EventKind.OPENED, rows["ts_ns"][opened])
        self._add(EventKind.FAILED, failures["ts_ns"])

    def add_ended(self, rows: Rows) -> None:
        """Dtype ENDED."""
        self._add(EventKind.CLOSED, rows["end_ns"][has_peer(rows)])
        if self._started_s >= 0:
            self._retrans.add_ended(rows, self._started_s * 10**9)

    def add_table(self, rows: Rows, now_ns: int, step: TableDiff) -> None:
        """Dtype ROW, sorted by ``id``; ``step`` leads to it from the one before."""
        grown = self._retrans.update(rows, now_ns, step)
        if self._started_s < 0:
            self._started_s = now_ns // 10**9
        elif grown:
            self._add(EventKind.RETRANS, np.array([now_ns], np.uint64), grown)

    def last_seconds(self, now_ns: int, events_ns: int) -> NDArray[np.float64]:
        """The last whole seconds before ``now_ns``, oldest first, shape (len(EventKind), SECONDS).

        NaN: before the start, or not all of it has been read: only what was before ``events_ns`` has. A moment that
        lies between the reading of events and that of the table is no reason to show nothing: the second before it
        is the last one then.
        """
        read_s = events_ns // 10**9
        last_s = read_s if now_ns - events_ns < 10**9 else now_ns // 10**9
        seconds = np.arange(last_s - SECONDS, last_s)
        slots = seconds % self._slots
        counts = np.where(self._second[slots] == seconds, self._counts[:, slots], 0.0)
        counts[:, (seconds < max(self._started_s, 0)) | (seconds >= read_s)] = np.nan
        return counts
