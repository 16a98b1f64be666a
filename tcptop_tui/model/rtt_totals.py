"""The sum of all round-trip times, kept up from table to table: of most connections nothing has changed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import ROW, Rows
from tcptop_tui.row_copy import chunks
from tcptop_tui.stream.histograms import NO_HISTOGRAMS, Histogram, HistogramStore, empty_histogram

_BLOCK = 16_384
"""Rows whose histograms are copied at once: what fits into a cache is summed up twice as fast."""


def sum_hists(rows: Rows, places: NDArray[np.intp], hists: HistogramStore) -> Histogram:
    """Samples by slot of the rows in these places: dtype ENDED has its own histograms, dtype ROW those of a table."""
    if rows.dtype == ROW:
        return hists.sum(rows["hist"][places])
    total = empty_histogram()
    for part in chunks(places, _BLOCK):
        total += rows["rtt_hist"][part].sum(axis=0, dtype=np.uint64)
    return total


def _sample_marks(rows: Rows, hists: HistogramStore) -> NDArray[np.uint64]:
    """A number of each row that is another one when its samples are; 0 where there are none.

    Their sum, but a sample of 0 µs adds nothing to it.
    """
    shortest = hists.column(0, rows["hist"]) if rows.dtype == ROW else rows["rtt_hist"][:, 0]
    marks: NDArray[np.uint64] = rows["rtt_sum_us"] + (shortest.astype(np.uint64) << np.uint64(40))
    return marks


@dataclass(frozen=True, slots=True, eq=False)
class RttTotals:
    """All samples of some connections."""

    hist: Histogram = field(default_factory=empty_histogram)
    sum_us: int = 0
    connections: int = 0
    """That have any."""

    @classmethod
    def from_rows(cls, rows: Rows, places: NDArray[np.intp], hists: HistogramStore = NO_HISTOGRAMS) -> RttTotals:
        """Of the rows in these places, dtype ENDED, or ROW with the histograms of their table."""
        sampled = int(np.count_nonzero(_sample_marks(rows, hists)[places]))
        return cls(sum_hists(rows, places, hists), int(rows["rtt_sum_us"][places].sum()), sampled)

    def __add__(self, other: RttTotals) -> RttTotals:
        return RttTotals(self.hist + other.hist, self.sum_us + other.sum_us, self.connections + other.connections)


@dataclass(frozen=True, slots=True, eq=False)
class RttGrowth:
    """What the samples of one table are more than those of the table before."""

    earlier_rows: Rows
    """The table before, dtype ROW."""
    earlier_hists: HistogramStore
    diff: TableDiff
    grown: NDArray[np.intp]
    """Rows that had been there, and have other samples now."""
    added: NDArray[np.intp]
    """Rows that had not been there, and have samples."""
    lost: NDArray[np.intp]
    """Rows of the table before: those that are missing, and those that have forgotten their samples (TIME_WAIT)."""
    hist: Histogram
    """Samples by slot that those in ``more`` have got."""


class LiveRttTotals:
    """The samples of all connections that there are."""

    def __init__(self) -> None:
        self._rows: Rows = np.zeros(0, ROW)
        self._hists = NO_HISTOGRAMS
        self._marks = np.zeros(0, np.uint64)
        self.total = RttTotals()

    def update(self, rows: Rows, hists: HistogramStore, step: TableDiff) -> RttGrowth:
        """Take a table, dtype ROW; ``step`` leads to it from the one before."""
        before, hists_before, marks_before = self._rows, self._hists, self._marks
        marks = _sample_marks(rows, hists)
        changed = np.flatnonzero(marks != step.carry_over(marks_before, 0))
        there, sampled = step.existed[changed], marks[changed] != 0
        more, fresh = changed[there & sampled], changed[~there]
        left = np.concatenate([step.removed, step.earlier_row[changed[there & ~sampled]]])
        gone = left[marks_before[left] != 0]
        fresh_hist, gone_hist = sum_hists(rows, fresh, hists), sum_hists(before, gone, hists_before)
        if len(more) > len(rows) // 2:  # then all is less than both
            hist = sum_hists(rows, np.flatnonzero(marks), hists)
            grown = hist + gone_hist - fresh_hist - self.total.hist
        else:
            grown = sum_hists(rows, more, hists) - sum_hists(before, step.earlier_row[more], hists_before)
            hist = self.total.hist + grown + fresh_hist - gone_hist
        self.total = RttTotals(hist, int(rows["rtt_sum_us"].sum()), int(np.count_nonzero(marks)))
        self._rows, self._hists, self._marks = rows, hists, marks
        return RttGrowth(before, hists_before, step, more, fresh, left, grown)
