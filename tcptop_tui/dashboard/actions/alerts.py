"""Keys for what is wrong: the alert strip."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.widgets.panels.alerts import AlertStrip
from tcptop_tui.widgets.panels.panel import WAITING
from tcptop_tui.widgets.views.board import BoardView


class AlertActions(ViewApp):
    """Goes to the alerts, and from an alert to what it is about."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "alerts", "Go to the alerts; Enter shows the connections of one", show=False, priority=True),
    ]

    def action_alerts(self) -> None:
        """Give the keys to the strip."""
        strip = self.panel(AlertStrip)
        if strip.display:
            self.screen.set_focus(strip)  # at once: the next key may be here already
        elif not self.frame.snapshot.has_table:
            self.notify(WAITING, timeout=3)
        else:
            self.notify("there are no alerts", timeout=3)

    @on(AlertStrip.Opened)
    def _alert_opened(self, event: AlertStrip.Opened) -> None:
        if event.alert is None:
            self.focus_view()
            return
        self.show_filtered(event.alert.filter, event.alert.view)

    @on(BoardView.Opened)
    def _board_opened(self, event: BoardView.Opened) -> None:
        self.show_filtered(event.filter_text, "connections")
