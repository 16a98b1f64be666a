"""Folds batches into facts. Knows no screen and no kernel."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from tcptop_tui.model.alerts import AlertRules
from tcptop_tui.model.board import BoardHistory
from tcptop_tui.model.connect_outcomes import OutcomeCounter
from tcptop_tui.model.heat_map import HeatMapBuilder
from tcptop_tui.model.lingering import NO_LINGERING_ROWS, from_missing, still_lingering
from tcptop_tui.model.per_second import PerSecondCounter
from tcptop_tui.model.rates import Rates
from tcptop_tui.model.record_array import RecordArray
from tcptop_tui.model.record_parts import RecordParts
from tcptop_tui.model.rtt_totals import LiveRttTotals, RttTotals
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.model.trends import Trends
from tcptop_tui.model.wall_clock import WallClock
from tcptop_tui.records import ENDED, PING, ROW, TRANSITION, CloseFlag, Rows
from tcptop_tui.row_copy import copied, picked
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import (
    Batch,
    EndedConnections,
    LateEndings,
    Loss,
    Names,
    Pings,
    Status,
    Table,
    Transitions,
)
from tcptop_tui.stream.late_endings import apply_late_endings, is_half_closed

_PACE_S = 3.0
"""Transitions per second are an average over this long."""


class Store:
    """The state behind every panel; ``generation`` rises with each change."""

    def __init__(self, settings: Settings) -> None:
        self.generation = 0
        self._rates = Rates()
        self._table_diff = TableDiff()
        # one attribute, replaced at once: a table may be taken in while another thread reads facts
        self._table = (Table(np.zeros(0, ROW), 0, 0), self._rates.tx, self._rates.rx)
        self._log = RecordArray(TRANSITION, settings.log_rows)
        self._ended = RecordParts(ENDED, settings.session_rows)
        self._pings = RecordArray(PING, settings.ping_rows)
        self._pings_lost = 0
        self._names = Names()
        self._live_rtt = LiveRttTotals()
        # of all ended connections, and of those of them that are not kept any more
        self._ended_rtt, self._dropped_rtt = RttTotals(), RttTotals()
        self._per_second = PerSecondCounter()
        self._outcomes = OutcomeCounter(settings.connect_rows)
        self._heat_map = HeatMapBuilder(settings.heat_rows)
        self._trends = Trends(settings.trend_rows)
        self._alert_rules = AlertRules()
        self._wall_clock = WallClock()
        self._board = BoardHistory()
        self._lingering = NO_LINGERING_ROWS
        self._linger_rows = settings.linger_rows
        self.linger_s = settings.linger_s
        self._transition_marks: deque[tuple[int, int]] = deque()
        self._loss = Loss()
        self._status = Status("")
        self._first_ns = self._cleared_ns = 0
        self._uncounted = (0, 0)

    def apply(self, batch: Batch) -> None:
        """Fold one batch in."""
        if isinstance(batch, Transitions):
            self._log.append(batch.rows)
            self._per_second.add_transitions(batch.rows, self._outcomes.add(batch.rows))
        elif isinstance(batch, EndedConnections):
            self._ended_rtt = self._ended_rtt + RttTotals.from_rows(batch.rows, np.arange(len(batch.rows)))
            for fallen in self._ended.append(batch.rows):
                self._drop_ended(fallen)
            self._per_second.add_ended(batch.rows)
            self._heat_map.add_ended(batch.rows)
        elif isinstance(batch, LateEndings):
            self._apply_late_endings(batch.rows)
        elif isinstance(batch, Table):
            self._apply_table(batch)
        elif isinstance(batch, Loss):
            self._loss = batch
        elif isinstance(batch, Pings):
            self._pings.append(batch.rows)
            self._pings_lost = batch.lost
        elif isinstance(batch, Names):
            self._names = batch
        else:
            self._status = batch
        self.generation += 1

    def clear(self) -> None:
        """Forget what was, keep what is: no transitions, ended connections or pings from before now."""
        for history in (self._log, self._ended, self._pings):
            history.clear()
        self._cleared_ns = self._table[0].now_ns
        self._uncounted = (self._log.total, self._ended.frozen_and_total[1])
        self._outcomes.clear(self._cleared_ns)
        self._heat_map.clear()
        self._ended_rtt, self._dropped_rtt = RttTotals(), RttTotals()
        self._lingering = NO_LINGERING_ROWS
        self.generation += 1

    def _apply_table(self, table: Table) -> None:
        rows, now_ns, events_ns = table.rows, table.now_ns, table.events_ns or table.now_ns
        self._first_ns = self._first_ns or now_ns
        self._outcomes.start(now_ns)
        # found out once: half of what follows compares the two tables
        step = self._table_diff = TableDiff.from_ids(self._table_diff.ids, rows["id"].copy())
        self._wall_clock = self._wall_clock.with_reading(now_ns, table.utc_ns)
        self._update_lingering(table, step)
        self._per_second.add_table(rows, now_ns, step)
        self._heat_map.add_table(rows, table.hists, now_ns, self._live_rtt.update(rows, table.hists, step))
        self._board.update(rows, now_ns)
        self._alert_rules.update(
            rows, self._outcomes.failed_rows, self._per_second.last_seconds(now_ns, events_ns), now_ns
        )
        self._rates.update(rows, now_ns, step)
        self._trends.update(rows, step.ids, self._rates.tx, self._rates.rx, now_ns)
        self._table = (table, self._rates.tx, self._rates.rx)
        if self._transition_marks and self._transition_marks[-1][0] == events_ns:
            self._transition_marks.pop()
        self._transition_marks.append((events_ns, self._log.total))
        while len(self._transition_marks) > 2 and events_ns - self._transition_marks[1][0] >= _PACE_S * 1e9:
            self._transition_marks.popleft()

    def _apply_late_endings(self, endings: Rows) -> None:
        """A FIN that came later changes nothing that anybody sees; a reset does."""
        resets = picked(endings, (endings["close_flags"] & (CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED)) != 0)

        def changed(sessions: Rows) -> Rows | None:
            if not (np.isin(sessions["skaddr"], resets["skaddr"]) & is_half_closed(sessions["close_flags"])).any():
                return None
            made = copied(sessions)
            apply_late_endings(made, resets)
            return made

        if len(resets):
            self._ended.rewrite(changed)

    def _update_lingering(self, table: Table, step: TableDiff) -> None:
        (before, tx_rate, rx_rate), linger_ns = self._table, int(self.linger_s * 1e9)
        since_ns = table.now_ns - linger_ns
        lately = self._ended.frozen_and_total[0].newest(2 * self._linger_rows)
        lately = picked(lately, lately["end_ns"] >= since_ns)
        missed = self._lingering.concat(from_missing(before.rows, tx_rate, rx_rate, step.removed, table.now_ns))
        self._lingering = still_lingering(missed, step.ids, lately, since_ns + 1, self._linger_rows)

    def _drop_ended(self, sessions: Rows) -> None:
        """Sum up what falls out of the kept sessions, so that the grand total stays whole."""
        self._dropped_rtt = self._dropped_rtt + RttTotals.from_rows(sessions, np.arange(len(sessions)))

    def _transitions_per_s(self) -> float:
        if len(self._transition_marks) < 2:
            return math.nan
        (start_ns, before), (end_ns, after) = self._transition_marks[0], self._transition_marks[-1]
        if self._table[0].now_ns - end_ns >= _PACE_S * 1e9:  # what has happened since is not read yet
            return math.nan
        return (after - before) * 1e9 / max(1, end_ns - start_ns)

    @property
    def details(self) -> Rows:
        """``Snapshot.details`` of the present state."""
        return self._table[0].details

    def snapshot(self) -> Snapshot:
        """The present state; cheap, the arrays are shared and never written to again."""
        table, tx_rate, rx_rate = self._table
        # a table, or many transitions, may be taken in by another thread meanwhile
        (log, log_total), (kept, sessions_total) = self._log.rows_and_total, self._ended.frozen_and_total
        return Snapshot(
            now_ns=table.now_ns,
            utc_ns=table.utc_ns,
            first_ns=self._first_ns,
            cleared_ns=self._cleared_ns,
            outcomes=self._outcomes.outcomes,
            wall_clock=self._wall_clock,
            rows=table.rows,
            hists=table.hists,
            holders=table.holders,
            details=table.details,
            tx_rate=tx_rate,
            rx_rate=rx_rate,
            lingering=self._lingering,
            log=log,
            log_total=log_total,
            log_count=log_total - self._uncounted[0],
            ended=kept,
            ended_total=sessions_total,
            ended_count=sessions_total - self._uncounted[1],
            pings=self._pings.rows,
            pings_total=self._pings.total,
            pings_lost=self._pings_lost,
            names=self._names,
            live_rtt=self._live_rtt.total,
            ended_rtt=self._ended_rtt,
            dropped_rtt_hist=self._dropped_rtt.hist,
            dropped_rtt_sum_us=self._dropped_rtt.sum_us,
            dropped_ended=self._dropped_rtt.connections,
            events_ns=table.events_ns,
            per_second=self._per_second.last_seconds(table.now_ns, table.events_ns or table.now_ns),
            heat_map=self._heat_map.heat_map,
            trends=self._trends.samples,
            alerts=self._alert_rules.alerts,
            earlier_board_counts=self._board.oldest_counts,
            transitions_per_s=self._transitions_per_s(),
            loss=self._loss,
            status=self._status,
        )
