"""Makes the heat map: what each connection's histogram has more than at the beginning of the step.

Histograms as they were at the beginning are stored only of connections that have got samples since, and of those that
are gone: 100,000 histograms have 11 MB and take 50 ms to copy.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.heat_map import HEAT, MAX_STEPS, STEP_S, HeatMap, connection_fields
from tcptop_tui.model.record_array import RecordArray
from tcptop_tui.model.rtt_totals import RttGrowth, sum_hists
from tcptop_tui.records import RTT_SLOTS, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.histograms import Histogram, HistogramStore, empty_histogram
from tcptop_tui.stream.identity import KeyIndex, connection_key

_ENDED = np.dtype([("connection_key", "<u8"), ("born_ns", "<u8"), ("rtt_hist", "<u4", (RTT_SLOTS,))])
"""What is needed of an ended connection: up to the next table there may be tens of thousands."""

_MAX_BUSY_CONNECTIONS = 20_000
"""When more connections than these get samples, a step is only summed up, so that a filter cannot choose from it."""

_MAX_PARTS = 16
"""So many arrays of ended connections' samples are stored before they are joined."""


def _sum_buckets(samples: Rows) -> Histogram:
    return np.bincount(samples["bucket"], samples["count"], RTT_SLOTS).astype(np.uint64)


class _HistogramsByKey:
    """Histograms that are found by a 64-bit key."""

    def __init__(self) -> None:
        self.keys, self.hists = np.zeros(0, np.uint64), np.zeros((0, RTT_SLOTS), "<u4")
        self._index: KeyIndex | None = None

    def add(self, keys: NDArray[np.uint64], hists: NDArray[np.uint32]) -> None:
        """Add histograms, shape (n, RTT_SLOTS). Of equal keys the one added last counts."""
        if len(keys):
            self.keys, self.hists = np.concatenate([keys, self.keys]), np.concatenate([hists, self.hists])
            self._index = None

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], Mask]:
        """The histogram for each key, empty where there is none, and which keys have one."""
        self._index = self._index or KeyIndex.from_keys(self.keys)
        hists = np.zeros((len(keys), RTT_SLOTS), "<u4")
        index, is_found = self._index.find(keys)
        hists[is_found] = self.hists[index[is_found]]
        return hists, is_found


@dataclass(slots=True)
class _Step:
    """The step that is not over yet: what has come since the table of ``begin_ns``."""

    begin_ns: int
    initial_hists: _HistogramsByKey = field(default_factory=_HistogramsByKey)
    """By id the histograms at the beginning, of connections that have got samples since."""
    undated_ids: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Ids of connections that appeared with samples of which nobody knows when they were taken."""
    ended_parts: list[Rows] = field(default_factory=list)
    """Samples of ended connections, dtype HEAT, oldest first."""
    ended_sum: Histogram = field(default_factory=empty_histogram)
    """All samples of ended connections, also those that are not in ``ended_parts`` any more."""
    live_samples: Rows = field(default_factory=lambda: np.zeros(0, HEAT))
    """Samples of open connections, dtype HEAT."""
    live_sum: Histogram = field(default_factory=empty_histogram)
    unfilterable_sum: Histogram | None = None
    """Samples of open connections where these are too many to be stored by connection; else None."""

    def add_ended(self, samples: Rows, limit: int) -> None:
        """Add samples of ended connections (dtype HEAT); about the latest ``limit`` are stored, all are summed up."""
        if not len(samples):
            return
        self.ended_sum = self.ended_sum + _sum_buckets(samples)
        self.ended_parts.append(samples)
        while sum(map(len, self.ended_parts[1:])) >= limit:
            self.ended_parts.pop(0)
        if len(self.ended_parts) > _MAX_PARTS:
            self.ended_parts = [concat(HEAT, *self.ended_parts)]

    @property
    def column(self) -> Histogram:
        """All samples of the step, by bucket."""
        live_sum = self.live_sum if self.unfilterable_sum is None else self.live_sum + self.unfilterable_sum
        return live_sum + self.ended_sum

    @property
    def sample_parts(self) -> list[Rows]:
        """What a filter can choose from, dtype HEAT."""
        return [self.live_samples, *self.ended_parts]


class HeatMapBuilder:
    """Takes tables and ended connections, and has a ``HeatMap`` after each table.

    Args:
        limit: rows of dtype HEAT that are stored at most for filters to choose from.
    """

    def __init__(self, limit: int) -> None:
        self._samples, self._limit = RecordArray(HEAT, limit), limit
        self._columns: deque[Histogram] = deque(maxlen=MAX_STEPS - 1)
        self._is_unread: deque[bool] = deque(maxlen=MAX_STEPS - 1)
        self._step_number = -1
        self.heat_map = HeatMap()
        """The steps up to the latest table."""
        self._first_ns = self._latest_ns = 0
        # by connection key, of rows that have left the table in this step, and in the one before: an end may come late
        self._removed_hists = [_HistogramsByKey(), _HistogramsByKey()]
        self._new_ends: list[Rows] = []
        self._unmatched_ends = np.zeros(0, _ENDED)
        self._step = _Step(0)

    def add_ended(self, ended_rows: Rows) -> None:
        """Add ended connections (dtype ENDED): the samples that no table has shown. The next table counts them."""
        has_samples = np.flatnonzero(ended_rows["rtt_sum_us"] != 0)
        if self._step_number < 0 or not len(has_samples):
            return
        ends = np.empty(len(has_samples), _ENDED)
        ends["connection_key"] = connection_key(connection_fields(ended_rows, has_samples))
        ends["born_ns"], ends["rtt_hist"] = ended_rows["born_ns"][has_samples], ended_rows["rtt_hist"][has_samples]
        in_no_table = ends["born_ns"] > self._latest_ns  # all of their samples are new, and can be added at once
        samples = self._heat_rows(ends["connection_key"][in_no_table], ends["rtt_hist"][in_no_table])
        self._step.add_ended(samples, self._limit)
        if not in_no_table.all():
            self._new_ends.append(picked(ends, ~in_no_table))

    def add_table(self, rows: Rows, hists: HistogramStore, now_ns: int, growth: RttGrowth) -> None:
        """Add a table.

        Args:
            rows: dtype ROW, sorted by ``id``.
            hists: its histograms.
            now_ns: when it was made.
            growth: what it has more than the table before.
        """
        step_number = now_ns // (STEP_S * 10**9)
        if self._step_number < 0:
            self._step_number, self._first_ns = step_number, now_ns
            self._step = _Step(now_ns)
        else:
            self._remember_removed(growth)
            self._remember_initial(rows, hists, growth)
            self._add_new_ends()
            self._sum_live(rows, hists, growth.diff.ids)
        self._latest_ns = now_ns
        if step_number != self._step_number:
            self._end_step(now_ns, step_number)
        self._publish()

    def clear(self) -> None:
        """Forget all columns. The connections' histograms stay known, or their samples would be counted again."""
        self._samples.clear()
        self._columns.clear()
        self._is_unread.clear()
        if self._step_number >= 0:
            self._publish()

    def _remember_removed(self, growth: RttGrowth) -> None:
        """Store the initial histograms of rows that are gone or have lost their samples: their end may come yet."""
        earlier_rows, lost = growth.earlier_rows, growth.lost
        # rows in TIME_WAIT had lost theirs before
        lost = lost[(earlier_rows["rtt_sum_us"][lost] != 0) | (earlier_rows["state"][lost] != State.TIME_WAIT)]
        if len(lost):
            initial_hists, has_grown = self._step.initial_hists.find(earlier_rows["id"][lost])
            initial_hists[~has_grown] = growth.earlier_hists.histograms(earlier_rows["hist"][lost[~has_grown]])
            self._removed_hists[0].add(connection_key(connection_fields(earlier_rows, lost)), initial_hists)

    def _remember_initial(self, rows: Rows, hists: HistogramStore, growth: RttGrowth) -> None:
        """Store the initial histograms of connections that have got their first samples of this step."""
        step, added, grown_ids = self._step, growth.added, rows["id"][growth.grown]
        is_born = rows["born_ns"][added] >= step.begin_ns
        born = added[is_born]
        if step.unfilterable_sum is not None:
            step.unfilterable_sum = step.unfilterable_sum + growth.hist + sum_hists(rows, born, hists)
            return
        step.undated_ids = np.concatenate([step.undated_ids, rows["id"][added[~is_born]]])
        step.initial_hists.add(rows["id"][born], np.zeros((len(born), RTT_SLOTS), "<u4"))
        is_first = np.zeros(0, np.bool_)
        if len(grown_ids):
            is_first = ~np.isin(grown_ids, step.undated_ids) & ~step.initial_hists.find(grown_ids)[1]
        earlier_row = growth.diff.earlier_row[growth.grown[is_first]]
        earlier_hists = growth.earlier_hists.histograms(growth.earlier_rows["hist"][earlier_row])
        step.initial_hists.add(grown_ids[is_first], earlier_hists)

    def _add_new_ends(self) -> None:
        """Add the samples of connections whose end has come since the table before."""
        new_ends, unmatched_ends = self._new_ends, self._unmatched_ends
        self._new_ends, self._unmatched_ends = [], np.zeros(0, _ENDED)
        self._add_known_ends(unmatched_ends, self._first_ns)
        for ends in new_ends:
            is_unmatched = ~self._add_known_ends(ends, self._latest_ns)
            # the row may leave the table later than the end comes
            self._unmatched_ends = concat(_ENDED, self._unmatched_ends, picked(ends, is_unmatched))

    def _add_known_ends(self, ends: Rows, since_ns: int) -> Mask:
        """Add the samples of ``ends`` (dtype _ENDED) that were in a table or were born ``since_ns``; says which."""
        keys, hists = ends["connection_key"], ends["rtt_hist"]
        is_known: Mask = ends["born_ns"] >= since_ns
        for removed_hists in reversed(self._removed_hists):  # the latest counts
            initial_hists, is_found = removed_hists.find(keys)
            if is_found.any():
                hists = hists.astype(np.int64)
                hists[is_found] = ends["rtt_hist"][is_found].astype(np.int64) - initial_hists[is_found]
                is_known |= is_found
        self._step.add_ended(self._heat_rows(keys[is_known], hists[is_known]), self._limit)
        return is_known

    def _sum_live(self, rows: Rows, hists: HistogramStore, ids: NDArray[np.uint64]) -> None:
        """Compute the step's samples of open connections: their histograms now less the initial ones."""
        step = self._step
        if not len(step.initial_hists.keys) and step.unfilterable_sum is None:
            return
        row_numbers = np.minimum(np.searchsorted(ids, step.initial_hists.keys), max(0, len(ids) - 1))
        exists = ids[row_numbers] == step.initial_hists.keys if len(ids) else np.zeros(len(row_numbers), np.bool_)
        exists[exists] = rows["rtt_sum_us"][row_numbers[exists]] != 0
        row_numbers, initial_hists = row_numbers[exists], step.initial_hists.hists[exists]
        if len(row_numbers) > _MAX_BUSY_CONNECTIONS:
            initial_sum = initial_hists.sum(axis=0, dtype=np.uint64)
            step.unfilterable_sum = sum_hists(rows, row_numbers, hists) - initial_sum
            step.initial_hists = _HistogramsByKey()
            row_numbers, initial_hists = row_numbers[:0], initial_hists[:0]
        increase = hists.histograms(rows["hist"][row_numbers]).astype(np.int64) - initial_hists
        step.live_samples = self._heat_rows(connection_key(connection_fields(rows, row_numbers)), increase)
        step.live_sum = _sum_buckets(step.live_samples)

    def _heat_rows(self, keys: NDArray[np.uint64], hists: NDArray[Any]) -> Rows:
        """The present step's samples of connections, dtype HEAT, from a histogram for each of their keys."""
        row, bucket = np.nonzero(hists > 0)
        heat_rows = np.zeros(len(row), HEAT)
        heat_rows["connection_key"], heat_rows["step"] = keys[row], self._step_number
        heat_rows["bucket"], heat_rows["count"] = bucket, hists[row, bucket]
        return heat_rows

    def _end_step(self, now_ns: int, step_number: int) -> None:
        self._columns.append(self._step.column)
        self._is_unread.append(False)
        for _ in range(min(MAX_STEPS, step_number - self._step_number - 1)):  # no table was read in these
            self._columns.append(empty_histogram())
            self._is_unread.append(True)
        self._samples.append(concat(HEAT, *self._step.sample_parts))
        self._step_number = step_number
        self._removed_hists = [_HistogramsByKey(), self._removed_hists[0]]
        self._step = _Step(now_ns)

    def _publish(self) -> None:
        columns = np.stack([*self._columns, self._step.column], axis=1)
        parts = tuple(part for part in (self._samples.rows, *self._step.sample_parts) if len(part))
        self.heat_map = HeatMap(columns, self._step_number, parts, np.array([*self._is_unread, False]))
