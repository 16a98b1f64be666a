"""View 2: what came of each connect(), and counts by destination."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message

from tcptop_tui import formats
from tcptop_tui.close_reasons import CloseReason
from tcptop_tui.fields import BY_KEY, Field, FieldValues, RecordKinds, RowContext, list_fields
from tcptop_tui.fields.connect_results import RESULT_CONNECTED, RESULT_UNSENT, RESULT_WAITING
from tcptop_tui.fields.formatters import as_is, duration, milliseconds, number
from tcptop_tui.fields.readers import plain
from tcptop_tui.filters import Filter, process_names
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import Mask
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.lists.page import RowTexts, from_row_context
from tcptop_tui.widgets.panels.panel import count_text, empty_text

_CLASSES = {"table--header", "table--sorted", "table--cursor", "table--failed", "table--waiting"}


def _average_ns(subject: RowContext) -> FieldValues:
    average_ns = subject.rows["avg_ns"]
    return FieldValues(np.nan_to_num(average_ns).round().astype(np.int64), ~np.isnan(average_ns))


def _column(key: str, title: str, width: int, *, rank: int) -> Field:
    return Field(
        key=key, records=RecordKinds(0), read=plain(key), write=as_is, show=number, title=title, width=width, rank=rank
    )


def connects_title(frame: Frame) -> str:
    """``Connects 312, failed 4 since 15:42``; with a filter, which chooses from what is kept, each of its span."""
    made, facts = frame.connects, frame.snapshot
    connects, failed = count_text(facts, made.connects), count_text(facts, made.failed)
    if not facts.has_table or made.since_ns == made.succeeded_since_ns:
        return f"Connects {connects}, failed {failed}{_span_text(frame)}"
    succeeded_span, failed_span = facts.span_text(made.succeeded_since_ns), facts.span_text(made.since_ns)
    return f"Connects {connects} {succeeded_span}, failed {failed} {failed_span}"


def connects_note(frame: Frame) -> str:
    """Where the list is shorter than the counts: from when on it has all."""
    made, facts = frame.connects, frame.snapshot
    if made.listed_since_ns <= made.succeeded_since_ns and made.failed_since_ns <= made.since_ns:
        return ""
    listed = f"list: successes {facts.span_text(made.listed_since_ns)}"
    failed = f", failures {facts.span_text(made.failed_since_ns)}" if made.failed_since_ns > made.since_ns else ""
    return f"{listed}{failed}"


def _span_text(frame: Frame) -> str:
    """Of which time the counts are."""
    made, facts = frame.connects, frame.snapshot
    if not facts.has_table:
        return ""
    if made.since_ns == made.succeeded_since_ns:
        return f" {facts.span_text(made.since_ns)}"
    return f", connected {facts.span_text(made.succeeded_since_ns)}, failed {facts.span_text(made.since_ns)}"


class ConnectsTable(Listing):
    """Shows ``Frame.connects``."""

    VIEW = 1
    HELP = "The outcome of each connect() that sent a SYN, latest first; trace connect shows the others too."
    COLUMNS = list_fields(
        RecordKinds.CONNECTS,
        lport={"rank": 7}, rport={"rank": 1},  # whom it was to, also where there is little room
        retrans={"rank": 18, "optional": True},
    )  # fmt: skip
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
        made, order = frame.connects, frame.view_options.connects
        self.set_title(connects_title(frame), connects_note(frame))
        which = " that matches the filter" if frame.view_options.filter.text else ""
        told = empty_text(frame.snapshot, f"no connect(){which} since {frame.snapshot.start_text}")
        self.show_sheet(
            ListContent(
                made.order, made.ids, self._page, order.key, order.descending, told, frame.view_options, self._matches
            )
        )

    def _matches(self, wanted: Filter) -> Mask:
        return wanted.matches(self._frame.snapshot.context_of(self._frame.connects.rows))

    def _page(self, rows: NDArray[np.intp]) -> RowTexts:
        frame = self._frame
        return from_row_context(frame.snapshot.context_of(frame.connects.rows[rows]), frame.view_options, self._hosts)

    def cell_style(self, row: int, key: str) -> Style | None:
        """Failures and what waits stand out."""
        code = int(self._frame.connects.results[row])
        if key != "result" or code in {RESULT_CONNECTED, CloseReason.NONE}:
            return None
        waits = code in {RESULT_WAITING, RESULT_UNSENT}
        return self.get_component_rich_style("table--waiting" if waits else "table--failed", partial=True)

    def action_open(self) -> None:
        """Open the connection that it was for."""
        if self.selected_row is not None:
            self.post_message(self.Opened(self._frame.connects.rows[self.selected_row]))


class DestinationsTable(Listing):
    """Shows ``Frame.connects.destinations``."""

    HELP = "Connects by destination, most failures first."
    PINNED = "raddr"
    COLUMNS: ClassVar[tuple[Field, ...]] = (
        BY_KEY["raddr"],
        BY_KEY["rport"],
        _column("connects", "CONNECTS", 8, rank=1),
        _column("failed", "FAILED", 6, rank=0),
        _column("waiting", "WAIT", 5, rank=5),
        Field(key="avg", records=RecordKinds(0), read=_average_ns, write=milliseconds, show=duration, title="AVG",
              width=7, rank=6),
    )  # fmt: skip
    COMPONENT_CLASSES: ClassVar[set[str]] = _CLASSES
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Connections", tooltip="Show the connections of the row")
    ]

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
        self.set_title(f"By destination {count_text(frame.snapshot, len(rows))}{beyond}{_span_text(frame)}")
        numbers = np.arange(len(rows))
        self.show_sheet(ListContent(numbers, numbers.astype(np.uint64), self._page, view_options=frame.view_options))

    def _page(self, rows: NDArray[np.intp]) -> RowTexts:
        frame = self._frame
        return from_row_context(
            frame.snapshot.context_of(frame.connects.destinations[rows]), frame.view_options, self._hosts
        )

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
    address = formats.peer_address((int(row["raddr"][0]), int(row["raddr"][1])), int(row["dev"]))
    return process_names.destination_filter(address, int(row["rport"]))


class ConnectsView(Horizontal):
    """Both, side by side where there is room."""

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts

    def compose(self) -> ComposeResult:
        """The list, and the counts."""
        yield ConnectsTable(self._hosts, id="connects-list")
        yield DestinationsTable(self._hosts, id="destinations")

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self.query_one(ConnectsTable).show(frame)
        self.query_one(DestinationsTable).show(frame)
