"""RTT totals: the sum of all samples of some connections, kept up to date from table to table.

From one table to the next most connections get no sample. Only the histograms of the others are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import ROW, Rows
from tcptop_tui.row_copy import chunks
from tcptop_tui.stream.histograms import NO_HISTOGRAMS, Histogram, HistogramStore, empty_histogram

_BLOCK = 16_384
"""Rows whose histograms are copied at once: what fits into a CPU cache is summed up twice as fast."""


def sum_hists(rows: Rows, row_numbers: NDArray[np.intp], hists: HistogramStore) -> Histogram:
    """Sum up the histograms of some rows.

    Args:
        rows: dtype ROW, whose histograms are in ``hists``, or dtype ENDED, which has its own.
        row_numbers: which rows.
        hists: the histograms of the table.
    """
    if rows.dtype == ROW:
        return hists.sum(rows["hist"][row_numbers])
    total = empty_histogram()
    for part in chunks(row_numbers, _BLOCK):
        total += rows["rtt_hist"][part].sum(axis=0, dtype=np.uint64)
    return total


def _sample_marks(rows: Rows, hists: HistogramStore) -> NDArray[np.uint64]:
    """A number for each row that changes with its samples; 0 where there are none.

    It is the sum of the samples, with the count of the first bucket in its upper bits: a sample of 0 µs adds nothing
    to the sum.
    """
    first_bucket = hists.column(0, rows["hist"]) if rows.dtype == ROW else rows["rtt_hist"][:, 0]
    marks: NDArray[np.uint64] = rows["rtt_sum_us"] + (first_bucket.astype(np.uint64) << np.uint64(40))
    return marks


@dataclass(frozen=True, slots=True, eq=False)
class RttTotals:
    """All samples of some connections."""

    hist: Histogram = field(default_factory=empty_histogram)
    sum_us: int = 0
    connections: int = 0
    """Connections that have any sample."""

    @classmethod
    def from_rows(cls, rows: Rows, row_numbers: NDArray[np.intp], hists: HistogramStore = NO_HISTOGRAMS) -> RttTotals:
        """Sum up some rows, dtype ENDED, or dtype ROW with the histograms of their table."""
        with_samples = int(np.count_nonzero(_sample_marks(rows, hists)[row_numbers]))
        return cls(sum_hists(rows, row_numbers, hists), int(rows["rtt_sum_us"][row_numbers].sum()), with_samples)

    def __add__(self, other: RttTotals) -> RttTotals:
        return RttTotals(self.hist + other.hist, self.sum_us + other.sum_us, self.connections + other.connections)


@dataclass(frozen=True, slots=True, eq=False)
class RttGrowth:
    """What the samples of a table are more than those of the table before."""

    earlier_rows: Rows
    """The table before, dtype ROW."""
    earlier_hists: HistogramStore
    diff: TableDiff
    """The way from the table before to this one."""
    grown: NDArray[np.intp]
    """Rows that both tables have and whose samples have changed."""
    added: NDArray[np.intp]
    """Rows with samples that the table before had not."""
    lost: NDArray[np.intp]
    """Rows of the table before: those that are gone, and those that have forgotten their samples (TIME_WAIT)."""
    hist: Histogram
    """The new samples of ``grown``, by bucket."""


class LiveRttTotals:
    """The samples of all connections of the latest table."""

    def __init__(self) -> None:
        self._rows: Rows = np.zeros(0, ROW)
        self._hists = NO_HISTOGRAMS
        self._marks = np.zeros(0, np.uint64)
        self.total = RttTotals()

    def update(self, rows: Rows, hists: HistogramStore, diff: TableDiff) -> RttGrowth:
        """Take a table (dtype ROW) with its histograms; ``diff`` is the way to it from the one before."""
        earlier_rows, earlier_hists, earlier_marks = self._rows, self._hists, self._marks
        marks = _sample_marks(rows, hists)
        changed = np.flatnonzero(marks != diff.carry_over(earlier_marks, 0))
        existed, has_samples = diff.existed[changed], marks[changed] != 0
        grown, added = changed[existed & has_samples], changed[~existed]
        lost = np.concatenate([diff.removed, diff.earlier_row[changed[existed & ~has_samples]]])
        lost_with_samples = lost[earlier_marks[lost] != 0]
        added_hist = sum_hists(rows, added, hists)
        lost_hist = sum_hists(earlier_rows, lost_with_samples, earlier_hists)
        if len(grown) > len(rows) // 2:  # reading all histograms once takes less than reading those of `grown` twice
            hist = sum_hists(rows, np.flatnonzero(marks), hists)
            growth_hist = hist + lost_hist - added_hist - self.total.hist
        else:
            earlier_hist = sum_hists(earlier_rows, diff.earlier_row[grown], earlier_hists)
            growth_hist = sum_hists(rows, grown, hists) - earlier_hist
            hist = self.total.hist + growth_hist + added_hist - lost_hist
        self.total = RttTotals(hist, int(rows["rtt_sum_us"].sum()), int(np.count_nonzero(marks)))
        self._rows, self._hists, self._marks = rows, hists, marks
        return RttGrowth(earlier_rows, earlier_hists, diff, grown, added, lost, growth_hist)
