"""Round-trip times over time: how many samples fell into each bucket in each step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.record_array import RecordArray
from tcptop_tui.model.rtt_totals import RttGrowth, sum_hists
from tcptop_tui.records import RTT_SLOTS, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.histograms import HistogramStore, empty_histogram
from tcptop_tui.stream.identity import KeyIndex, connection_key

STEP_S = 5
"""One column of the map. Not finer: over a slow link a map that moves each second is not free."""
MAX_STEPS = 240
"""Steps that are kept: twenty minutes."""

HEAT = np.dtype([("life", "<u8"), ("step", "<u4"), ("count", "<u4"), ("slot", "u1")])
"""Samples of one connection in one slot of one step; steps are STEP_S of CLOCK_MONOTONIC."""

_ENDED = np.dtype([("life", "<u8"), ("born_ns", "<u8"), ("rtt_hist", "<u4", (RTT_SLOTS,))])
"""What is needed of a connection that has ended."""

_CONNECTION_FIELDS = np.dtype(
    [("laddr", ">u8", (2,)), ("raddr", ">u8", (2,)), ("born_ns", "<u8"),
     ("netns", "<u4"), ("dev", "<u4"), ("lport", "<u2"), ("rport", "<u2")]
)  # fmt: skip
"""What a connection is known by: whole rows are 200 bytes, and there may be 100,000."""
_MAX_BUSY_CONNECTIONS = 20_000
"""With more connections than these that had samples a step is summed up at its end only, and no filter can choose."""

_MOST_PARTS = 16
"""In which those of ended connections are kept until the step is over."""

HeatColumns = NDArray[np.uint64]
"""Samples, shape (RTT_SLOTS, n); the last column is the step that is not over."""


def connection_fields(rows: Rows, which: NDArray[Any]) -> Rows:
    """Of the chosen rows what says which connections they are, dtype _CONNECTION_FIELDS."""
    born_ns = rows["born_ns"][which]
    made = np.zeros(len(born_ns), _CONNECTION_FIELDS)
    for name in _CONNECTION_FIELDS.names or ():
        made[name] = rows[name][which]
    return made


def _sums(entries: Rows) -> NDArray[np.uint64]:
    return np.bincount(entries["slot"], entries["count"], RTT_SLOTS).astype(np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class HeatMap:
    """Immutable: the steps up to now."""

    columns: HeatColumns = field(default_factory=lambda: np.zeros((RTT_SLOTS, 0), "<u8"))
    """Of all connections."""
    step: int = 0
    """Number of the last column."""
    samples_by_connection: tuple[Rows, ...] = ()
    """What a filter can choose from, dtype HEAT, oldest first."""
    unread_steps: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Columns in whose time no table was read: what they would have is in one beside them. Shape (n,)."""

    def columns_of(self, lives: NDArray[np.uint64]) -> HeatColumns:
        """Only the samples of these connections (``identity.life``), shape as ``columns``."""
        found = np.zeros_like(self.columns)
        wanted = KeyIndex.from_keys(lives)
        for part in self.samples_by_connection:
            _, there = wanted.find(part["life"])
            found += self._counted(picked(part, there))
        return found

    @property
    def complete_steps(self) -> int:
        """The last so many columns are complete for every filter; older ones may lack connections."""
        kept = np.zeros_like(self.columns)
        for part in self.samples_by_connection:
            kept += self._counted(part)
        lacking = np.flatnonzero((kept < self.columns).any(axis=0))
        steps: int = self.columns.shape[1]
        return steps - int(lacking[-1]) - 1 if len(lacking) else steps

    def _counted(self, entries: Rows) -> HeatColumns:
        steps: int = self.columns.shape[1]
        column = entries["step"].astype(np.int64) - self.step + steps - 1
        there = column >= 0
        at = entries["slot"][there].astype(np.int64) * steps + column[there]
        counted = np.bincount(at, entries["count"][there], RTT_SLOTS * steps)
        return counted.astype(np.uint64).reshape(RTT_SLOTS, steps)


class _HistogramsByKey:
    """Histograms by a 64-bit key."""

    def __init__(self) -> None:
        self.keys, self.hists = np.zeros(0, np.uint64), np.zeros((0, RTT_SLOTS), "<u4")
        self._index: KeyIndex | None = None

    def add(self, keys: NDArray[np.uint64], hists: NDArray[np.uint32]) -> None:
        """Of equal keys the latest counts."""
        if len(keys):
            self.keys, self.hists = np.concatenate([keys, self.keys]), np.concatenate([hists, self.hists])
            self._index = None

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], Mask]:
        """The histogram for each key, nothing where there is none; and which are there."""
        self._index = self._index or KeyIndex.from_keys(self.keys)
        hists = np.zeros((len(keys), RTT_SLOTS), "<u4")
        place, there = self._index.find(keys)
        hists[there] = self.hists[place[there]]
        return hists, there


@dataclass(slots=True)
class _Step:
    """What has come since it began, with the table of ``begun_ns``."""

    begun_ns: int
    start: _HistogramsByKey = field(default_factory=_HistogramsByKey)
    """How those were as it began that have got samples since; by id."""
    unseen_start: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Ids of those that came with samples of which nobody knows when they were taken."""
    ended: list[Rows] = field(default_factory=list)
    """Of those that have ended, dtype HEAT."""
    ended_sum: NDArray[np.uint64] = field(default_factory=empty_histogram)
    present: Rows = field(default_factory=lambda: np.zeros(0, HEAT))
    """Of those that there are."""
    present_sum: NDArray[np.uint64] = field(default_factory=empty_histogram)
    dense: NDArray[np.uint64] | None = None
    """So many have got samples that they are only summed up: by slot."""

    def note_ended(self, entries: Rows, limit: int) -> None:
        """Dtype HEAT; of all these ``limit`` are kept, and some more."""
        if not len(entries):
            return
        self.ended_sum = self.ended_sum + _sums(entries)
        self.ended.append(entries)
        while sum(map(len, self.ended[1:])) >= limit:
            self.ended.pop(0)
        if len(self.ended) > _MOST_PARTS:
            self.ended = [concat(HEAT, *self.ended)]

    @property
    def summed(self) -> NDArray[np.uint64]:
        """All samples, by slot."""
        living = self.present_sum if self.dense is None else self.present_sum + self.dense
        return living + self.ended_sum

    @property
    def sample_parts(self) -> list[Rows]:
        """What a filter can choose from."""
        return [self.present, *self.ended]


class HeatMapBuilder:
    """Takes the difference between each connection's histogram now and at the start of the step.

    How it was at the start is kept only of connections that have got samples since, and of those that
    are gone: 100,000 histograms are 11 MB and take 50 ms to copy.

    Args:
        limit: entries of dtype HEAT that are kept at most, so that a filter can choose from them.
    """

    def __init__(self, limit: int) -> None:
        self._samples, self._limit = RecordArray(HEAT, limit), limit
        self._columns: deque[NDArray[np.uint64]] = deque(maxlen=MAX_STEPS - 1)
        self._unread: deque[bool] = deque(maxlen=MAX_STEPS - 1)
        self._step = -1
        self.heat_map = HeatMap()
        """The steps up to now; another one with each table."""
        self._first_ns = self._latest_ns = 0
        # by life: gone in this step, and in the one before, since an end may be told late
        self._gone_histograms = [_HistogramsByKey(), _HistogramsByKey()]
        self._reported_ends: list[Rows] = []
        self._late_samples = np.zeros(0, _ENDED)
        self._now = _Step(0)

    def add_ended(self, rows: Rows) -> None:
        """Dtype ENDED: what they had besides what was seen of them while they lived; counts with the next table."""
        sampled = np.flatnonzero(rows["rtt_sum_us"] != 0)
        if self._step >= 0 and len(sampled):
            # up to the next table these are tens of thousands
            told = np.empty(len(sampled), _ENDED)
            told["life"] = connection_key(connection_fields(rows, sampled))
            told["born_ns"], told["rtt_hist"] = rows["born_ns"][sampled], rows["rtt_hist"][sampled]
            unseen = told["born_ns"] > self._latest_ns  # no table had them: nothing need be waited for
            self._now.note_ended(self._entries(told["life"][unseen], told["rtt_hist"][unseen]), self._limit)
            if not unseen.all():
                self._reported_ends.append(picked(told, ~unseen))

    def add_table(self, rows: Rows, hists: HistogramStore, now_ns: int, growth: RttGrowth) -> None:
        """Dtype ROW, sorted by ``id``; with what it has more than the one before."""
        step = now_ns // (STEP_S * 10**9)
        if self._step < 0:
            self._step, self._first_ns = step, now_ns
            self._now = _Step(now_ns)
        else:
            self._note_left(growth)
            self._note_grown(rows, hists, growth)
            self._note_ended()
            self._sum_up(rows, hists, growth.diff.ids)
        self._latest_ns = now_ns
        if step != self._step:
            self._end_step(now_ns, step)
        self._publish()

    def clear(self) -> None:
        """Forget what was; what connections have had stays known, or it would be counted again."""
        self._samples.clear()
        self._columns.clear()
        self._unread.clear()
        if self._step >= 0:
            self._publish()

    def _note_left(self, growth: RttGrowth) -> None:
        """Of who has gone, or has forgotten its samples, an end may be told yet."""
        before, left = growth.earlier_rows, growth.lost
        # TIME_WAIT had forgotten its own already
        left = left[(before["rtt_sum_us"][left] != 0) | (before["state"][left] != State.TIME_WAIT)]
        if len(left):
            start, changed = self._now.start.find(before["id"][left])
            start[~changed] = growth.earlier_hists.histograms(before["hist"][left[~changed]])
            self._gone_histograms[0].add(connection_key(connection_fields(before, left)), start)

    def _note_grown(self, rows: Rows, hists: HistogramStore, growth: RttGrowth) -> None:
        """Remember how those were as the step began that have got samples."""
        new = rows["born_ns"][growth.added] >= self._now.begun_ns
        born, ids = growth.added[new], rows["id"][growth.grown]
        if self._now.dense is not None:
            self._now.dense = self._now.dense + growth.hist + sum_hists(rows, born, hists)
            return
        self._now.unseen_start = np.concatenate([self._now.unseen_start, rows["id"][growth.added[~new]]])
        self._now.start.add(rows["id"][born], np.zeros((len(born), RTT_SLOTS), "<u4"))
        other = (
            ~np.isin(ids, self._now.unseen_start) & ~self._now.start.find(ids)[1] if len(ids) else np.zeros(0, np.bool_)
        )
        place = growth.diff.earlier_row[growth.grown[other]]
        self._now.start.add(ids[other], growth.earlier_hists.histograms(growth.earlier_rows["hist"][place]))

    def _note_ended(self) -> None:
        """Ends that were told since the table before."""
        told, late = self._reported_ends, self._late_samples
        self._reported_ends, self._late_samples = [], np.zeros(0, _ENDED)
        self._note_end(late, self._first_ns)
        for rows in told:
            unknown = self._note_end(rows, self._latest_ns)
            # its row may go with the next table only
            self._late_samples = concat(_ENDED, self._late_samples, picked(rows, unknown))

    def _note_end(self, rows: Rows, since_ns: int) -> Mask:
        """Those (dtype _ENDED) that were seen, or were born ``since_ns``; returns the others."""
        lives, hists = rows["life"], rows["rtt_hist"]
        known: Mask = rows["born_ns"] >= since_ns
        for gone in reversed(self._gone_histograms):  # the latest counts
            start, there = gone.find(lives)
            if there.any():
                hists = hists.astype(np.int64)
                hists[there] = rows["rtt_hist"][there].astype(np.int64) - start[there]
                known |= there
        self._now.note_ended(self._entries(lives[known], hists[known]), self._limit)
        return ~known

    def _sum_up(self, rows: Rows, hists: HistogramStore, ids: NDArray[np.uint64]) -> None:
        """The step's samples so far."""
        if not len(self._now.start.keys) and self._now.dense is None:
            return
        place = np.minimum(np.searchsorted(ids, self._now.start.keys), max(0, len(ids) - 1))
        there = ids[place] == self._now.start.keys if len(ids) else np.zeros(len(place), np.bool_)
        there[there] = rows["rtt_sum_us"][place[there]] != 0
        place, start = place[there], self._now.start.hists[there]
        if len(place) > _MAX_BUSY_CONNECTIONS:
            self._now.dense = sum_hists(rows, place, hists) - start.sum(axis=0, dtype=np.uint64)
            self._now.start, place, start = _HistogramsByKey(), place[:0], start[:0]
        grown = hists.histograms(rows["hist"][place]).astype(np.int64) - start
        self._now.present = self._entries(connection_key(connection_fields(rows, place)), grown)
        self._now.present_sum = _sums(self._now.present)

    def _entries(self, lives: NDArray[np.uint64], grown: NDArray[Any]) -> Rows:
        row, slot = np.nonzero(grown > 0)
        made = np.zeros(len(row), HEAT)
        made["life"], made["slot"], made["count"], made["step"] = lives[row], slot, grown[row, slot], self._step
        return made

    def _end_step(self, now_ns: int, step: int) -> None:
        self._columns.append(self._now.summed)
        self._unread.append(False)
        for _ in range(min(MAX_STEPS, step - self._step - 1)):  # nobody read the table for so long
            self._columns.append(empty_histogram())
            self._unread.append(True)
        self._samples.append(concat(HEAT, *self._now.sample_parts))
        self._step, self._gone_histograms = step, [_HistogramsByKey(), self._gone_histograms[0]]
        self._now = _Step(now_ns)

    def _publish(self) -> None:
        columns = np.stack([*self._columns, self._now.summed], axis=1)
        parts = tuple(part for part in (self._samples.rows, *self._now.sample_parts) if len(part))
        self.heat_map = HeatMap(columns, self._step, parts, np.array([*self._unread, False]))
