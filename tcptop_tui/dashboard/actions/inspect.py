"""Keys that look closer: one connection, pause."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from textual import events, on
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.filters import parse
from tcptop_tui.model.connect_list import find_connection
from tcptop_tui.records import ROW
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.details.text import row_from_ended
from tcptop_tui.widgets.panels.histogram import RttPanel
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.views.connections import ConnectionTable
from tcptop_tui.widgets.views.connects import ConnectsTable, DestinationsTable, destination_filter
from tcptop_tui.widgets.views.ended import EndedTable


class PauseAndOpenActions(ViewApp):
    """Stop, and look at one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p,Z", "pause", "Pause", key_display="p"),
        Binding("w", "rtt_parts", "RTT panel: bars, heat map, or both", show=False),
        Binding("tab", "app.focus_next", "Next panel", show=False),
        Binding("shift+tab", "app.focus_previous", "Previous panel", show=False),
    ]

    def action_pause(self) -> None:
        """Stop the view, or let it go on."""
        self.set_paused(paused=not self.paused)

    def action_rtt_parts(self) -> None:
        """Bars, the map, or both."""
        told = {"both": "bars and the heat map", "map": "the heat map of the last minutes", "bars": "bars"}
        self.notify(f"the RTT panel shows {told[self.panel(RttPanel).next_parts()]}", timeout=2)

    @on(ConnectionTable.Opened)
    async def _connection_opened(self, event: ConnectionTable.Opened) -> None:
        number = int(np.flatnonzero(self.frame.ids == event.connection_id)[0])
        row = np.array([self.frame.row(number)[0]], ROW)
        await self.push_screen(DetailScreen(self.frame, row, self._feed.host_requests.read_details))

    @on(EndedTable.Opened)
    async def _ended_opened(self, event: EndedTable.Opened) -> None:
        row = row_from_ended(self.frame.snapshot.ended_rows[event.row])
        await self.push_screen(DetailScreen(self.frame, row, self._feed.host_requests.read_details))

    @on(ConnectsTable.Opened)
    async def _connect_opened(self, event: ConnectsTable.Opened) -> None:
        """The connection, live or ended; if neither is kept any more, what went to the same destination."""
        facts = self.frame.snapshot
        rows, sessions = (find_connection(part, event.outcome) for part in (facts.rows, facts.ended_rows))
        if rows is not None:
            row = facts.rows[rows : rows + 1].copy()
        elif sessions is not None:
            row = row_from_ended(facts.ended_rows[sessions])
        else:
            self._show_destination(destination_filter(event.outcome))
            return
        await self.push_screen(DetailScreen(self.frame, row, self._feed.host_requests.read_details))

    @on(DestinationsTable.Opened)
    def _destination_opened(self, event: DestinationsTable.Opened) -> None:
        self._show_destination(event.filter_text)

    def _show_destination(self, wanted: str) -> None:
        """The connections to it; if there is none, those that have ended."""
        facts = self.frame.snapshot
        there = parse(wanted).matches(facts.row_context).any()
        self.show_filtered(wanted, "connections" if there else "sessions")

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """On a narrow screen the histogram takes the log's place while it has the focus."""
        if isinstance(event.widget, RttPanel | TransitionLog):
            self.screen.set_class(isinstance(event.widget, RttPanel), "show-rtt")
        if isinstance(event.widget, ConnectsTable | DestinationsTable):
            self.screen.set_class(isinstance(event.widget, DestinationsTable), "show-destinations")
