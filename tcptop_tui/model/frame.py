"""A frame: a snapshot seen through view options. It is what the panels paint and what an export writes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import RowContext
from tcptop_tui.model.board import BOARD, make_board
from tcptop_tui.model.connect_list import Connects, make_connects
from tcptop_tui.model.ended_order import ended_order
from tcptop_tui.model.grouping import GroupTree, make_tree
from tcptop_tui.model.heat_map import HeatColumns, connection_fields
from tcptop_tui.model.rtt_groups import RttGroups, rtt_groups
from tcptop_tui.model.rtt_totals import RttTotals
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import sort_rows
from tcptop_tui.model.view_options import ViewOptions
from tcptop_tui.records import ROW, RTT_SLOTS, Mask, Rows, State
from tcptop_tui.row_copy import concat
from tcptop_tui.stream.identity import connection_key

__all__ = ["Frame", "RttSelection", "ViewOptions", "make_frame"]


@dataclass(frozen=True, slots=True, eq=False)
class RttSelection:
    """The RTT samples of the connections that match, of open and of ended ones."""

    hist: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(RTT_SLOTS, "<u8"))
    """Samples by bucket, shape (RTT_SLOTS,)."""
    sum_us: int = 0
    live_count: int = 0
    """Open connections that have samples."""
    ended_count: int = 0
    """Ended connections that have samples and are stored; without a filter all that have ever ended."""
    unfilterable_count: int = 0
    """Ended connections with samples that are stored only as a sum, so that a filter cannot choose from them."""
    heat_columns: HeatColumns = field(default_factory=lambda: np.zeros((RTT_SLOTS, 0), "<u8"))
    """Samples by bucket and step of ``heat_map.STEP_S``, newest last, shape (RTT_SLOTS, n)."""
    heat_unread: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Columns of ``heat_columns`` in whose time no table was read, so that nothing is known of them. Shape (n,)."""
    heat_complete_steps: int = 0
    """So many columns at the end are complete. For older ones the filter had only the stored samples to choose from."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Everything that one repaint needs. Immutable.

    A row number below ``len(snapshot.rows)`` is a row of the table. Larger ones number the rows of ``lingering``.
    """

    snapshot: Snapshot = field(default_factory=Snapshot)
    view_options: ViewOptions = field(default_factory=ViewOptions)
    lingering: Snapshot = field(default_factory=Snapshot)
    """Its rows are the lingering ones: connections that have ended within the last seconds."""
    lingering_since_ns: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """When each of ``lingering.rows`` ended, CLOCK_MONOTONIC."""
    row_order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Row numbers that match, in display order."""
    hidden_time_waits: int = 0
    """Rows in TIME_WAIT that match, but are not in ``row_order`` because the user has hidden TIME_WAIT."""
    log_order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Row numbers of ``snapshot.log`` that match, oldest first."""
    rtt: RttSelection = field(default_factory=RttSelection)
    tree: GroupTree | None = None
    """``row_order`` in groups; None while connections are not grouped."""
    connects: Connects = field(default_factory=Connects)
    """Only while view 2 is open."""
    ended_order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Row numbers of ``snapshot.ended_rows`` that match, in display order. Only while view 3 is open."""
    board: Rows = field(default_factory=lambda: np.zeros(0, BOARD))
    """Dtype BOARD, in display order. Only while view 6 is open."""
    rtt_groups: RttGroups | None = None
    """RTT samples by ``view_options.rtt_by``; None while view 4 is not open."""

    @property
    def live_order(self) -> NDArray[np.intp]:
        """``row_order`` without lingering rows: row numbers of ``snapshot.rows``."""
        return self.row_order[self.row_order < len(self.snapshot.rows)]

    @property
    def rows(self) -> Rows:
        """The connections that match, in display order, dtype ROW; a copy."""
        return self.snapshot.rows[self.live_order]

    def neighbor(self, row_id: int, step: int) -> Rows | None:
        """The connection ``step`` lines below one in the list, dtype ROW, shape (1,); None where the list ends."""
        if self.tree is None:
            row_numbers, ids = self.row_order, self.ids
        else:
            row_numbers, ids = self.tree.members, self.tree.rows["id"]
        lines = np.flatnonzero(ids[row_numbers] == row_id)
        if not len(lines) or not 0 <= lines[0] + step < len(row_numbers):
            return None
        number = int(row_numbers[lines[0] + step])
        return np.array([self.row(number)[0] if self.tree is None else self.tree.rows[number]], ROW)

    @property
    def ids(self) -> NDArray[np.uint64]:
        """Ids by row number."""
        return np.concatenate([self.snapshot.rows["id"], self.lingering.rows["id"]])

    def row(self, number: int) -> tuple[np.void, float, float]:
        """A row as the latest table that had it had it, dtype ROW, and its rates in bytes/s, sent and received."""
        lingering_index = number - len(self.snapshot.rows)
        snapshot, index = (self.lingering, lingering_index) if lingering_index >= 0 else (self.snapshot, number)
        return snapshot.rows[index], float(snapshot.tx_rate[index]), float(snapshot.rx_rate[index])

    def row_context(self, numbers: NDArray[np.intp]) -> RowContext:
        """Rows with these numbers; lingering ones have the state CLOSE since their end, and no rates."""
        is_live = numbers < len(self.snapshot.rows)
        live, lingering = numbers[is_live], numbers[~is_live] - len(self.snapshot.rows)
        rows, rates = np.zeros(len(numbers), ROW), np.full((2, len(numbers)), np.nan)
        rows[is_live], rows[~is_live] = self.snapshot.rows[live], self.lingering.rows[lingering]
        rates[0, is_live], rates[1, is_live] = self.snapshot.tx_rate[live], self.snapshot.rx_rate[live]
        rows["state"][~is_live], rows["state_ns"][~is_live] = State.CLOSE, self.lingering_since_ns[lingering]
        return replace(self.snapshot.row_context, rows=rows, tx_rate=rates[0], rx_rate=rates[1])

    def ended_ns(self, number: int) -> int:
        """When the connection of a lingering row ended; 0 for rows of the table."""
        lingering_index = number - len(self.snapshot.rows)
        is_lingering = 0 <= lingering_index < len(self.lingering_since_ns)
        return int(self.lingering_since_ns[lingering_index]) if is_lingering else 0

    @property
    def snapshot_with_lingering(self) -> Snapshot:
        """``snapshot`` with the lingering rows behind its own: a copy of all rows, where there are any."""
        if not len(self.lingering.rows):
            return self.snapshot
        return replace(
            self.snapshot,
            rows=concat(ROW, self.snapshot.rows, self.lingering.rows),
            tx_rate=np.concatenate([self.snapshot.tx_rate, self.lingering.tx_rate]),
            rx_rate=np.concatenate([self.snapshot.rx_rate, self.lingering.rx_rate]),
        )


def make_frame(snapshot: Snapshot, view_options: ViewOptions) -> Frame:
    """Filter, sort and sum up. A pure function: it runs in the event loop or in a thread."""
    ended_lately = snapshot.lingering.subset(snapshot.lingering.is_ended)
    lingering = Snapshot(
        now_ns=snapshot.now_ns, rows=ended_lately.rows, tx_rate=ended_lately.tx_rate, rx_rate=ended_lately.rx_rate,
        names=snapshot.names,
    )  # fmt: skip
    matches = view_options.matches(snapshot.row_context)
    lingering_matches = view_options.matches(lingering.row_context)
    ended_matches = _match_ended(snapshot, view_options)
    is_listed = matches if view_options.show_time_wait else matches & (snapshot.rows["state"] != State.TIME_WAIT)
    row_numbers = np.flatnonzero(np.concatenate([is_listed, lingering_matches]))
    frame = Frame(
        snapshot,
        view_options,
        lingering,
        ended_lately.missing_since_ns,
        sort_rows((snapshot, lingering), row_numbers, view_options.orders["connections"]),
        int(np.count_nonzero(matches)) - int(np.count_nonzero(is_listed)),
        np.flatnonzero(view_options.matches(snapshot.context_of(snapshot.log))),
        _select_rtt(snapshot, matches, ended_matches, filtered=view_options.is_filtered),
    )
    return _with_open_view(frame, matches, ended_matches)


def _match_ended(snapshot: Snapshot, view_options: ViewOptions) -> Mask:
    """Which ended connections match; empty where nothing in the frame depends on it."""
    is_used = view_options.is_filtered or view_options.rtt_by or view_options.view == "sessions"
    if is_used or snapshot.ended_rtt is None:
        return view_options.matches(snapshot.context_of(snapshot.ended_rows))
    return np.zeros(0, np.bool_)


def _with_open_view(frame: Frame, matches: Mask, ended_matches: Mask) -> Frame:
    """Add what only the open view shows."""
    snapshot, view_options = frame.snapshot, frame.view_options
    if view_options.rtt_by:
        groups = rtt_groups(snapshot, view_options.rtt_by, matches, ended_matches, filtered=view_options.is_filtered)
        frame = replace(frame, rtt_groups=groups)
    if view_options.view == "connections" and view_options.group:
        tree = make_tree(
            frame.snapshot_with_lingering, frame.row_order, view_options.group, view_options.folded, view_options.order
        )
        return replace(frame, tree=tree)
    if view_options.view == "connects":
        connects = make_connects(snapshot, view_options.matches, view_options.order, filtered=view_options.is_filtered)
        return replace(frame, connects=connects)
    if view_options.view == "board":
        return replace(frame, board=make_board(snapshot, matches, view_options.order))
    if view_options.view == "sessions":
        return replace(frame, ended_order=ended_order(snapshot, ended_matches, view_options.order))
    return frame


def _select_rtt(snapshot: Snapshot, matches: Mask, ended_matches: Mask, *, filtered: bool) -> RttSelection:
    """Sum up the samples of the rows that match; without a filter the store has the sums already."""
    heat_map = snapshot.heat_map
    if not filtered:
        live = snapshot.live_rtt or RttTotals.from_rows(snapshot.rows, np.flatnonzero(matches), snapshot.hists)
        ended = snapshot.ended_rtt or _all_ended_rtt(snapshot, ended_matches)
        total = live + ended
        return RttSelection(
            total.hist, total.sum_us, live.connections, ended.connections,
            heat_columns=heat_map.columns, heat_unread=heat_map.unread_steps,
            heat_complete_steps=heat_map.columns.shape[1],
        )  # fmt: skip
    row_numbers, ended_numbers = np.flatnonzero(matches), np.flatnonzero(ended_matches)
    live = RttTotals.from_rows(snapshot.rows, row_numbers, snapshot.hists)
    ended = RttTotals.from_rows(snapshot.ended_rows, ended_numbers)
    total = live + ended
    keys = [
        connection_key(connection_fields(snapshot.rows, row_numbers)),
        connection_key(connection_fields(snapshot.ended_rows, ended_numbers)),
    ]
    return RttSelection(
        total.hist, total.sum_us, live.connections, ended.connections, snapshot.dropped_ended,
        heat_map.columns_of(np.concatenate(keys)), heat_map.unread_steps, heat_map.complete_steps,
    )  # fmt: skip


def _all_ended_rtt(snapshot: Snapshot, ended_matches: Mask) -> RttTotals:
    """Samples of the stored ended connections and of those that are stored only as a sum."""
    dropped = RttTotals(snapshot.dropped_rtt_hist, snapshot.dropped_rtt_sum_us, snapshot.dropped_ended)
    return RttTotals.from_rows(snapshot.ended_rows, np.flatnonzero(ended_matches)) + dropped
