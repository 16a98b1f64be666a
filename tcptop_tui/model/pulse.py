"""What happened in each of the last seconds, for all of the host: the pace behind the sparklines."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.connects import failed, outcomes, results
from tcptop_tui.model.ended import is_connection
from tcptop_tui.records import Flag, Rows, State

SECONDS = 60


class Beat(IntEnum):
    """What is counted."""

    TRANSITIONS = 0
    OPENED = 1
    """Connections that became ESTABLISHED; on loopback both ends are this host's."""
    FAILED = 2
    """connect() calls that came to nothing."""
    CLOSED = 3
    RETRANS = 4
    """Segments sent again."""


class PulseCounter:
    """Adds up by second of CLOCK_MONOTONIC; keeps ``SECONDS`` and the present one."""

    def __init__(self) -> None:
        self._slots = SECONDS + 1
        self._second = np.full(self._slots, -1, np.int64)
        self._counts = np.zeros((len(Beat), self._slots))
        self._started_s = -1
        self._retrans = -1
        self._ended_retrans = 0

    def _add(self, beat: Beat, ts_ns: NDArray[np.uint64], weight: int = 1) -> None:
        if self._started_s < 0:
            return  # what the rings held before the first table is not this second's pace
        for second, count in zip(*np.unique(ts_ns // 10**9, return_counts=True), strict=True):
            slot = int(second) % self._slots
            if self._second[slot] < int(second):
                self._second[slot] = int(second)
                self._counts[:, slot] = 0
            if self._second[slot] == int(second):
                self._counts[beat, slot] += int(count) * weight

    def note_transitions(self, rows: Rows) -> None:
        """Dtype TRANSITION."""
        self._add(Beat.TRANSITIONS, rows["ts_ns"])
        opened = (rows["newstate"] == State.ESTABLISHED) & (rows["oldstate"] != State.ESTABLISHED)
        self._add(Beat.OPENED, rows["ts_ns"][opened])
        ends = outcomes(rows)
        self._add(Beat.FAILED, ends["ts_ns"][failed(results(ends))])

    def note_sessions(self, rows: Rows) -> None:
        """Dtype SESSION."""
        self._add(Beat.CLOSED, rows["end_ns"][is_connection(rows)])
        self._ended_retrans += int(rows["retrans"][(rows["flags"] & Flag.GAUGES) != 0].sum())

    def note_table(self, rows: Rows, now_ns: int) -> None:
        """Dtype ROW. Retransmits are what the sum of all counters, ended connections' too, has grown by."""
        total = int(rows["retrans"].sum(dtype=np.int64)) + self._ended_retrans
        if self._started_s < 0:
            self._started_s, self._retrans = now_ns // 10**9, total
        if total > self._retrans:
            self._add(Beat.RETRANS, np.array([now_ns], np.uint64), total - self._retrans)
            self._retrans = total

    def pulse(self, now_ns: int) -> NDArray[np.float64]:
        """The last whole seconds before ``now_ns``, oldest first, shape (len(Beat), SECONDS); NaN: before the start."""
        seconds = np.arange(now_ns // 10**9 - SECONDS, now_ns // 10**9)
        slots = seconds % self._slots
        counts = np.where(self._second[slots] == seconds, self._counts[:, slots], 0.0)
        counts[:, seconds < max(self._started_s, 0)] = np.nan
        return counts
