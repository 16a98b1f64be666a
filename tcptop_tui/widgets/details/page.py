"""Enter: one connection's facts, its own history, and its own histogram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from rich.console import Group
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tcptop_tui.host.processes import SocketAnswer
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.rtt_totals import RttTotals
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.records import Rows
from tcptop_tui.stream.histograms import clear_samples
from tcptop_tui.widgets.details.kernel_tables import process_table, tcp_info_table
from tcptop_tui.widgets.details.text import (  # fmt: skip
    connection_samples,
    connection_transitions,
    facts_table,
    history_table,
    round_trips,
    title,
    trend_lines,
)
from tcptop_tui.widgets.details.timeline import state_spans, timeline
from tcptop_tui.widgets.panels.histogram import rtt_lines
from tcptop_tui.widgets.state_style import STATE_CLASSES, state_style
from tcptop_tui.widgets.time_texts import start_text

_HISTOGRAM_LINES = 30


class DetailScreen(ModalScreen[None]):
    """Follows one connection, to its end and after.

    Args:
        frame: the frame in which it was chosen.
        row: of dtype ROW, shape (1,): a connection, or what is left of one.
        ask: what kernel and /proc know of it; called in a thread.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {*STATE_CLASSES}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,f10", "dismiss(None)", "Back"),
        Binding("left_square_bracket,left", "step(-1)", "Previous connection in the list", show=False),
        Binding("right_square_bracket,right", "step(1)", "Next connection in the list", show=False),
        Binding("j", "scroll_page('down')", "Line down", show=False),
        Binding("k", "scroll_page('up')", "Line up", show=False),
        Binding("g", "scroll_page('home')", "Top", show=False),
        Binding("G", "scroll_page('end')", "Bottom", show=False),
    ]

    def __init__(self, frame: Frame, row: Rows, ask: Callable[[Rows], SocketAnswer]) -> None:
        super().__init__()
        self._query = ask
        self._answer = SocketAnswer()
        self._row = row
        self._frame = frame
        self._is_live = False
        self._rates = np.full(2, np.nan)
        self._samples = RttTotals()
        """The latest ones that were told."""

    def compose(self) -> ComposeResult:
        """One page that scrolls, in two columns where there is room."""
        with VerticalScroll(id="dialog") as page:
            page.border_subtitle = "[ ] previous, next connection; Esc goes back"
            with Vertical(id="detail"):
                with Vertical(classes="column"):
                    yield Static(id="facts")
                    yield Static(id="timeline")
                    yield Static(id="trends")
                    yield Static(id="process")
                with Vertical(classes="column"):
                    yield Static(id="histogram")
                    yield Static(id="kernel")
                    yield Static(id="history")

    def on_mount(self) -> None:
        """Fill the page."""
        self._update(self._frame.snapshot)

    def show(self, frame: Frame) -> None:
        """Take the connection's state from ``frame``; when it is gone the last one stays."""
        self._frame = frame
        if self.is_attached:  # frames come before and after it is
            self._update(frame.snapshot)
            self._repaint()

    def _update(self, facts: Snapshot) -> None:
        place = np.flatnonzero(facts.rows["id"] == self._row["id"][0])
        self._rates = np.full(2, np.nan)
        self._is_live = bool(len(place))
        if self._is_live:
            self._row = facts.rows[place].copy()
            self._rates = np.concatenate([facts.tx_rate[place], facts.rx_rate[place]])
            self._run_query(self._row.copy())
        else:
            clear_samples(self._row)
        samples = connection_samples(self._row, facts)
        self._samples = samples if samples.connections else self._samples

    def _repaint(self) -> None:
        """What is known, in the room that there is."""
        if not self.is_mounted or not self.is_attached:
            return  # its parts are not there yet, or have gone
        frame = self._frame
        subject = replace(frame.snapshot.row_context, rows=self._row, tx_rate=self._rates[:1], rx_rate=self._rates[1:])
        shared = frame.snapshot.holders
        holders = shared[shared["id"] == self._row["id"][0]]
        told = Text(title(self._row, frame.snapshot.names))  # a str would be parsed as markup
        self.query_one("#dialog").border_title = told
        self.query_one("#facts", Static).update(facts_table(subject, holders, self._width, alive=self._is_live))
        self.query_one("#trends", Static).update(trend_lines(self._row, frame, self._width))
        self._show_life(frame)
        self._show_round_trips(frame)
        self._show_asked()

    @property
    def _width(self) -> int:
        """Of the left column, or the only one."""
        return max(20, self.query_one("#timeline").size.width)

    def on_resize(self) -> None:
        """Bars are as long as there is room for."""
        self.call_after_refresh(self._repaint)

    def _show_life(self, frame: Frame) -> None:
        history = connection_transitions(self._row, frame.snapshot.log)
        room = self._width
        spans = state_spans(self._row[0], history, frame.snapshot.now_ns if self._is_live else 0)
        self.query_one("#timeline", Static).update(timeline(spans, room, lambda state: state_style(self, state)))
        self.query_one("#history", Static).update(history_table(history, frame))

    def _show_round_trips(self, frame: Frame) -> None:
        panel = self.query_one("#histogram", Static)
        rtt, width = round_trips(self._row, self._samples, frame.snapshot), max(40, panel.size.width)
        lines = rtt_lines(rtt, width, _HISTOGRAM_LINES, frame.view_options.rtt_unit, "both", self._since)
        del lines[2]  # of how many connections
        panel.update(Text.assemble(("Round-trip times\n", "bold"), "\n".join(lines)))

    @property
    def _since(self) -> str:
        """From when on its samples were counted."""
        facts = self._frame.snapshot
        return start_text(facts) if self._row["born_ns"][0] < facts.first_ns else "its start"

    def action_step(self, step: int) -> None:
        """Turn to a neighbour in the list behind."""
        other = self._frame.neighbor(int(self._row["id"][0]), step)
        if other is not None:
            self._row, self._answer, self._samples = other, SocketAnswer(), RttTotals()
            self.query_one("#dialog", VerticalScroll).scroll_home(animate=False)
            self.show(self._frame)

    def action_scroll_page(self, where: Literal["up", "down", "home", "end"]) -> None:
        """By a line, or to an end."""
        page = self.query_one("#dialog", VerticalScroll)
        moves = {"up": page.scroll_up, "down": page.scroll_down, "home": page.scroll_home, "end": page.scroll_end}
        moves[where](animate=False)

    @work(thread=True, exclusive=True, group="asked", exit_on_error=False)
    def _run_query(self, row: Rows) -> None:
        asked = self._query(row)
        self.app.call_from_thread(self._show_answer, asked, int(row["id"][0]))

    def _show_answer(self, asked: SocketAnswer, row_id: int) -> None:
        if self.is_attached and row_id == self._row["id"][0] and (asked.tcp_info or asked.process is not None):
            self._answer = asked
            self._show_asked()

    def _show_asked(self) -> None:
        asked = self._answer
        nothing = not asked.tcp_info and asked.process is None
        old = Text("" if nothing or self._is_live else "\nAs it was before it ended:", "bold")
        self.query_one("#process", Static).update(Group(old, process_table(asked.process)))
        kernel = tcp_info_table(asked.tcp_info, self.query_one("#kernel").size.width) if asked.tcp_info else ""
        self.query_one("#kernel", Static).update(kernel)
