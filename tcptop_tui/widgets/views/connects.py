"""View 2: what came of each connect(), and counts by destination."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message

from tcptop_tui import formats
from tcptop_tui.close_reasons import Reason
from tcptop_tui.fields.results import CONNECTED, UNSENT, WAITING
from tcptop_tui.filters import Filter, Subject
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import UNKNOWN_NS, Mask
from tcptop_tui.widgets.lists.columns import BY_KEY, Cell, Column
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.lists.sheet import Sheet
from tcptop_tui.widgets.panels.panel import counted, instead

_CLASSES = {"table--header", "table--sorted", "table--cursor", "table--failed", "table--waiting"}


def _time(cell: Cell) -> str:
    return formats.clock(cell.wall.utc_ns(int(cell.row["ts_ns"])))[:-4]


def _latency(cell: Cell) -> str:
    spent_ns = int(cell.row["spent_ns"])
    return formats.UNKNOWN if spent_ns == UNKNOWN_NS else formats.duration_ns(spent_ns)


def _average(cell: Cell) -> str:
    avg_ns = float(cell.row["avg_ns"])
    return formats.UNKNOWN if math.isnan(avg_ns) else formats.duration_ns(round(avg_ns))


def connects_title(frame: Frame) -> str:
    """``Connects 312, failed 4 since 15:42``; with a filter, which chooses from what is kept, each of its span."""
    made, facts = frame.connects, frame.facts
    connects, failed = counted(facts, made.connects), counted(facts, made.failed)
    if not facts.begun or made.since_ns == made.succeeded_since_ns:
        return f"Connects {connects}, failed {failed}{_spans(frame)}"
    return f"Connects {connects} {facts.span(made.succeeded_since_ns)}, failed {failed} {facts.span(made.since_ns)}"


def connects_note(frame: Frame) -> str:
    """Where the list is shorter than the counts: from when on it has all."""
    made, facts = frame.connects, frame.facts
    if made.listed_since_ns <= made.succeeded_since_ns and made.failed_since_ns <= made.since_ns:
        return ""
    listed = f"connected {facts.span(made.listed_since_ns)}"
    failed = f", failed {facts.span(made.failed_since_ns)}" if made.failed_since_ns > made.since_ns else ""
    return f"listed: {listed}{failed}"


def _spans(frame: Frame) -> str:
    """Of which time the counts are."""
    made, facts = frame.connects, frame.facts
    if not facts.begun:
        return ""
    if made.since_ns == made.succeeded_since_ns:
        return f" {facts.span(made.since_ns)}"
    return f", connected {facts.span(made.succeeded_since_ns)}, failed {facts.span(made.since_ns)}"


class ConnectsTable(Listing):
    """Shows ``Frame.connects``."""

    VIEW = 1
    HELP = "What came of each connect() that has sent a SYN, latest first; trace connect has the others."
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("time", "TIME", 8, _time, rank=4, right=False, moves=True),
        BY_KEY["pid"],
        BY_KEY["comm"],
        BY_KEY["laddr"],
        replace(BY_KEY["lport"], rank=7),
        BY_KEY["raddr"],
        replace(BY_KEY["rport"], rank=1),  # whom it was to, also where there is little room
        Column("ms", "LATENCY", 7, _latency, rank=2),
        Column("result", "RESULT", 12, lambda cell: cell.result, rank=1, right=False, stretch=8),
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = _CLASSES
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    class Opened(Message):
        """The user wants to see what became of a connect(): one of dtype TRANSITION."""

        def __init__(self, outcome: np.void) -> None:
            self.outcome = outcome
            super().__init__()

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts
        self._frame = Frame()

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self._frame = frame
        made, order = frame.connects, frame.look.connects
        self.retitle(connects_title(frame), connects_note(frame))
        which = " that matches the filter" if frame.look.filter.text else ""
        told = instead(frame.facts, f"no connect(){which} since {frame.facts.since}")
        self.show_sheet(
            Sheet(made.order, made.ids, self._cell, order.key, order.descending, told, frame.look, self._matches)
        )

    def _matches(self, wanted: Filter) -> Mask:
        facts = self._frame.facts
        return wanted.matches(Subject(self._frame.connects.rows, facts.now_ns, None, None, facts.names))

    def _cell(self, row: int) -> Cell:
        facts, made = self._frame.facts, self._frame.connects
        hosts = self._hosts if self._frame.look.names else None
        result = made.result(row) or formats.UNKNOWN
        return Cell(made.rows[row], facts.now_ns, names=facts.names, wall=facts.wall, result=result, hosts=hosts)

    def cell_style(self, row: int, key: str) -> Style | None:
        """Failures and what waits stand out."""
        code = int(self._frame.connects.results[row])
        if key != "result" or code in {CONNECTED, Reason.NONE}:
            return None
        waits = code in {WAITING, UNSENT}
        return self.get_component_rich_style("table--waiting" if waits else "table--failed", partial=True)

    def action_open(self) -> None:
        """Open the connection that it was for."""
        if self.selected_row is not None:
            self.post_message(self.Opened(self._frame.connects.rows[self.selected_row]))


class Destinations(Listing):
    """Shows ``Frame.connects.destinations``."""

    HELP = "Connects by destination, most failures first."
    PINNED = "raddr"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        BY_KEY["raddr"],
        BY_KEY["rport"],
        Column("connects", "CONNECTS", 8, lambda cell: str(cell.row["connects"]), rank=1),
        Column("failed", "FAILED", 6, lambda cell: str(cell.row["failed"]), rank=0),
        Column("waiting", "WAIT", 5, lambda cell: str(cell.row["waiting"]), rank=5),
        Column("avg", "AVG", 7, _average, rank=6),
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = _CLASSES
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Show them")]

    class Opened(Message):
        """The user wants to see the connections of a destination."""

        def __init__(self, wanted: str) -> None:
            self.filter = wanted
            super().__init__()

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts
        self._frame = Frame()

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self._frame = frame
        rows = frame.connects.destinations
        beyond = f", {formats.count(frame.connects.beyond)} to others" if frame.connects.beyond else ""
        self.retitle(f"By destination {counted(frame.facts, len(rows))}{beyond}{_spans(frame)}")
        numbers = np.arange(len(rows))
        self.show_sheet(Sheet(numbers, numbers.astype(np.uint64), self._cell, look=frame.look))

    def _cell(self, row: int) -> Cell:
        hosts = self._hosts if self._frame.look.names else None
        facts = self._frame.facts
        return Cell(self._frame.connects.destinations[row], facts.now_ns, names=facts.names, hosts=hosts)

    def cell_style(self, row: int, key: str) -> Style | None:
        """Failures stand out."""
        failed = key == "failed" and self._frame.connects.destinations["failed"][row]
        return self.get_component_rich_style("table--failed", partial=True) if failed else None

    def action_open(self) -> None:
        """Show the connections with the destination under the cursor."""
        if self.selected_row is not None:
            self.post_message(self.Opened(destination_filter(self._frame.connects.destinations[self.selected_row])))


def destination_filter(row: np.void) -> str:
    """The filter that shows what went to where ``row`` (it has raddr and rport) went."""
    address = formats.peer((int(row["raddr"][0]), int(row["raddr"][1])), int(row["dev"]))
    return f"raddr:{address} rport:{int(row['rport'])}"


class ConnectsView(Horizontal):
    """Both, side by side where there is room."""

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts

    def compose(self) -> ComposeResult:
        """The list, and the counts."""
        yield ConnectsTable(self._hosts, id="connects-list")
        yield Destinations(self._hosts, id="destinations")

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self.query_one(ConnectsTable).show(frame)
        self.query_one(Destinations).show(frame)
