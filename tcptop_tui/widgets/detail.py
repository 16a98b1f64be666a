"""Enter: one connection's facts, its own history, and its own histogram."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tcptop_tui import formats, text
from tcptop_tui.export.values import opened, retrans_in
from tcptop_tui.model.frame import Frame, Rtt
from tcptop_tui.processes import Asked
from tcptop_tui.reasons import reason_text, reasons
from tcptop_tui.records import ROW, UNKNOWN_NS, UNKNOWN_UID, Rows
from tcptop_tui.source.identity import tuple_hash
from tcptop_tui.widgets.asked import internals_table, process_table
from tcptop_tui.widgets.columns import COLUMNS, Cell, ends
from tcptop_tui.widgets.histogram import histogram_lines, summary_lines
from tcptop_tui.widgets.spark import spark
from tcptop_tui.widgets.states import STATE_CLASSES, state_style
from tcptop_tui.widgets.timeline import lifeline, timeline

_HISTORY_ROWS = 200
_SAMPLES = 60


class DetailScreen(ModalScreen[None]):
    """Follows one connection, to its end and after.

    Args:
        frame: the frame in which it was chosen.
        row: of dtype ROW, shape (1,): a connection, or what is left of one.
        ask: what kernel and /proc know of it; called in a thread.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {*STATE_CLASSES}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,f10", "dismiss(None)", "Back")]

    def __init__(self, frame: Frame, row: Rows, ask: Callable[[Rows], Asked]) -> None:
        super().__init__()
        self._ask = ask
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=_SAMPLES)
        self._sampled_ns = 0
        self._row = row
        self._frame = frame

    def compose(self) -> ComposeResult:
        """One page that scrolls."""
        with VerticalScroll(id="dialog") as page:
            page.border_title = title(self._row)
            page.border_subtitle = "Esc goes back"
            yield Static(id="facts")
            yield Static(id="timeline")
            yield Static(id="trends")
            yield Static(id="asked")
            yield Static(id="history")
            yield Static(id="histogram")

    def on_mount(self) -> None:
        """Fill the page."""
        self.show(self._frame)

    def show(self, frame: Frame) -> None:
        """Take the connection's state from ``frame``; when it is gone the last one stays."""
        facts = frame.facts
        place = np.flatnonzero(facts.rows["id"] == self._row["id"][0])
        if len(place):
            self._row = facts.rows[place].copy()
        cell = Cell(
            self._row[0],
            facts.now_ns,
            float(facts.tx_rate[place[0]]) if len(place) else np.nan,
            float(facts.rx_rate[place[0]]) if len(place) else np.nan,
            facts.names,
        )
        self.query_one("#facts", Static).update(facts_table(cell, alive=bool(len(place))))
        history = own_history(self._row, facts.log)
        room = max(20, self.query_one("#timeline").size.width)
        spans = lifeline(self._row[0], history, facts.now_ns if len(place) else 0)
        self.query_one("#timeline", Static).update(timeline(spans, room, lambda state: state_style(self, state)))
        self.query_one("#history", Static).update(history_table(history, frame))
        self._sample(cell, facts.now_ns, alive=bool(len(place)))
        if len(place):
            self._inquire(self._row.copy())
        width = max(40, self.query_one("#histogram").size.width)
        rtt = own_round_trips(self._row, facts.sessions)
        lines = ["", "Round-trip times", *summary_lines(rtt)[:2], *histogram_lines(rtt.hist, width, 28)]
        self.query_one("#histogram", Static).update(Text("\n".join(lines)))

    def _sample(self, cell: Cell, now_ns: int, *, alive: bool) -> None:
        """One a second, while somebody looks."""
        if alive and now_ns - self._sampled_ns >= 10**9:
            self._sampled_ns = now_ns
            srtt_us = float(cell.row["srtt_us"]) or math.nan
            self._samples.append((srtt_us, cell.tx_rate, cell.rx_rate))
        rows = [[sample[part] for sample in self._samples] for part in range(3)]
        lines = [
            f"{name:<6}{spark(values, _SAMPLES)}" for name, values in zip(("RTT", "TX/s", "RX/s"), rows, strict=True)
        ]
        self.query_one("#trends", Static).update(
            Text("\n".join(["", "Since this page was opened, a second each", *lines]))
        )

    @work(thread=True, exclusive=True, group="asked", exit_on_error=False)
    def _inquire(self, row: Rows) -> None:
        asked = self._ask(row)
        self.app.call_from_thread(self._tell, asked)

    def _tell(self, asked: Asked) -> None:
        if self.is_attached and (asked.internals or asked.process is not None):
            self.query_one("#asked", Static).update(
                Group(process_table(asked.process), internals_table(asked.internals))
            )


def title(row: Rows) -> str:
    """``nginx 10.0.0.1:443 ↔ 10.0.0.2:5555`` of a row, shape (1,)."""
    return f"{text.clean(bytes(row['comm'][0]))} {ends(row[0])}"


def own_history(row: Rows, log: Rows) -> Rows:
    """The transitions of this connection: by its socket, or by addresses and ports before that."""
    same = log["skaddr"] == row["skaddr"][0] if row["skaddr"][0] else np.zeros(len(log), np.bool_)
    same &= log["born_ns"] == row["born_ns"][0]
    same |= tuple_hash(log) == tuple_hash(row)[0]
    same &= log["ts_ns"] >= row["born_ns"][0]  # what had these addresses and ports before is another one
    own: Rows = log[same][-_HISTORY_ROWS:]
    return own


def own_round_trips(row: Rows, sessions: Rows) -> Rtt:
    """The histogram of this connection, whether it still has one or left it when it ended."""
    ended = sessions[(sessions["born_ns"] == row["born_ns"][0]) & (tuple_hash(sessions) == tuple_hash(row)[0])]
    source = row if row["rtt_hist"].any() or not len(ended) else ended[-1:]
    return Rtt(source["rtt_hist"][0].astype(np.uint64), int(source["rtt_sum_us"][0]))


def facts_table(cell: Cell, *, alive: bool) -> RenderableType:
    """Every column of the table, and what has no column, two pairs a line."""
    uid = int(cell.row["uid"])
    pairs = [(column.title, column.text(cell)) for column in COLUMNS]
    pairs += [
        ("UID", formats.UNKNOWN if uid == UNKNOWN_UID else str(uid)),
        ("OPENED BY", opened(cell.row) or formats.UNKNOWN),
        ("HANDSHAKE", _handshake(cell.row)),
        ("WHY", "" if alive else _why(cell.row)),
        ("RESET IN", formats.state_name(int(cell.row["reset_in"])) if cell.row["reset_in"] else formats.UNKNOWN),
        ("RETR IN", " ".join(f"{name} {count}" for name, count in retrans_in(cell.row).items()) or formats.UNKNOWN),
        ("SKADDR", f"{int(cell.row['skaddr']):x}" if cell.row["skaddr"] else formats.UNKNOWN),
        ("", "" if alive else "this connection has ended"),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    half = (len(pairs) + 1) // 2
    for left, right in zip(pairs[:half], [*pairs[half:], ("", "")], strict=False):
        table.add_row(Text(left[0], "bold"), Text(left[1]), Text(right[0], "bold"), Text(right[1]))
    return table


def _handshake(row: np.void) -> str:
    """From the first SYN to ESTABLISHED."""
    if not (row["born_ns"] and row["established_ns"]):
        return formats.UNKNOWN
    return formats.duration_ns(int(row["established_ns"]) - int(row["born_ns"]))


def _why(row: np.void) -> str:
    one = np.array([row])
    return reason_text(int(reasons(one)[0]), int(row["err"])) or formats.UNKNOWN


def as_row(session: np.void) -> Rows:
    """An ended connection as a row of the table, shape (1,)."""
    row = np.zeros(1, ROW)
    for name in ROW.names or ():
        if name in (session.dtype.names or ()):
            row[name] = session[name]
    return row


def history_table(rows: Rows, frame: Frame) -> RenderableType:
    """A line for each transition that is still kept."""
    table = Table(title=Text("History"), title_justify="left", box=None, pad_edge=False)
    for name in ("TIME", "OLD", "NEW", "IN OLD"):
        table.add_column(name)
    for row in rows:
        spent_ns = int(row["spent_ns"])
        table.add_row(
            formats.clock(frame.facts.utc_ns + int(row["ts_ns"]) - frame.facts.now_ns),
            formats.state_name(int(row["oldstate"])),
            formats.state_name(int(row["newstate"])),
            formats.UNKNOWN if spent_ns == UNKNOWN_NS else formats.duration_ns(spent_ns),
        )
    if not len(rows):
        table.add_row("nothing since we started", "", "", "")
    return table
