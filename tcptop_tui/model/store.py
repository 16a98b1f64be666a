"""Folds batches into facts. Knows no screen and no kernel."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from tcptop_tui.model.alerts import Alarms
from tcptop_tui.model.board import BoardHistory
from tcptop_tui.model.connect_outcomes import OutcomeCounter
from tcptop_tui.model.facts import Facts
from tcptop_tui.model.heat import HeatHistory
from tcptop_tui.model.history import History
from tcptop_tui.model.lingering import NOBODY, depart, lingering
from tcptop_tui.model.per_second import PulseCounter
from tcptop_tui.model.rates import Rates
from tcptop_tui.model.recent_records import Recent
from tcptop_tui.model.row_succession import Succession
from tcptop_tui.model.rtt_totals import LiveSamples, Summed
from tcptop_tui.model.trends import Trends
from tcptop_tui.model.wall_clock import Wall
from tcptop_tui.records import PING, ROW, SESSION, TRANSITION, End, Rows, copied, picked
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Endings, Loss, Names, Pings, Sessions, Status, Table, Transitions
from tcptop_tui.stream.late_endings import half_closed, take_endings

_PACE_S = 3.0
"""Transitions per second are an average over this long."""


class Store:
    """The state behind every panel; ``generation`` rises with each change."""

    def __init__(self, settings: Settings) -> None:
        self.generation = 0
        self._rates = Rates()
        self._step = Succession()
        # one attribute, replaced at once: a table may be taken in while another thread reads facts
        self._table = (Table(np.zeros(0, ROW), 0, 0), self._rates.tx, self._rates.rx)
        self._log = History(TRANSITION, settings.log_rows)
        self._sessions = Recent(SESSION, settings.session_rows)
        self._pings = History(PING, settings.ping_rows)
        self._pings_lost = 0
        self._names = Names()
        self._live = LiveSamples()
        # of all ended connections, and of those of them that are not kept any more
        self._ended, self._forgotten = Summed(), Summed()
        self._pulse = PulseCounter()
        self._outcomes = OutcomeCounter(settings.connect_rows)
        self._heat = HeatHistory(settings.heat_rows)
        self._trends = Trends(settings.trend_rows)
        self._alarms = Alarms()
        self._wall = Wall()
        self._board = BoardHistory()
        self._departed = NOBODY
        self._linger_rows = settings.linger_rows
        self.linger_s = settings.linger_s
        self._pace: deque[tuple[int, int]] = deque()
        self._loss = Loss()
        self._status = Status("")
        self._first_ns = self._cleared_ns = 0
        self._uncounted = (0, 0)

    def apply(self, batch: Batch) -> None:
        """Fold one batch in."""
        if isinstance(batch, Transitions):
            self._log.append(batch.rows)
            self._pulse.note_transitions(batch.rows, self._outcomes.note(batch.rows))
        elif isinstance(batch, Sessions):
            self._ended = self._ended + Summed.of(batch.rows, np.arange(len(batch.rows)))
            for fallen in self._sessions.append(batch.rows):
                self._forget(fallen)
            self._pulse.note_sessions(batch.rows)
            self._heat.note_sessions(batch.rows)
        elif isinstance(batch, Endings):
            self._take_endings(batch.rows)
        elif isinstance(batch, Table):
            self._take_table(batch)
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
        for history in (self._log, self._sessions, self._pings):
            history.clear()
        self._cleared_ns = self._table[0].now_ns
        self._uncounted = (self._log.total, self._sessions.kept[1])
        self._outcomes.clear(self._cleared_ns)
        self._heat.clear()
        self._ended, self._forgotten = Summed(), Summed()
        self._departed = NOBODY
        self.generation += 1

    def _take_table(self, table: Table) -> None:
        rows, now_ns, events_ns = table.rows, table.now_ns, table.events_ns or table.now_ns
        self._first_ns = self._first_ns or now_ns
        self._outcomes.begin(now_ns)
        # found out once: half of what follows compares the two tables
        step = self._step = Succession.of(self._step.ids, rows["id"].copy())
        self._wall = self._wall.at(now_ns, table.utc_ns)
        self._note_departed(table, step)
        self._pulse.note_table(rows, now_ns, step)
        self._heat.note_table(rows, table.hists, now_ns, self._live.note(rows, table.hists, step))
        self._board.note(rows, now_ns)
        self._alarms.check(rows, self._outcomes.failed_rows, self._pulse.pulse(now_ns, events_ns), now_ns)
        self._rates.update(rows, now_ns, step)
        self._trends.note(rows, step.ids, self._rates.tx, self._rates.rx, now_ns)
        self._table = (table, self._rates.tx, self._rates.rx)
        if self._pace and self._pace[-1][0] == events_ns:
            self._pace.pop()
        self._pace.append((events_ns, self._log.total))
        while len(self._pace) > 2 and events_ns - self._pace[1][0] >= _PACE_S * 1e9:
            self._pace.popleft()

    def _take_endings(self, endings: Rows) -> None:
        """A FIN that came later changes nothing that anybody sees; a reset does."""
        resets = picked(endings, (endings["ends"] & (End.RST_SENT | End.RST_RECEIVED)) != 0)

        def changed(sessions: Rows) -> Rows | None:
            if not (np.isin(sessions["skaddr"], resets["skaddr"]) & half_closed(sessions["ends"])).any():
                return None
            made = copied(sessions)
            take_endings(made, resets)
            return made

        if len(resets):
            self._sessions.replace(changed)

    def _note_departed(self, table: Table, step: Succession) -> None:
        (before, tx_rate, rx_rate), linger_ns = self._table, int(self.linger_s * 1e9)
        since_ns = table.now_ns - linger_ns
        lately = self._sessions.kept[0].last(2 * self._linger_rows)
        lately = picked(lately, lately["end_ns"] >= since_ns)
        missed = self._departed.joined(depart(before.rows, tx_rate, rx_rate, step.missing, table.now_ns))
        self._departed = lingering(missed, step.ids, lately, since_ns + 1, self._linger_rows)

    def _forget(self, sessions: Rows) -> None:
        """Sum up what falls out of the kept sessions, so that the grand total stays whole."""
        self._forgotten = self._forgotten + Summed.of(sessions, np.arange(len(sessions)))

    def _transitions_per_s(self) -> float:
        if len(self._pace) < 2:
            return math.nan
        (start_ns, before), (end_ns, after) = self._pace[0], self._pace[-1]
        if self._table[0].now_ns - end_ns >= _PACE_S * 1e9:  # what has happened since is not read yet
            return math.nan
        return (after - before) * 1e9 / max(1, end_ns - start_ns)

    @property
    def details(self) -> Rows:
        """``Facts.details`` of the present state."""
        return self._table[0].details

    def facts(self) -> Facts:
        """The present state; cheap, the arrays are shared and never written to again."""
        table, tx_rate, rx_rate = self._table
        # a table, or many transitions, may be taken in by another thread meanwhile
        (log, log_total), (kept, sessions_total) = self._log.kept, self._sessions.kept
        return Facts(
            now_ns=table.now_ns,
            utc_ns=table.utc_ns,
            first_ns=self._first_ns,
            cleared_ns=self._cleared_ns,
            outcomes=self._outcomes.outcomes,
            wall=self._wall,
            rows=table.rows,
            hists=table.hists,
            holders=table.holders,
            details=table.details,
            tx_rate=tx_rate,
            rx_rate=rx_rate,
            departed=self._departed,
            log=log,
            log_total=log_total,
            log_count=log_total - self._uncounted[0],
            kept=kept,
            sessions_total=sessions_total,
            sessions_count=sessions_total - self._uncounted[1],
            pings=self._pings.rows,
            pings_total=self._pings.total,
            pings_lost=self._pings_lost,
            names=self._names,
            live=self._live.total,
            ended=self._ended,
            forgotten_hist=self._forgotten.hist,
            forgotten_sum_us=self._forgotten.sum_us,
            forgotten_sessions=self._forgotten.connections,
            events_ns=table.events_ns,
            pulse=self._pulse.pulse(table.now_ns, table.events_ns or table.now_ns),
            heat=self._heat.heat,
            trends=self._trends.samples,
            alerts=self._alarms.alerts,
            board_before=self._board.before,
            transitions_per_s=self._transitions_per_s(),
            loss=self._loss,
            status=self._status,
        )
