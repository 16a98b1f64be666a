"""View 3: the connections that have ended, as tcplife lists them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui.close_reasons import CloseReason, close_reasons
from tcptop_tui.fields import Field, RecordKinds, list_fields
from tcptop_tui.filters import Filter
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import Mask
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.lists.page import RowTexts, from_row_context
from tcptop_tui.widgets.panels.panel import count_text, empty_text

_FAILURES = frozenset(CloseReason) - {CloseReason.NONE, CloseReason.FIN_BY_US, CloseReason.FIN_BY_PEER}


class EndedTable(Listing):
    """Shows ``Frame.ended_order``."""

    VIEW = 2
    HELP = "Every connection that has ended, with its bytes, its duration and why it ended."
    COLUMNS = list_fields(RecordKinds.ENDED, time={"title": "ENDED"})
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--sorted", "table--cursor", "table--failed"}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    class Opened(Message):
        """The user wants to see one of them: a row of ``Snapshot.ended_rows``."""

        def __init__(self, row: int) -> None:
            self.row = row
            super().__init__()

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts
        self._frame = Frame()
        self._codes = close_reasons(self._frame.snapshot.ended_rows)

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self._frame = frame
        facts, order = frame.snapshot, frame.view_options.ended
        self._codes = close_reasons(facts.ended_rows)
        first = facts.ended_total - len(facts.ended_rows)
        span = f" {facts.span_text(facts.ended_since_ns)}" if facts.has_table else ""
        self.set_title(f"Closed {count_text(facts, len(frame.ended_order))}{span}")
        which = " that matches the filter" if frame.view_options.filter.text else ""
        told = empty_text(facts, f"no connection{which} has ended since {facts.start_text}")
        ids = np.arange(first + 1, first + 1 + len(facts.ended_rows), dtype=np.uint64)
        self.show_sheet(
            ListContent(
                frame.ended_order, ids, self._page, order.key, order.descending, told, frame.view_options, self._matches
            )
        )

    def _matches(self, wanted: Filter) -> Mask:
        return wanted.matches(self._frame.snapshot.context_of(self._frame.snapshot.ended_rows))

    def _page(self, rows: NDArray[np.intp]) -> RowTexts:
        facts = self._frame.snapshot
        return from_row_context(facts.context_of(facts.ended_rows[rows]), self._frame.view_options, self._hosts)

    def title(self, column: Field) -> str:
        """With the unit of round-trip times that was chosen."""
        return column.title_with_unit(self._frame.view_options.rtt_unit)

    def cell_style(self, row: int, key: str) -> Style | None:
        """Failures stand out."""
        failed = key == "why" and CloseReason(int(self._codes[row])) in _FAILURES
        return self.get_component_rich_style("table--failed", partial=True) if failed else None

    def action_open(self) -> None:
        """Open the session under the cursor."""
        if self.selected_row is not None:
            self.post_message(self.Opened(self.selected_row))
