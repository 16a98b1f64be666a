"""Round-trip times over time: how many samples fell into each bucket in each step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.history import History
from tcptop_tui.records import ROW, RTT_SLOTS, Mask, Rows, State, joined
from tcptop_tui.source.identity import Index, life

STEP_S = 5
"""One column of the map. Not finer: over a slow link a map that moves each second is not free."""
STEPS = 240
"""Steps that are kept: twenty minutes."""

HEAT = np.dtype([("life", "<u8"), ("step", "<u4"), ("count", "<u4"), ("slot", "u1")])
"""Samples of one connection in one slot of one step; steps are STEP_S of CLOCK_MONOTONIC."""

_LIFE = np.dtype(
    [("laddr", ">u8", (2,)), ("raddr", ">u8", (2,)), ("born_ns", "<u8"),
     ("netns", "<u4"), ("lport", "<u2"), ("rport", "<u2")]
)  # fmt: skip
"""What a connection is known by: whole rows are 300 bytes, and there may be 100,000."""
_MOST_AT_ONCE = 20_000
"""With more connections than these that had samples a step is summed up at its end only, and no filter can choose."""

Columns = NDArray[np.uint64]
"""Samples, shape (RTT_SLOTS, n); the last column is the step that is not over."""


def _slim(rows: Rows, which: NDArray[Any]) -> Rows:
    """Of the chosen rows what says which connections they are, dtype _LIFE."""
    slim = np.zeros(len(rows["id"][which]), _LIFE)
    for name in _LIFE.names or ():
        slim[name] = rows[name][which]
    return slim


def _sums(entries: Rows) -> NDArray[np.uint64]:
    return np.bincount(entries["slot"], entries["count"], RTT_SLOTS).astype(np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """Immutable: the steps up to now."""

    columns: Columns = field(default_factory=lambda: np.zeros((RTT_SLOTS, 0), "<u8"))
    """Of all connections."""
    step: int = 0
    """Number of the last column."""
    parts: tuple[Rows, ...] = ()
    """What a filter can choose from, dtype HEAT, oldest first."""

    def chosen(self, lives: NDArray[np.uint64]) -> Columns:
        """Only the samples of these connections (``identity.life``), shape as ``columns``."""
        found = np.zeros_like(self.columns)
        wanted = Index.of(lives)
        for part in self.parts:
            _, there = wanted.find(part["life"])
            found += self._counted(part[there])
        return found

    @property
    def whole(self) -> int:
        """The last so many columns are complete for every filter; older ones may lack connections."""
        kept = np.zeros_like(self.columns)
        for part in self.parts:
            kept += self._counted(part)
        lacking = np.flatnonzero((kept < self.columns).any(axis=0))
        steps: int = self.columns.shape[1]
        return steps - int(lacking[-1]) - 1 if len(lacking) else steps

    def _counted(self, entries: Rows) -> Columns:
        steps: int = self.columns.shape[1]
        column = entries["step"].astype(np.int64) - self.step + steps - 1
        there = column >= 0
        at = entries["slot"][there].astype(np.int64) * steps + column[there]
        counted = np.bincount(at, entries["count"][there], RTT_SLOTS * steps)
        return counted.astype(np.uint64).reshape(RTT_SLOTS, steps)


class _Seen:
    """What connections had at one moment, in the order of their ids."""

    def __init__(self, rows: Rows) -> None:
        # those without a sample too, or their first ones would be nobody's; TIME_WAIT has forgotten its own
        which = (rows["rtt_sum_us"] != 0) | (rows["state"] != State.TIME_WAIT)
        self.by_id = Index.of(rows["id"][which])
        self.sums, self.hists = rows["rtt_sum_us"][which], rows["rtt_hist"][which]
        self._lives = _slim(rows, which)

    @cached_property
    def by_life(self) -> Index:
        """By ``identity.life``; most steps nobody asks."""
        return Index.of(life(self._lives))


class HeatHistory:
    """Takes the difference between each connection's histogram now and at the start of the step.

    Args:
        limit: entries of dtype HEAT that are kept at most, so that a filter can choose from them.
    """

    def __init__(self, limit: int) -> None:
        self._kept = History(HEAT, limit)
        self._columns: deque[NDArray[np.uint64]] = deque(maxlen=STEPS - 1)
        self._step = -1
        # as this step began, and the one before: an end may be told late
        self._seen = 2 * [_Seen(np.zeros(0, ROW))]
        self._seen_ns = self._start_ns = 0
        self._ended: list[Rows] = []
        self._present = np.zeros(0, HEAT)
        self._summed = np.zeros(RTT_SLOTS, np.uint64)

    def note_sessions(self, rows: Rows) -> None:
        """Dtype SESSION: what they had besides what was seen of them while they lived."""
        sampled = rows[rows["rtt_sum_us"] != 0]
        if self._step < 0 or not len(sampled):
            return
        lives = life(sampled)
        grown = sampled["rtt_hist"].astype(np.int64)
        known = sampled["born_ns"] >= self._start_ns
        for seen in reversed(self._seen):  # the latest counts
            place, there = seen.by_life.find(lives)
            grown[there] = sampled["rtt_hist"][there].astype(np.int64) - seen.hists[place[there]]
            known |= there
        self._ended.append(self._entries(lives[known], grown[known]))

    def note_table(self, rows: Rows, now_ns: int) -> None:
        """Dtype ROW, sorted by ``id``."""
        step = now_ns // (STEP_S * 10**9)
        if self._step < 0:
            self._step, self._start_ns = step, now_ns
            self._begin(rows, now_ns)
        place, there = self._seen[0].by_id.find(rows["id"])
        changed = there.copy()
        changed[there] = self._seen[0].sums[place[there]] != rows["rtt_sum_us"][there]
        fresh = ~there & (rows["born_ns"] >= self._seen_ns) & (rows["rtt_sum_us"] != 0)
        if step != self._step or np.count_nonzero(changed) <= _MOST_AT_ONCE:
            self._take(rows, place, changed, fresh)
        if step != self._step:
            self._end_step(rows, now_ns, step)

    def clear(self) -> None:
        """Forget what was; what connections have had stays known, or it would be counted again."""
        self._kept.clear()
        self._columns.clear()

    def _take(self, rows: Rows, place: NDArray[np.intp], changed: Mask, fresh: Mask) -> None:
        """The step's samples so far: those of rows that have ``changed`` since it began, and of ``fresh`` ones."""
        chosen = np.flatnonzero(changed | fresh)
        again = changed[chosen]
        before = self._seen[0].hists[place[chosen[again]]]
        if len(chosen) <= _MOST_AT_ONCE:
            grown = rows["rtt_hist"][chosen].astype(np.int64)
            grown[again] -= before
            self._present = joined(HEAT, self._entries(life(_slim(rows, chosen)), grown), *self._ended)
            self._summed = _sums(self._present)
        else:
            more = rows["rtt_hist"][chosen].sum(axis=0, dtype=np.uint64) - before.sum(axis=0, dtype=np.uint64)
            self._present = joined(HEAT, *self._ended) if self._ended else np.zeros(0, HEAT)
            self._summed = _sums(self._present) + more

    def _entries(self, lives: NDArray[np.uint64], grown: NDArray[np.int64]) -> Rows:
        row, slot = np.nonzero(grown > 0)
        made = np.zeros(len(row), HEAT)
        made["life"], made["slot"], made["count"], made["step"] = lives[row], slot, grown[row, slot], self._step
        return made

    def _begin(self, rows: Rows, now_ns: int) -> None:
        self._seen = [_Seen(rows), self._seen[0]]
        self._seen_ns, self._ended = now_ns, []

    def _end_step(self, rows: Rows, now_ns: int, step: int) -> None:
        self._columns.append(self._summed)
        for _ in range(min(STEPS, step - self._step - 1)):  # nobody read the table for so long
            self._columns.append(np.zeros(RTT_SLOTS, np.uint64))
        self._kept.append(self._present)
        self._present, self._summed, self._step = np.zeros(0, HEAT), np.zeros(RTT_SLOTS, np.uint64), step
        self._begin(rows, now_ns)

    @property
    def heat(self) -> Heat:
        """The steps up to now."""
        if self._step < 0:
            return Heat()
        columns = np.stack([*self._columns, self._summed], axis=1)
        return Heat(columns, self._step, tuple(part for part in (self._kept.rows, self._present) if len(part)))
