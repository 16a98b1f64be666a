"""Facts as one filter and one sort order show them: what the panels paint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.config.schema import RttUnit
from tcptop_tui.fields import RowContext
from tcptop_tui.filters import MATCH_ALL, Filter
from tcptop_tui.model.board import BOARD, BY_STUCK, make_board
from tcptop_tui.model.connect_list import Connects, make_connects
from tcptop_tui.model.ended_order import ended_order
from tcptop_tui.model.grouping import GroupTree, make_tree
from tcptop_tui.model.heat_map import HeatColumns, connection_fields
from tcptop_tui.model.rtt_groups import RttGroups, rtt_groups
from tcptop_tui.model.rtt_totals import RttTotals
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import DEFAULT_SORT, sort_rows
from tcptop_tui.records import ROW, RTT_SLOTS, Mask, Rows, State
from tcptop_tui.row_copy import concat
from tcptop_tui.stream.identity import connection_key


@dataclass(frozen=True, slots=True)
class SortOrder:
    """By which column a list is sorted."""

    key: str = "time"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """How the user wants to see it."""

    filter: Filter = MATCH_ALL
    hide_filter: Filter | None = None
    """What is not shown besides; None: nothing."""
    sort: str = DEFAULT_SORT
    descending: bool = True
    view: str = "connections"
    """Which view is open; what only another one shows is not made."""
    group: str = ""
    """What connections are grouped by (grouping.GROUPINGS); empty: nothing."""
    folded: frozenset[int] = frozenset()
    """Groups that are folded."""
    connects: SortOrder = SortOrder()
    ended: SortOrder = SortOrder()
    board: SortOrder = SortOrder(BY_STUCK)
    rtt_by: str = ""
    """What round-trip times are grouped by, while somebody looks at the groups; empty: nobody does."""
    names: bool = False
    """Host and service names instead of numbers, where they are known."""
    rtt_unit: RttUnit = "auto"
    show_time_wait: bool = True
    """Connections in TIME_WAIT are in the list; else only their number is told."""
    capture_note: str = ""
    """What the capture filter was pinned to, and what of it stays in user space; in words."""

    @property
    def is_filtered(self) -> bool:
        """Whether something may be left out."""
        return bool(self.filter.text) or self.hide_filter is not None

    @property
    def keys(self) -> frozenset[str]:
        """Of the fields that rows are chosen and ordered by."""
        hidden = frozenset[str]() if self.hide_filter is None else self.hide_filter.keys
        return self.filter.keys | hidden | ({self.sort} if self.view == "connections" else set())

    def mask(self, context: RowContext) -> Mask:
        """Which rows are to be seen."""
        matches = self.filter.matches(context)
        return matches if self.hide_filter is None else matches & ~self.hide_filter.matches(context)


@dataclass(frozen=True, slots=True, eq=False)
class RttSelection:
    """The round-trip times of the connections that match, live and ended."""

    hist: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(RTT_SLOTS, "<u8"))
    sum_us: int = 0
    live_count: int = 0
    """Connections with samples that still exist."""
    ended_count: int = 0
    """Ended ones with samples that are still kept; with no filter the forgotten ones too."""
    dropped: int = 0
    """Ended ones that are kept only as a sum, so that a filter cannot choose from them."""
    heat_columns: HeatColumns = field(default_factory=lambda: np.zeros((RTT_SLOTS, 0), "<u8"))
    """Samples by slot and step of ``heat_map.STEP_S``, newest last, shape (RTT_SLOTS, n)."""
    heat_unread: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Columns of ``heat`` of which nothing is known, since nobody read anything then."""
    heat_complete_steps: int = 0
    """The last so many steps are complete: of older ones a filter can only choose from what is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Immutable; everything that one repaint needs."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    view_options: ViewOptions = field(default_factory=ViewOptions)
    lingering: Snapshot = field(default_factory=Snapshot)
    """Only the connections that have just ended; their row numbers follow those of ``facts.rows``."""
    lingering_since_ns: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """When, beside ``lingering.rows``."""
    row_order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Row numbers of those that match, in display order."""
    hidden_time_waits: int = 0
    """Connections in TIME_WAIT that match and are not in ``order``, since nobody wants them there."""
    log: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Rows of ``facts.log`` that match, oldest first."""
    rtt: RttSelection = field(default_factory=RttSelection)
    tree: GroupTree | None = None
    """``order`` in groups, while they are asked for."""
    connects: Connects = field(default_factory=Connects)
    """Made while its view is open."""
    ended_order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Rows of ``facts.ended_rows`` that match, in display order, while their view is open."""
    board: Rows = field(default_factory=lambda: np.zeros(0, BOARD))
    """Dtype BOARD, while its view is open."""
    rtt_groups: RttGroups | None = None
    """The round-trip times by ``look.rtt_by``; None while nobody looks at them."""

    @property
    def live_order(self) -> NDArray[np.intp]:
        """``order`` without those that have ended: rows of ``facts.rows``."""
        return self.row_order[self.row_order < len(self.snapshot.rows)]

    @property
    def rows(self) -> Rows:
        """The connections that match, in display order (a copy), dtype ROW."""
        return self.snapshot.rows[self.live_order]

    def neighbour(self, row_id: int, step: int) -> Rows | None:
        """The connection so many lines below one in the list, dtype ROW, shape (1,); None: there is none."""
        if self.tree is None:
            numbers, ids = self.row_order, self.ids
        else:
            numbers, ids = self.tree.members, self.tree.rows["id"]
        place = np.flatnonzero(ids[numbers] == row_id)
        if not len(place) or not 0 <= place[0] + step < len(numbers):
            return None
        number = int(numbers[place[0] + step])
        return np.array([self.row(number)[0] if self.tree is None else self.tree.rows[number]], ROW)

    @property
    def ids(self) -> NDArray[np.uint64]:
        """By row number."""
        return np.concatenate([self.snapshot.rows["id"], self.lingering.rows["id"]])

    def row(self, number: int) -> tuple[np.void, float, float]:
        """A row as it was seen last, dtype ROW, and its rates in bytes/s."""
        place = number - len(self.snapshot.rows)
        source, place = (self.lingering, place) if place >= 0 else (self.snapshot, number)
        return source.rows[place], float(source.tx_rate[place]), float(source.rx_rate[place])

    def row_context(self, numbers: NDArray[np.intp]) -> RowContext:
        """Rows as they were seen last; of those that have ended in CLOSE since then, without rates."""
        here = numbers < len(self.snapshot.rows)
        places, left = numbers[here], numbers[~here] - len(self.snapshot.rows)
        rows, rates = np.zeros(len(numbers), ROW), np.full((2, len(numbers)), np.nan)
        rows[here], rows[~here] = self.snapshot.rows[places], self.lingering.rows[left]
        rates[0, here], rates[1, here] = self.snapshot.tx_rate[places], self.snapshot.rx_rate[places]
        rows["state"][~here], rows["state_ns"][~here] = State.CLOSE, self.lingering_since_ns[left]
        return replace(self.snapshot.row_context, rows=rows, tx_rate=rates[0], rx_rate=rates[1])

    def ended_ns(self, number: int) -> int:
        """When a connection ended; 0: it has not."""
        place = number - len(self.snapshot.rows)
        return int(self.lingering_since_ns[place]) if 0 <= place < len(self.lingering_since_ns) else 0

    @property
    def all_rows(self) -> Snapshot:
        """``facts`` with the rows of ``gone`` behind; a copy, and not a cheap one."""
        if not len(self.lingering.rows):
            return self.snapshot
        return replace(
            self.snapshot,
            rows=concat(ROW, self.snapshot.rows, self.lingering.rows),
            tx_rate=np.concatenate([self.snapshot.tx_rate, self.lingering.tx_rate]),
            rx_rate=np.concatenate([self.snapshot.rx_rate, self.lingering.rx_rate]),
        )


def make_frame(facts: Snapshot, look: ViewOptions) -> Frame:
    """Filter, sort and sum. Pure, so that it can run in any thread."""
    left = facts.lingering.subset(facts.lingering.is_ended)
    gone = Snapshot(now_ns=facts.now_ns, rows=left.rows, tx_rate=left.tx_rate, rx_rate=left.rx_rate, names=facts.names)
    matches, gone_matches = (look.mask(part.row_context) for part in (facts, gone))
    filtered = look.is_filtered
    ended = _matching_ended(facts, look, filtered=filtered)
    listed = matches if look.show_time_wait else matches & (facts.rows["state"] != State.TIME_WAIT)
    chosen = np.flatnonzero(np.concatenate([listed, gone_matches]))
    frame = Frame(
        facts,
        look,
        gone,
        left.missing_since_ns,
        sort_rows((facts, gone), chosen, look.sort, descending=look.descending),
        int(np.count_nonzero(matches)) - int(np.count_nonzero(listed)),
        np.flatnonzero(look.mask(facts.context_of(facts.log))),
        _round_trips(facts, matches, ended, filtered=filtered),
        rtt_groups=rtt_groups(facts, look.rtt_by, matches, ended, filtered=filtered) if look.rtt_by else None,
    )
    return _with_open_view(frame, matches, ended)


def _matching_ended(facts: Snapshot, look: ViewOptions, *, filtered: bool) -> Mask:
    """Which ended connections are to be seen; none where nothing that is made depends on it."""
    if filtered or look.rtt_by or look.view == "sessions" or facts.ended_rtt is None:
        return look.mask(facts.context_of(facts.ended_rows))
    return np.zeros(0, np.bool_)


def _with_open_view(frame: Frame, matches: Mask, ended: Mask) -> Frame:
    """What only the view that is open shows."""
    facts, look = frame.snapshot, frame.view_options
    if look.view == "connections" and look.group:
        tree = make_tree(
            frame.all_rows, frame.row_order, look.group, look.folded, look.sort, descending=look.descending
        )
        return replace(frame, tree=tree)
    if look.view == "connects":
        by = look.connects
        made = make_connects(facts, look.mask, by.key, descending=by.descending, filtered=look.is_filtered)
        return replace(frame, connects=made)
    if look.view == "board":
        return replace(frame, board=make_board(facts, matches, look.board.key, descending=look.board.descending))
    if look.view == "sessions":
        order = ended_order(facts, ended, look.ended.key, descending=look.ended.descending)
        return replace(frame, ended_order=order)
    return frame


def _round_trips(facts: Snapshot, matches: Mask, ended: Mask, *, filtered: bool) -> RttSelection:
    if not filtered:
        live = facts.live_rtt or RttTotals.from_rows(facts.rows, np.flatnonzero(matches), facts.hists)
        older = RttTotals(facts.dropped_rtt_hist, facts.dropped_rtt_sum_us, facts.dropped_ended)
        gone = facts.ended_rtt or RttTotals.from_rows(facts.ended_rows, np.flatnonzero(ended)) + older
        both, heat = live + gone, facts.heat_map.columns
        return RttSelection(
            both.hist,
            both.sum_us,
            live.connections,
            gone.connections,
            heat_columns=heat,
            heat_unread=facts.heat_map.unread_steps,
            heat_complete_steps=heat.shape[1],
        )
    places, ended_places = np.flatnonzero(matches), np.flatnonzero(ended)
    live, gone = (
        RttTotals.from_rows(facts.rows, places, facts.hists),
        RttTotals.from_rows(facts.ended_rows, ended_places),
    )
    both = live + gone
    lives = np.concatenate(
        [
            connection_key(connection_fields(facts.rows, places)),
            connection_key(connection_fields(facts.ended_rows, ended_places)),
        ]
    )
    return RttSelection(
        both.hist, both.sum_us, live.connections, gone.connections, facts.dropped_ended,
        facts.heat_map.columns_of(lives), facts.heat_map.unread_steps, facts.heat_map.complete_steps,
    )  # fmt: skip
