"""The store: folds batches into the state that snapshots are made of. It knows neither a screen nor a source."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from tcptop_tui.model.alerts import AlertRules
from tcptop_tui.model.board import BoardHistory
from tcptop_tui.model.connect_outcomes import OutcomeCounter
from tcptop_tui.model.heat_map_builder import HeatMapBuilder
from tcptop_tui.model.lingering import NO_LINGERING_ROWS, from_removed, still_lingering
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

_AVERAGE_S = 3.0
"""Transitions per second are an average over this time."""

_MAX_PINGS = 10_000
"""ICMP echo requests that are kept, the latest."""


class Store:
    """The state behind every panel. ``generation`` rises with each change.

    One thread applies batches; another may make snapshots meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        self.generation = 0
        self._rates = Rates()
        self._table_diff = TableDiff()
        # the table and its rates are one attribute, so that a snapshot in another thread gets those of one table
        self._table_and_rates = (Table(np.zeros(0, ROW), 0, 0), self._rates.tx, self._rates.rx)
        self._log = RecordArray(TRANSITION, settings.log_rows)
        self._ended = RecordParts(ENDED, settings.session_rows)
        self._pings = RecordArray(PING, _MAX_PINGS)
        self._pings_lost = 0
        self._names = Names()
        self._live_rtt = LiveRttTotals()
        # samples of all ended connections, and of those that are not stored any more
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
        self._transition_totals: deque[tuple[int, int]] = deque()
        """Up to which time events had been read, and how many transitions there had been: of the last tables."""
        self._loss = Loss()
        self._status = Status("")
        self._first_ns = self._cleared_ns = 0
        self._uncounted_transitions = self._uncounted_ended = 0
        """How many there had been when the user cleared them."""

    def apply(self, batch: Batch) -> None:
        """Fold one batch into the state."""
        if isinstance(batch, Transitions):
            self._log.append(batch.rows)
            self._per_second.add_transitions(batch.rows, self._outcomes.add(batch.rows))
        elif isinstance(batch, EndedConnections):
            self._apply_ended(batch.rows)
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
        """Forget transitions, ended connections and pings; what exists now stays."""
        for records in (self._log, self._ended, self._pings):
            records.clear()
        self._cleared_ns = self._table_and_rates[0].now_ns
        self._uncounted_transitions, self._uncounted_ended = self._log.total, self._ended.frozen_and_total[1]
        self._outcomes.clear(self._cleared_ns)
        self._heat_map.clear()
        self._ended_rtt, self._dropped_rtt = RttTotals(), RttTotals()
        self._lingering = NO_LINGERING_ROWS
        self.generation += 1

    def _apply_ended(self, ended_rows: Rows) -> None:
        self._ended_rtt = self._ended_rtt + _sum_rtt(ended_rows)
        for dropped_rows in self._ended.append(ended_rows):
            self._dropped_rtt = self._dropped_rtt + _sum_rtt(dropped_rows)
        self._per_second.add_ended(ended_rows)
        self._heat_map.add_ended(ended_rows)

    def _apply_table(self, table: Table) -> None:
        rows, now_ns, events_ns = table.rows, table.now_ns, table.events_ns or table.now_ns
        self._first_ns = self._first_ns or now_ns
        self._outcomes.start(now_ns)
        diff = self._table_diff = TableDiff.from_ids(self._table_diff.ids, rows["id"].copy())
        self._wall_clock = self._wall_clock.with_reading(now_ns, table.utc_ns)
        self._update_lingering(table, diff)
        self._per_second.add_table(rows, now_ns, diff)
        self._heat_map.add_table(rows, table.hists, now_ns, self._live_rtt.update(rows, table.hists, diff))
        self._board.update(rows, now_ns)
        per_second = self._per_second.last_seconds(now_ns, events_ns)
        self._alert_rules.update(rows, self._outcomes.failed_rows, per_second, now_ns)
        self._rates.update(rows, now_ns, diff)
        self._trends.update(rows, diff.ids, self._rates.tx, self._rates.rx, now_ns)
        self._table_and_rates = (table, self._rates.tx, self._rates.rx)
        self._update_transition_totals(events_ns)

    def _apply_late_endings(self, late_endings: Rows) -> None:
        """Correct ended connections by a reset that came later; a FIN that came later changes nothing that is shown."""
        is_reset = (late_endings["close_flags"] & (CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED)) != 0
        resets = picked(late_endings, is_reset)

        def correct(ended_rows: Rows) -> Rows | None:
            is_same_socket = np.isin(ended_rows["skaddr"], resets["skaddr"])
            if not (is_same_socket & is_half_closed(ended_rows["close_flags"])).any():
                return None
            corrected = copied(ended_rows)
            apply_late_endings(corrected, resets)
            return corrected

        if len(resets):
            self._ended.rewrite(correct)

    def _update_lingering(self, table: Table, diff: TableDiff) -> None:
        earlier_table, tx_rate, rx_rate = self._table_and_rates
        oldest_ns = table.now_ns - int(self.linger_s * 1e9)
        ended_rows = self._ended.frozen_and_total[0].newest(2 * self._linger_rows)
        ended_rows = picked(ended_rows, ended_rows["end_ns"] >= oldest_ns)
        removed = from_removed(earlier_table.rows, tx_rate, rx_rate, diff.removed, table.now_ns)
        lingering = self._lingering.concat(removed)
        self._lingering = still_lingering(lingering, diff.ids, ended_rows, oldest_ns + 1, self._linger_rows)

    def _update_transition_totals(self, events_ns: int) -> None:
        totals = self._transition_totals
        if totals and totals[-1][0] == events_ns:
            totals.pop()
        totals.append((events_ns, self._log.total))
        while len(totals) > 2 and events_ns - totals[1][0] >= _AVERAGE_S * 1e9:
            totals.popleft()

    def _transitions_per_s(self) -> float:
        if len(self._transition_totals) < 2:
            return math.nan
        (start_ns, start_total), (end_ns, end_total) = self._transition_totals[0], self._transition_totals[-1]
        if self._table_and_rates[0].now_ns - end_ns >= _AVERAGE_S * 1e9:  # events since then have not been read yet
            return math.nan
        return (end_total - start_total) * 1e9 / max(1, end_ns - start_ns)

    @property
    def details(self) -> Rows:
        """``Snapshot.details`` of the present state."""
        return self._table_and_rates[0].details

    def snapshot(self) -> Snapshot:
        """The present state. It takes little time: arrays are shared, and never written to again."""
        table, tx_rate, rx_rate = self._table_and_rates
        # records and their total are read at once, because another thread may apply a batch meanwhile
        (log, log_total), (ended, ended_total) = self._log.rows_and_total, self._ended.frozen_and_total
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
            log_count=log_total - self._uncounted_transitions,
            ended=ended,
            ended_total=ended_total,
            ended_count=ended_total - self._uncounted_ended,
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


def _sum_rtt(ended_rows: Rows) -> RttTotals:
    return RttTotals.from_rows(ended_rows, np.arange(len(ended_rows)))
