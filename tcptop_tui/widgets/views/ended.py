"""View 3: the connections that have ended, as tcplife lists them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui.close_reasons import CloseReason, close_reasons
from tcptop_tui.fields import RecordKinds, list_fields
from tcptop_tui.filters import Filter
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import Mask
from tcptop_tui.widgets.lists.frame_listing import FrameListing
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.list_rows import ListRows
from tcptop_tui.widgets.panels.panel import count_text, empty_text
from tcptop_tui.widgets.time_texts import span_text, start_text

_FAILURES = frozenset(CloseReason) - {CloseReason.NONE, CloseReason.FIN_BY_US, CloseReason.FIN_BY_PEER}


class EndedTable(FrameListing):
    """Shows ``Frame.ended_order``: rows of ``Snapshot.ended_rows``."""

    VIEW = 2
    HELP = "Every connection that has ended, with its bytes, its duration and why it ended."
    COLUMNS = list_fields(RecordKinds.ENDED, time={"title": "ENDED"})
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--failed"}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    class Opened(Message):
        """The user wants to see the page of this row of ``Snapshot.ended_rows``."""

        def __init__(self, row: int) -> None:
            self.row = row
            super().__init__()

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(hosts, id=id)
        self._reasons = close_reasons(self._frame.snapshot.ended_rows)

    def _make_content(self, frame: Frame) -> ListContent:
        snapshot, options = frame.snapshot, frame.view_options
        self._reasons = close_reasons(snapshot.ended_rows)
        span = f" {span_text(snapshot, snapshot.ended_since_ns)}" if snapshot.has_table else ""
        self.set_title(f"Closed {count_text(snapshot, len(frame.ended_order))}{span}")
        matching = " that matches the filter" if options.filter.text else ""
        first_id = snapshot.ended_total - len(snapshot.ended_rows) + 1
        return ListContent(
            frame.ended_order,
            np.arange(first_id, first_id + len(snapshot.ended_rows), dtype=np.uint64),
            self._select_rows,
            options.orders["sessions"],
            empty_text(snapshot, f"no connection{matching} has ended since {start_text(snapshot)}"),
            options,
            self._matches,
        )

    def _matches(self, search: Filter) -> Mask:
        return search.matches(self._frame.snapshot.context_of(self._frame.snapshot.ended_rows))

    def _select_rows(self, rows: NDArray[np.intp]) -> ListRows:
        snapshot = self._frame.snapshot
        return self._list_rows(snapshot.context_of(snapshot.ended_rows[rows]))

    def cell_style(self, row: int, key: str) -> Style | None:
        """The colour of failures, for close reasons that are failures."""
        has_failed = key == "why" and CloseReason(int(self._reasons[row])) in _FAILURES
        return self.get_component_rich_style("table--failed", partial=True) if has_failed else None

    def action_open(self) -> None:
        """Open the page of the connection under the cursor."""
        if self.selected_row is not None:
            self.post_message(self.Opened(self.selected_row))
