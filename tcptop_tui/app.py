"""The application: what the keys do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

from textual import events, on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from tcptop_tui.errors import TcptopError
from tcptop_tui.export.files import resolve_path, write_export
from tcptop_tui.export.snapshot import Origin, default_path, render
from tcptop_tui.filters import MATCH_ALL
from tcptop_tui.filters.pin import pin
from tcptop_tui.model.frame import Frame
from tcptop_tui.views import ViewsApp
from tcptop_tui.widgets.connections import ConnectionTable
from tcptop_tui.widgets.connects import ConnectsTable, Destinations
from tcptop_tui.widgets.detail import DetailScreen, as_row
from tcptop_tui.widgets.export_dialog import ExportDialog
from tcptop_tui.widgets.filter_bar import FilterBar
from tcptop_tui.widgets.help import HelpScreen
from tcptop_tui.widgets.histogram import RttPanel
from tcptop_tui.widgets.listing import Listing
from tcptop_tui.widgets.rtt_view import RttView
from tcptop_tui.widgets.sessions import SessionsTable
from tcptop_tui.widgets.transitions import TransitionLog


class TcptopApp(ViewsApp):
    """The dashboard with its keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark,h", "help", "Help", key_display="F1"),
        Binding("slash,f4,backslash", "filter", "Filter", key_display="/", priority=True),
        Binding("F", "pin", "Pin the filter as capture filter, or let it go", show=False),
        Binding("p,Z", "pause", "Pause", key_display="p"),
        Binding("e", "export", "Export", key_display="e", priority=True),
        Binding("tab", "app.focus_next", "Next panel", show=False),
        Binding("shift+tab", "app.focus_previous", "Panel before", show=False),
        Binding("q,f10,ctrl+c", "quit", "Quit", key_display="q"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is typed, letters are letters.

        The keys that open a line to type in have priority: only so is the line there before the
        next key of a fast hand is looked at.
        """
        if action in {"filter", "export"} and isinstance(self.focused, Input):
            return False
        return super().check_action(action, parameters)

    # -- filter -------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Open the filter."""
        self.panel(FilterBar).open(self.look.filter)

    @on(FilterBar.Changed)
    def _filter_changed(self, event: FilterBar.Changed) -> None:
        self.set_look(replace(self.look, filter=event.chosen))

    @on(FilterBar.Closed)
    def _filter_closed(self, event: FilterBar.Closed) -> None:
        self.focus_view()
        for key in event.late:
            self.post_message(events.Key(key.key, key.character))

    def action_pin(self) -> None:
        """Let the kernel apply what it can of the filter; again, or with no filter: no more."""
        base = self._feed.capture
        pinned = pin(MATCH_ALL if self.look.pinned else self.look.filter, base)
        self._feed.recapture(pinned.capture)
        self.notify(pinned.told or "capture as at the start", markup=False)
        self.set_look(replace(self.look, pinned=pinned.told))

    # -- look closer --------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Stop the view, or let it go on."""
        self.set_paused(paused=not self.paused)

    @on(ConnectionTable.Opened)
    async def _opened(self, event: ConnectionTable.Opened) -> None:
        rows = self.frame.facts.rows
        await self.push_screen(DetailScreen(self.frame, rows[rows["id"] == event.connection_id].copy()))

    @on(SessionsTable.Opened)
    async def _session_opened(self, event: SessionsTable.Opened) -> None:
        await self.push_screen(DetailScreen(self.frame, as_row(self.frame.facts.sessions[event.row])))

    async def action_help(self) -> None:
        """Show every key, from the bindings that are in force."""
        await self.push_screen(HelpScreen(self._bindings_by_part()))

    def _bindings_by_part(self) -> Iterator[tuple[str, list[Binding]]]:
        parts: list[tuple[str, type[Widget | ViewsApp]]] = [
            ("Everywhere", TcptopApp),
            ("Views", ViewsApp),
            ("Lists", Listing),
            ("Connections", ConnectionTable),
            ("Round-trip times", RttView),
            ("Transitions", TransitionLog),
            ("Filter line", FilterBar),
        ]
        for title, part in parts:
            yield title, [binding for binding in Binding.make_bindings(part.BINDINGS) if binding.description]

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """On a narrow screen the histogram takes the log's place while it has the focus."""
        if isinstance(event.widget, RttPanel | TransitionLog):
            self.screen.set_class(isinstance(event.widget, RttPanel), "show-rtt")
        if isinstance(event.widget, ConnectsTable | Destinations):
            self.screen.set_class(isinstance(event.widget, Destinations), "show-destinations")

    # -- export -------------------------------------------------------------------------------

    async def action_export(self) -> None:
        """Ask for format and path of a snapshot of what is shown now."""
        frame, picture = self.frame, self.export_screenshot(title="tcptop-tui")
        utc_ns = time.time_ns()

        def chosen(answer: tuple[str, str] | None) -> None:
            if answer is not None:
                self._write(frame, picture, *answer)

        await self.push_screen(ExportDialog(lambda kind: str(default_path(self.host, utc_ns, kind))), chosen)

    @work(thread=True, group="export", exit_on_error=False)
    def _write(self, frame: Frame, picture: str, kind: str, path: str) -> None:
        """Write the file away from the event loop; say what came of it."""
        try:
            origin = Origin(self.host, self.kernel)
            written = write_export(resolve_path(path), render(frame, origin, kind, picture))
        except TcptopError as error:
            self._tell(str(error), "error")
        else:
            self._tell(f"wrote {written}", "information")

    def _tell(self, message: str, severity: str) -> None:
        say: Callable[[], None] = lambda: self.notify(message, severity=severity, markup=False, timeout=8)  # type: ignore[arg-type]  # noqa: E731
        self.call_from_thread(say)
