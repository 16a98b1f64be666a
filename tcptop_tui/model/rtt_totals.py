"""The sum of all round-trip times, kept up from table to table: of most connections nothing has changed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.row_succession import Succession
from tcptop_tui.records import ROW, Rows, parts
from tcptop_tui.stream.histograms import NO_HISTS, Hist, Hists, no_samples

_BLOCK = 16_384
"""Rows whose histograms are copied at once: what fits into a cache is summed up twice as fast."""


def hist_of(rows: Rows, places: NDArray[np.intp], hists: Hists) -> Hist:
    """Samples by slot of the rows in these places: dtype SESSION has its own histograms, dtype ROW those of a table."""
    if rows.dtype == ROW:
        return hists.sum(rows["hist"][places])
    total = no_samples()
    for part in parts(places, _BLOCK):
        total += rows["rtt_hist"][part].sum(axis=0, dtype=np.uint64)
    return total


def _marks(rows: Rows, hists: Hists) -> NDArray[np.uint64]:
    """A number of each row that is another one when its samples are; 0 where there are none.

    Their sum, but a sample of 0 µs adds nothing to it.
    """
    shortest = hists.column(0, rows["hist"]) if rows.dtype == ROW else rows["rtt_hist"][:, 0]
    marks: NDArray[np.uint64] = rows["rtt_sum_us"] + (shortest.astype(np.uint64) << np.uint64(40))
    return marks


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """All samples of some connections."""

    hist: Hist = field(default_factory=no_samples)
    sum_us: int = 0
    connections: int = 0
    """That have any."""

    @classmethod
    def of(cls, rows: Rows, places: NDArray[np.intp], hists: Hists = NO_HISTS) -> Summed:
        """Of the rows in these places, dtype SESSION, or ROW with the histograms of their table."""
        sampled = int(np.count_nonzero(_marks(rows, hists)[places]))
        return cls(hist_of(rows, places, hists), int(rows["rtt_sum_us"][places].sum()), sampled)

    def __add__(self, other: Summed) -> Summed:
        return Summed(self.hist + other.hist, self.sum_us + other.sum_us, self.connections + other.connections)


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """What the samples of one table are more than those of the table before."""

    before: Rows
    """The table before, dtype ROW."""
    hists_before: Hists
    step: Succession
    more: NDArray[np.intp]
    """Rows that had been there, and have other samples now."""
    fresh: NDArray[np.intp]
    """Rows that had not been there, and have samples."""
    left: NDArray[np.intp]
    """Rows of the table before: those that are missing, and those that have forgotten their samples (TIME_WAIT)."""
    hist: Hist
    """Samples by slot that those in ``more`` have got."""


class LiveSamples:
    """The samples of all connections that there are."""

    def __init__(self) -> None:
        self._rows: Rows = np.zeros(0, ROW)
        self._hists = NO_HISTS
        self._marks = np.zeros(0, np.uint64)
        self.total = Summed()

    def note(self, rows: Rows, hists: Hists, step: Succession) -> Growth:
        """Take a table, dtype ROW; ``step`` leads to it from the one before."""
        before, hists_before, marks_before = self._rows, self._hists, self._marks
        marks = _marks(rows, hists)
        changed = np.flatnonzero(marks != step.carried(marks_before, 0))
        there, sampled = step.there[changed], marks[changed] != 0
        more, fresh = changed[there & sampled], changed[~there]
        left = np.concatenate([step.missing, step.place[changed[there & ~sampled]]])
        gone = left[marks_before[left] != 0]
        fresh_hist, gone_hist = hist_of(rows, fresh, hists), hist_of(before, gone, hists_before)
        if len(more) > len(rows) // 2:  # then all is less than both
            hist = hist_of(rows, np.flatnonzero(marks), hists)
            grown = hist + gone_hist - fresh_hist - self.total.hist
        else:
            grown = hist_of(rows, more, hists) - hist_of(before, step.place[more], hists_before)
            hist = self.total.hist + grown + fresh_hist - gone_hist
        self.total = Summed(hist, int(rows["rtt_sum_us"].sum()), int(np.count_nonzero(marks)))
        self._rows, self._hists, self._marks = rows, hists, marks
        return Growth(before, hists_before, step, more, fresh, left, grown)
