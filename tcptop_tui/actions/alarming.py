"""Keys for what is wrong: the alert strip."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import parse
from tcptop_tui.live import VIEWS
from tcptop_tui.views import ViewsApp
from tcptop_tui.widgets.alerts import AlertStrip
from tcptop_tui.widgets.board import BoardView


class Alarming(ViewsApp):
    """Goes to the alerts, and from an alert to what it is about."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "alerts", "Alerts: choose one, Enter shows what it is about", show=False, priority=True),
    ]

    def action_alerts(self) -> None:
        """Give the keys to the strip."""
        strip = self.panel(AlertStrip)
        if strip.display:
            self.screen.set_focus(strip)  # at once: the next key may be here already
        else:
            self.notify("nothing is wrong, as far as can be seen", timeout=3)

    @on(AlertStrip.Chosen)
    def _alert_chosen(self, event: AlertStrip.Chosen) -> None:
        if event.alert is None:
            self.focus_view()
            return
        self._show_filtered(event.alert.filter, event.alert.view)

    @on(BoardView.Opened)
    def _board_opened(self, event: BoardView.Opened) -> None:
        self._show_filtered(event.filter, "connections")

    def _show_filtered(self, text: str, view: str) -> None:
        try:
            wanted = parse(text)
        except UsageError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.set_look(replace(self.look, filter=wanted, group=""))
        self.action_view(VIEWS.index(view))
