"""Counts what happens on the host in each second, for the sparklines of the header."""

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
    """Connections that became ESTABLISHED; a connection over loopback counts twice, because both ends are here."""
    FAILED = 2
    """connect() calls that failed."""
    CLOSED = 3
    """Connections that ended."""
    RETRANS = 4
    """Segments sent again."""


class _Retransmits:
    """Adds up by how much each connection's own counter has grown from one table to the next.

    The growth of the sum of all counters would be wrong: a row in TIME_WAIT keeps the number of a connection that has
    been counted already as an ended one, and a changed capture filter adds and removes counters of segments that were
    not sent in this second.
    """

    def __init__(self) -> None:
        self._is_known: Mask = np.zeros(0, np.bool_)
        self._counts = np.zeros(0, "<u4")
        self._now_ns = 0
        # connection keys and counts of the latest table and of the one before: an end may come a table late
        self._recent_counts = 2 * [(np.zeros(0, "<u8"), np.zeros(0, "<u4"))]
        self._ended_growth = 0

    def add_ended(self, ended_rows: Rows, start_ns: int) -> None:
        """Add what ended connections (dtype ENDED) have sent again since a table had them; all if born ``start_ns``."""
        resenders = picked(ended_rows, ended_rows["retrans"] != 0)
        resenders = picked(resenders, _has_gauges(resenders))
        if not len(resenders):
            return
        keys, counts = (np.concatenate(columns) for columns in zip(*self._recent_counts, strict=True))
        earlier_counts, is_found = _values_by_key(keys, counts, connection_key(resenders))
        has_grown = (is_found | (resenders["born_ns"] >= start_ns)) & (resenders["retrans"] > earlier_counts)
        growth = resenders["retrans"][has_grown] - earlier_counts[has_grown]
        self._ended_growth += int(growth.sum(dtype=np.int64))

    def update(self, rows: Rows, now_ns: int, diff: TableDiff) -> int:
        """Take a table (dtype ROW); returns the growth since the one before, that of ended connections included."""
        is_known, counts = _has_gauges(rows), rows["retrans"].copy()
        row_numbers = np.flatnonzero(is_known & (counts != 0))
        resenders = picked(rows, row_numbers)
        earlier_counts = diff.carry_over(self._counts, 0)[row_numbers]
        was_known = diff.carry_over(self._is_known, False)[row_numbers]
        is_born = ~diff.existed[row_numbers] & (resenders["born_ns"] >= self._now_ns)
        is_new = is_born & (resenders["state"] != State.TIME_WAIT)
        has_grown = (was_known | is_new) & (resenders["retrans"] > earlier_counts)
        growth = resenders["retrans"][has_grown] - earlier_counts[has_grown]
        total = self._ended_growth + int(growth.sum(dtype=np.int64))
        self._counts, self._is_known = counts, is_known
        self._recent_counts = [(connection_key(resenders), resenders["retrans"].copy()), self._recent_counts[0]]
        self._now_ns, self._ended_growth = now_ns, 0
        return total


def _has_gauges(rows: Rows) -> Mask:
    has_gauges: Mask = (rows["flags"] & Flag.GAUGES) != 0
    return has_gauges


def _values_by_key(
    keys: NDArray[np.uint64], values: NDArray[Number], sought_keys: NDArray[np.uint64]
) -> tuple[NDArray[Number], Mask]:
    """The value beside each sought key, 0 where there is none, and which were found. Of equal keys the first counts."""
    if not len(keys):
        return np.zeros(len(sought_keys), values.dtype), np.zeros(len(sought_keys), np.bool_)
    index, is_found = KeyIndex.from_keys(keys).find(sought_keys)
    return np.where(is_found, values[index], values.dtype.type(0)), is_found


def _by_second(ts_ns: NDArray[np.uint64], limit: int) -> Iterator[tuple[int, int]]:
    """Each second in which something happened, and how often; only the last ``limit`` seconds."""
    if not len(ts_ns):
        return
    seconds = (ts_ns // np.uint64(10**9)).astype(np.int64)
    first = max(int(seconds.min()), int(seconds.max()) - limit + 1)
    counts = np.bincount(np.maximum(seconds, first) - first)
    counts[0] = np.count_nonzero(seconds == first)
    for offset in np.flatnonzero(counts).tolist():
        yield first + offset, int(counts[offset])


class PerSecondCounter:
    """Counts events by second of CLOCK_MONOTONIC, for the last ``SECONDS`` and the present one."""

    def __init__(self) -> None:
        self._columns = SECONDS + 1
        """Columns of ``_counts``: a second is in the column ``second % _columns``."""
        self._second = np.full(self._columns, -1, np.int64)
        """Which second is in a column."""
        self._counts = np.zeros((len(EventKind), self._columns))
        self._started_s = -1
        self._retransmits = _Retransmits()

    def _add(self, kind: EventKind, ts_ns: NDArray[np.uint64], weight: int = 1) -> None:
        if self._started_s < 0:
            return  # what the rings had before the first table did not happen in this second
        for second, count in _by_second(ts_ns, self._columns):
            column = second % self._columns
            if self._second[column] < second:
                self._second[column] = second
                self._counts[:, column] = 0
            if self._second[column] == second:
                self._counts[kind, column] += count * weight

    def add_transitions(self, transitions: Rows, failures: Rows) -> None:
        """Count transitions (dtype TRANSITION) and those of them that are a failed connect()."""
        self._add(EventKind.TRANSITIONS, transitions["ts_ns"])
        is_opened = (transitions["newstate"] == State.ESTABLISHED) & (transitions["oldstate"] != State.ESTABLISHED)
        self._add(EventKind.OPENED, transitions["ts_ns"][is_opened])
        self._add(EventKind.FAILED, failures["ts_ns"])

    def add_ended(self, ended_rows: Rows) -> None:
        """Count ended connections (dtype ENDED)."""
        self._add(EventKind.CLOSED, ended_rows["end_ns"][has_peer(ended_rows)])
        if self._started_s >= 0:
            self._retransmits.add_ended(ended_rows, self._started_s * 10**9)

    def add_table(self, rows: Rows, now_ns: int, diff: TableDiff) -> None:
        """Count the retransmits since the table before; ``rows`` has dtype ROW, sorted by ``id``."""
        growth = self._retransmits.update(rows, now_ns, diff)
        if self._started_s < 0:
            self._started_s = now_ns // 10**9
        elif growth:
            self._add(EventKind.RETRANS, np.array([now_ns], np.uint64), growth)

    def last_seconds(self, now_ns: int, events_ns: int) -> NDArray[np.float64]:
        """Counts of the last whole seconds before ``now_ns``, oldest first, shape (len(EventKind), SECONDS).

        Seconds before the start, and those that have not been read completely, are NaN: only what happened before
        ``events_ns`` has been read. When a second ends between the reading of the events and that of the table, the
        second before it is the last one, so that there is always a last one to show.
        """
        read_s = events_ns // 10**9
        last_s = read_s if now_ns - events_ns < 10**9 else now_ns // 10**9
        seconds = np.arange(last_s - SECONDS, last_s)
        columns = seconds % self._columns
        counts = np.where(self._second[columns] == seconds, self._counts[:, columns], 0.0)
        counts[:, (seconds < max(self._started_s, 0)) | (seconds >= read_s)] = np.nan
        return counts
