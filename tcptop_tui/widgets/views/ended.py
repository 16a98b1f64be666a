"""View 3: the connections that have ended, as tcplife lists them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui import formats
from tcptop_tui.close_reasons import Reason, reason_text, reasons
from tcptop_tui.filters import Filter, Subject
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import Mask
from tcptop_tui.widgets.lists.columns import BY_KEY, Cell, Column, titled
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.lists.sheet import Sheet
from tcptop_tui.widgets.panels.panel import counted, instead

_FAILURES = frozenset(Reason) - {Reason.NONE, Reason.FIN_BY_US, Reason.FIN_BY_PEER}


def _ended(cell: Cell) -> str:
    return formats.clock(cell.wall.utc_ns(int(cell.row["end_ns"])))[:-4]


def _lived(cell: Cell) -> str:
    born_ns = int(cell.row["born_ns"])
    return formats.duration_ns(int(cell.row["end_ns"]) - born_ns) if born_ns else formats.UNKNOWN


def _rtt(cell: Cell) -> str:
    count = int(cell.row["rtt_hist"].sum())
    return formats.rtt_us(int(cell.row["rtt_sum_us"]) / count, cell.rtt_unit) if count else formats.UNKNOWN


class SessionsTable(Listing):
    """Shows ``Frame.ended``."""

    VIEW = 2
    HELP = "Every connection that has ended, with bytes, duration and the reason."
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("time", "ENDED", 8, _ended, rank=4, right=False, moves=True),
        *(BY_KEY[key] for key in ("pid", "comm", "laddr", "lport", "raddr", "rport", "tx_bytes", "rx_bytes")),
        Column("lived", "LIVED", 7, _lived, rank=2),
        Column("rtt", "RTT", 6, _rtt, rank=9),
        BY_KEY["retrans"],
        Column("why", "WHY", 12, lambda cell: cell.result, rank=1, right=False, stretch=8),
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--sorted", "table--cursor", "table--failed"}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    class Opened(Message):
        """The user wants to see one of them: a row of ``Facts.sessions``."""

        def __init__(self, row: int) -> None:
            self.row = row
            super().__init__()

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts
        self._frame = Frame()
        self._codes = reasons(self._frame.facts.sessions)

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self._frame = frame
        facts, order = frame.facts, frame.look.sessions
        self._codes = reasons(facts.sessions)
        first = facts.sessions_total - len(facts.sessions)
        span = f" {facts.span(facts.sessions_since_ns)}" if facts.begun else ""
        self.retitle(f"Closed {counted(facts, len(frame.ended))}{span}")
        which = " that matches the filter" if frame.look.filter.text else ""
        told = instead(facts, f"no connection{which} has ended since {facts.since}")
        ids = np.arange(first + 1, first + 1 + len(facts.sessions), dtype=np.uint64)
        self.show_sheet(
            Sheet(frame.ended, ids, self._cell, order.key, order.descending, told, frame.look, self._matches)
        )

    def _matches(self, wanted: Filter) -> Mask:
        facts = self._frame.facts
        return wanted.matches(Subject(facts.sessions, facts.now_ns, None, None, facts.names))

    def _cell(self, row: int) -> Cell:
        facts = self._frame.facts
        session = facts.sessions[row]
        why = reason_text(int(self._codes[row]), int(session["err"])) or formats.UNKNOWN
        return Cell(
            session, facts.now_ns, names=facts.names, wall=facts.wall, result=why,
            rtt_unit=self._frame.look.rtt_unit, hosts=self._hosts if self._frame.look.names else None,
        )  # fmt: skip

    def title(self, column: Column) -> str:
        """With the unit of round-trip times that was chosen."""
        return titled(column, self._frame.look.rtt_unit)

    def cell_style(self, row: int, key: str) -> Style | None:
        """Failures stand out."""
        failed = key == "why" and Reason(int(self._codes[row])) in _FAILURES
        return self.get_component_rich_style("table--failed", partial=True) if failed else None

    def action_open(self) -> None:
        """Open the session under the cursor."""
        if self.selected_row is not None:
            self.post_message(self.Opened(self.selected_row))
