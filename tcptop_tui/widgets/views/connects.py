"""View 2: the outcome of each connect(), and counts of connects by destination."""

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
from tcptop_tui.widgets.lists.frame_listing import FrameListing
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.list_rows import ListRows
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.panels.panel import count_text, empty_text
from tcptop_tui.widgets.time_texts import span_text, start_text

_CLASSES = {"table--failed", "table--waiting"}


def _average_ns(subject: RowContext) -> FieldValues:
    average_ns = subject.rows["avg_ns"]
    return FieldValues(np.nan_to_num(average_ns).round().astype(np.int64), ~np.isnan(average_ns))


def _column(key: str, title: str, width: int, *, rank: int) -> Field:
    return Field(
        key=key, records=RecordKinds(0), read=plain(key), write=as_is, show=number, title=title, width=width, rank=rank
    )


def connects_title(frame: Frame) -> str:
    """``Connects 312, failed 4 since 15:42``.

    With a filter each count has a span of its own: a filter can only choose from the outcomes that are still kept,
    and failures are not kept for the same time as successes.
    """
    connects, snapshot = frame.connects, frame.snapshot
    total, failed = count_text(snapshot, connects.connects), count_text(snapshot, connects.failed)
    if not snapshot.has_table or connects.since_ns == connects.succeeded_since_ns:
        return f"Connects {total}, failed {failed}{_span_text(frame)}"
    succeeded_span, failed_span = (
        span_text(snapshot, connects.succeeded_since_ns),
        span_text(snapshot, connects.since_ns),
    )
    return f"Connects {total} {succeeded_span}, failed {failed} {failed_span}"


def connects_note(frame: Frame) -> str:
    """From when on the list is complete, where it reaches less far back than the counts; else empty."""
    connects, snapshot = frame.connects, frame.snapshot
    lists_all_successes = connects.listed_since_ns <= connects.succeeded_since_ns
    lists_all_failures = connects.failed_since_ns <= connects.since_ns
    if lists_all_successes and lists_all_failures:
        return ""
    failures = "" if lists_all_failures else f", failures {span_text(snapshot, connects.failed_since_ns)}"
    return f"list: successes {span_text(snapshot, connects.listed_since_ns)}{failures}"


def _span_text(frame: Frame) -> str:
    """The span of time that the counts are of, with a blank or a comma before it."""
    connects, snapshot = frame.connects, frame.snapshot
    if not snapshot.has_table:
        return ""
    if connects.since_ns == connects.succeeded_since_ns:
        return f" {span_text(snapshot, connects.since_ns)}"
    succeeded_span, failed_span = (
        span_text(snapshot, connects.succeeded_since_ns),
        span_text(snapshot, connects.since_ns),
    )
    return f", connected {succeeded_span}, failed {failed_span}"


class ConnectsTable(FrameListing):
    """Shows ``Frame.connects``: an outcome of a connect() a row."""

    VIEW = 1
    HELP = "The outcome of each connect() that sent a SYN, latest first; trace connect shows the others too."
    COLUMNS = list_fields(
        RecordKinds.CONNECTS,
        lport={"rank": 7}, rport={"rank": 1},  # the destination is shown on narrow screens too
        retrans={"rank": 18, "optional": True},
    )  # fmt: skip
    COMPONENT_CLASSES: ClassVar[set[str]] = _CLASSES
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    class Opened(Message):
        """The user wants to see what became of a connect(): ``outcome`` is a record of dtype TRANSITION."""

        def __init__(self, outcome: np.void) -> None:
            self.outcome = outcome
            super().__init__()

    def _make_content(self, frame: Frame) -> ListContent:
        connects, options = frame.connects, frame.view_options
        self.set_title(connects_title(frame), connects_note(frame))
        matching = " that matches the filter" if options.filter.text else ""
        return ListContent(
            connects.order,
            connects.ids,
            self._select_rows,
            options.orders["connects"],
            empty_text(frame.snapshot, f"no connect(){matching} since {start_text(frame.snapshot)}"),
            options,
            self._matches,
        )

    def _matches(self, search: Filter) -> Mask:
        return search.matches(self._frame.snapshot.context_of(self._frame.connects.rows))

    def _select_rows(self, rows: NDArray[np.intp]) -> ListRows:
        return self._list_rows(self._frame.snapshot.context_of(self._frame.connects.rows[rows]))

    def cell_style(self, row: int, key: str) -> Style | None:
        """Colours for the results of connects that failed or wait."""
        result = int(self._frame.connects.results[row])
        if key != "result" or result in {RESULT_CONNECTED, CloseReason.NONE}:
            return None
        is_waiting = result in {RESULT_WAITING, RESULT_UNSENT}
        return self.get_component_rich_style("table--waiting" if is_waiting else "table--failed", partial=True)

    def action_open(self) -> None:
        """Open the connection that the connect() made."""
        if self.selected_row is not None:
            self.post_message(self.Opened(self._frame.connects.rows[self.selected_row]))


class DestinationsTable(FrameListing):
    """Shows ``Frame.connects.destinations``: a destination a row."""

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

    class Opened(Listing.ConnectionsRequested):
        """A destination was opened."""

    def _make_content(self, frame: Frame) -> ListContent:
        connects = frame.connects
        uncounted = f", {formats.count(connects.beyond)} to others" if connects.beyond else ""
        count = count_text(frame.snapshot, len(connects.destinations))
        self.set_title(f"By destination {count}{uncounted}{_span_text(frame)}")
        numbers = np.arange(len(connects.destinations))
        return ListContent(numbers, numbers.astype(np.uint64), self._select_rows, view_options=frame.view_options)

    def _select_rows(self, rows: NDArray[np.intp]) -> ListRows:
        return self._list_rows(self._frame.snapshot.context_of(self._frame.connects.destinations[rows]))

    def cell_style(self, row: int, key: str) -> Style | None:
        """The colour of failures, for counts of them that are not 0."""
        has_failed = key == "failed" and self._frame.connects.destinations["failed"][row]
        return self.get_component_rich_style("table--failed", partial=True) if has_failed else None

    def action_open(self) -> None:
        """Show the connections to the destination under the cursor."""
        if self.selected_row is not None:
            filter_text = destination_filter(self._frame.connects.destinations[self.selected_row])
            self.post_message(self.Opened(filter_text))


def destination_filter(row: np.void) -> str:
    """The filter that shows the connections to a destination; ``row`` has the fields raddr, rport and dev."""
    address = formats.peer_address((int(row["raddr"][0]), int(row["raddr"][1])), int(row["dev"]))
    return process_names.destination_filter(address, int(row["rport"]))


class ConnectsView(Horizontal):
    """View 2: the list of connects and the counts by destination, side by side where there is room."""

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts

    def compose(self) -> ComposeResult:
        """The list, then the counts."""
        yield ConnectsTable(self._hosts, id="connects-list")
        yield DestinationsTable(self._hosts, id="destinations")

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self.query_one(ConnectsTable).show(frame)
        self.query_one(DestinationsTable).show(frame)
