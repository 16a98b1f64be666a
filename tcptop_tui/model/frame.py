"""Facts as one filter and one sort order show them: what the panels paint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.config.schema import RttUnit
from tcptop_tui.fields import Subject
from tcptop_tui.filters import MATCH_ALL, Filter
from tcptop_tui.model.board import BOARD, BY_STUCK, board
from tcptop_tui.model.connect_list import Connects, connects
from tcptop_tui.model.ended_order import ended_order
from tcptop_tui.model.facts import Facts
from tcptop_tui.model.grouping import Tree, make_tree
from tcptop_tui.model.heat import Columns, slim
from tcptop_tui.model.rtt_groups import RttGroups, rtt_groups
from tcptop_tui.model.rtt_totals import Summed
from tcptop_tui.model.sorting import DEFAULT_SORT, ordered
from tcptop_tui.records import ROW, RTT_SLOTS, Mask, Rows, State, joined
from tcptop_tui.stream.identity import life


@dataclass(frozen=True, slots=True)
class Order:
    """By which column a list is sorted."""

    key: str = "time"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """How the user wants to see it."""

    filter: Filter = MATCH_ALL
    hidden: Filter | None = None
    """What is not shown besides; None: nothing."""
    sort: str = DEFAULT_SORT
    descending: bool = True
    view: str = "connections"
    """Which view is open; what only another one shows is not made."""
    group: str = ""
    """What connections are grouped by (grouping.GROUPINGS); empty: nothing."""
    folded: frozenset[int] = frozenset()
    """Groups that are folded."""
    connects: Order = Order()
    sessions: Order = Order()
    board: Order = Order(BY_STUCK)
    rtt_by: str = ""
    """What round-trip times are grouped by, while somebody looks at the groups; empty: nobody does."""
    names: bool = False
    """Host and service names instead of numbers, where they are known."""
    rtt_unit: RttUnit = "auto"
    time_wait: bool = True
    """Connections in TIME_WAIT are in the list; else only their number is told."""
    pinned: str = ""
    """What the capture filter was pinned to, and what of it stays in user space; in words."""

    @property
    def filtered(self) -> bool:
        """Whether something may be left out."""
        return bool(self.filter.text) or self.hidden is not None

    @property
    def keys(self) -> frozenset[str]:
        """Of the fields that rows are chosen and ordered by."""
        hidden = frozenset[str]() if self.hidden is None else self.hidden.keys
        return self.filter.keys | hidden | ({self.sort} if self.view == "connections" else set())

    def wants(self, subject: Subject) -> Mask:
        """Which rows are to be seen."""
        matches = self.filter.matches(subject)
        return matches if self.hidden is None else matches & ~self.hidden.matches(subject)


@dataclass(frozen=True, slots=True, eq=False)
class Rtt:
    """The round-trip times of the connections that match, live and ended."""

    hist: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(RTT_SLOTS, "<u8"))
    sum_us: int = 0
    live: int = 0
    """Connections with samples that still exist."""
    ended: int = 0
    """Ended ones with samples that are still kept; with no filter the forgotten ones too."""
    unfilterable: int = 0
    """Ended ones that are kept only as a sum, so that a filter cannot choose from them."""
    heat: Columns = field(default_factory=lambda: np.zeros((RTT_SLOTS, 0), "<u8"))
    """Samples by slot and step of ``heat.STEP_S``, newest last, shape (RTT_SLOTS, n)."""
    heat_unread: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Columns of ``heat`` of which nothing is known, since nobody read anything then."""
    heat_whole: int = 0
    """The last so many steps are complete: of older ones a filter can only choose from what is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Immutable; everything that one repaint needs."""

    facts: Facts = field(default_factory=Facts)
    look: Look = field(default_factory=Look)
    gone: Facts = field(default_factory=Facts)
    """Only the connections that have just ended; their row numbers follow those of ``facts.rows``."""
    gone_at_ns: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """When, beside ``gone.rows``."""
    order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Row numbers of those that match, in display order."""
    time_waits: int = 0
    """Connections in TIME_WAIT that match and are not in ``order``, since nobody wants them there."""
    log: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Rows of ``facts.log`` that match, oldest first."""
    rtt: Rtt = field(default_factory=Rtt)
    tree: Tree | None = None
    """``order`` in groups, while they are asked for."""
    connects: Connects = field(default_factory=Connects)
    """Made while its view is open."""
    ended: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Rows of ``facts.sessions`` that match, in display order, while their view is open."""
    board: Rows = field(default_factory=lambda: np.zeros(0, BOARD))
    """Dtype BOARD, while its view is open."""
    groups: RttGroups | None = None
    """The round-trip times by ``look.rtt_by``; None while nobody looks at them."""

    @property
    def present(self) -> NDArray[np.intp]:
        """``order`` without those that have ended: rows of ``facts.rows``."""
        return self.order[self.order < len(self.facts.rows)]

    @property
    def rows(self) -> Rows:
        """The connections that match, in display order (a copy), dtype ROW."""
        return self.facts.rows[self.present]

    def neighbour(self, row_id: int, step: int) -> Rows | None:
        """The connection so many lines below one in the list, dtype ROW, shape (1,); None: there is none."""
        if self.tree is None:
            numbers, ids = self.order, self.ids
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
        return np.concatenate([self.facts.rows["id"], self.gone.rows["id"]])

    def row(self, number: int) -> tuple[np.void, float, float]:
        """A row as it was seen last, dtype ROW, and its rates in bytes/s."""
        place = number - len(self.facts.rows)
        source, place = (self.gone, place) if place >= 0 else (self.facts, number)
        return source.rows[place], float(source.tx_rate[place]), float(source.rx_rate[place])

    def take(self, numbers: NDArray[np.intp]) -> Subject:
        """Rows as they were seen last; of those that have ended in CLOSE since then, without rates."""
        here = numbers < len(self.facts.rows)
        places, left = numbers[here], numbers[~here] - len(self.facts.rows)
        rows, rates = np.zeros(len(numbers), ROW), np.full((2, len(numbers)), np.nan)
        rows[here], rows[~here] = self.facts.rows[places], self.gone.rows[left]
        rates[0, here], rates[1, here] = self.facts.tx_rate[places], self.facts.rx_rate[places]
        rows["state"][~here], rows["state_ns"][~here] = State.CLOSE, self.gone_at_ns[left]
        return replace(self.facts.subject, rows=rows, tx_rate=rates[0], rx_rate=rates[1])

    def gone_ns(self, number: int) -> int:
        """When a connection ended; 0: it has not."""
        place = number - len(self.facts.rows)
        return int(self.gone_at_ns[place]) if 0 <= place < len(self.gone_at_ns) else 0

    @property
    def listed(self) -> Facts:
        """``facts`` with the rows of ``gone`` behind; a copy, and not a cheap one."""
        if not len(self.gone.rows):
            return self.facts
        return replace(
            self.facts,
            rows=joined(ROW, self.facts.rows, self.gone.rows),
            tx_rate=np.concatenate([self.facts.tx_rate, self.gone.tx_rate]),
            rx_rate=np.concatenate([self.facts.rx_rate, self.gone.rx_rate]),
        )


def make_frame(facts: Facts, look: Look) -> Frame:
    """Filter, sort and sum. Pure, so that it can run in any thread."""
    left = facts.departed.chosen(facts.departed.ended)
    gone = Facts(now_ns=facts.now_ns, rows=left.rows, tx_rate=left.tx_rate, rx_rate=left.rx_rate, names=facts.names)
    matches, gone_matches = (look.wants(part.subject) for part in (facts, gone))
    filtered = look.filtered
    ended = _wanted_sessions(facts, look, filtered=filtered)
    listed = matches if look.time_wait else matches & (facts.rows["state"] != State.TIME_WAIT)
    chosen = np.flatnonzero(np.concatenate([listed, gone_matches]))
    frame = Frame(
        facts,
        look,
        gone,
        left.gone_ns,
        ordered((facts, gone), chosen, look.sort, descending=look.descending),
        int(np.count_nonzero(matches)) - int(np.count_nonzero(listed)),
        np.flatnonzero(look.wants(facts.about(facts.log))),
        _round_trips(facts, matches, ended, filtered=filtered),
        groups=rtt_groups(facts, look.rtt_by, matches, ended, filtered=filtered) if look.rtt_by else None,
    )
    return _with_view(frame, matches, ended)


def _wanted_sessions(facts: Facts, look: Look, *, filtered: bool) -> Mask:
    """Which ended connections are to be seen; none where nothing that is made depends on it."""
    if filtered or look.rtt_by or look.view == "sessions" or facts.ended is None:
        return look.wants(facts.about(facts.sessions))
    return np.zeros(0, np.bool_)


def _with_view(frame: Frame, matches: Mask, ended: Mask) -> Frame:
    """What only the view that is open shows."""
    facts, look = frame.facts, frame.look
    if look.view == "connections" and look.group:
        tree = make_tree(frame.listed, frame.order, look.group, look.folded, look.sort, descending=look.descending)
        return replace(frame, tree=tree)
    if look.view == "connects":
        by = look.connects
        made = connects(facts, look.wants, by.key, descending=by.descending, filtered=look.filtered)
        return replace(frame, connects=made)
    if look.view == "board":
        return replace(frame, board=board(facts, matches, look.board.key, descending=look.board.descending))
    if look.view == "sessions":
        order = ended_order(facts, ended, look.sessions.key, descending=look.sessions.descending)
        return replace(frame, ended=order)
    return frame


def _round_trips(facts: Facts, matches: Mask, ended: Mask, *, filtered: bool) -> Rtt:
    if not filtered:
        live = facts.live or Summed.of(facts.rows, np.flatnonzero(matches), facts.hists)
        older = Summed(facts.forgotten_hist, facts.forgotten_sum_us, facts.forgotten_sessions)
        gone = facts.ended or Summed.of(facts.sessions, np.flatnonzero(ended)) + older
        both, heat = live + gone, facts.heat.columns
        return Rtt(
            both.hist,
            both.sum_us,
            live.connections,
            gone.connections,
            heat=heat,
            heat_unread=facts.heat.unread,
            heat_whole=heat.shape[1],
        )
    places, ended_places = np.flatnonzero(matches), np.flatnonzero(ended)
    live, gone = Summed.of(facts.rows, places, facts.hists), Summed.of(facts.sessions, ended_places)
    both = live + gone
    lives = np.concatenate([life(slim(facts.rows, places)), life(slim(facts.sessions, ended_places))])
    return Rtt(
        both.hist, both.sum_us, live.connections, gone.connections, facts.forgotten_sessions,
        facts.heat.chosen(lives), facts.heat.unread, facts.heat.whole,
    )  # fmt: skip
