"""View 3: the connections that have ended, as tcplife lists them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui.close_reasons import Reason, reasons
from tcptop_tui.fields import Field, Records, listed
from tcptop_tui.filters import Filter
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import Mask
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.lists.page import Page, as_page
from tcptop_tui.widgets.lists.sheet import Sheet
from tcptop_tui.widgets.panels.panel import counted, instead

_FAILURES = frozenset(Reason) - {Reason.NONE, Reason.FIN_BY_US, Reason.FIN_BY_PEER}


class SessionsTable(Listing):
    """Shows ``Frame.ended``."""

    VIEW = 2
    HELP = "Every connection that has ended, with its bytes, its duration and why it ended."
    COLUMNS = listed(Records.ENDED, time={"title": "ENDED"})
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
            Sheet(frame.ended, ids, self._page, order.key, order.descending, told, frame.look, self._matches)
        )

    def _matches(self, wanted: Filter) -> Mask:
        return wanted.matches(self._frame.facts.about(self._frame.facts.sessions))

    def _page(self, rows: NDArray[np.intp]) -> Page:
        facts = self._frame.facts
        return as_page(facts.about(facts.sessions[rows]), self._frame.look, self._hosts)

    def title(self, column: Field) -> str:
        """With the unit of round-trip times that was chosen."""
        return column.titled(self._frame.look.rtt_unit)

    def cell_style(self, row: int, key: str) -> Style | None:
        """Failures stand out."""
        failed = key == "why" and Reason(int(self._codes[row])) in _FAILURES
        return self.get_component_rich_style("table--failed", partial=True) if failed else None

    def action_open(self) -> None:
        """Open the session under the cursor."""
        if self.selected_row is not None:
            self.post_message(self.Opened(self.selected_row))
