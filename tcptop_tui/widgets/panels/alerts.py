"""The alert strip: a line each for what is wrong; not there while nothing is."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tcptop_tui.export.alert_text import alert_text
from tcptop_tui.model.alert_kinds import Alert
from tcptop_tui.model.frame import Frame
from tcptop_tui.safe_text import clean, fit

_MOST_LINES = 3
_TALL_LINES = 30


class AlertStrip(Widget, can_focus=True):
    """Shows ``Snapshot.alerts``, worst first."""

    HELP = "What is wrong on this host; Enter shows the connections that an alert is about."
    COMPONENT_CLASSES: ClassVar[set[str]] = {"alert--severe", "alert--mild", "alert--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "show_alert", "Show", tooltip="Show the connections that the alert is about"),
        Binding("up,k", "move(-1)", "Previous alert", show=False),
        Binding("down,j", "move(1)", "Next alert", show=False),
        Binding("escape", "leave", "Back to the list", show=False),
    ]

    class Opened(Message):
        """Somebody wants to see what an alert is about; None: nobody wants any more."""

        def __init__(self, alert: Alert | None) -> None:
            self.alert = alert
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._alerts: tuple[Alert, ...] = ()
        self._cursor = 0
        self.display = False

    def show(self, frame: Frame) -> None:
        """Paint the alerts of ``frame``; the cursor stays on its own."""
        alerts = frame.snapshot.alerts
        texts, painted_texts = ([(one.key, alert_text(one)) for one in each] for each in (alerts, self._alerts))
        if texts == painted_texts:
            self._alerts = alerts
            self.styles.height = self._lines  # the terminal may have another size
            return
        chosen = self._alerts[self._cursor].key if self._cursor < len(self._alerts) else ""
        keys = [alert.key for alert in alerts]
        self._cursor = keys.index(chosen) if chosen in keys else min(self._cursor, max(0, len(alerts) - 1))
        self._alerts = alerts
        if not alerts and self.has_focus:
            self.post_message(self.Opened(None))
        self.display = bool(alerts)
        self.styles.height = self._lines
        self.refresh()

    @property
    def _lines(self) -> int:
        return max(1, min(len(self._alerts), _MOST_LINES if self.app.size.height >= _TALL_LINES else 1))

    def render_line(self, y: int) -> Strip:
        """``! nginx: 210+ in CLOSE_WAIT, oldest 3h``; the last line tells how many there are, and the key."""
        base, lines, width = self.rich_style, self._lines, self.size.width
        first = max(0, self._cursor - lines + 1) if self.has_focus else 0
        place = first + y
        if place >= len(self._alerts):
            return Strip.blank(width, base)
        alert = self._alerts[place]
        count = f"{len(self._alerts)} alert{'' if len(self._alerts) == 1 else 's'}"
        behind = f"  a: {count}" if y == lines - 1 else ""
        style = self.get_component_rich_style("alert--severe" if alert.severe else "alert--mild")
        if self.has_focus and place == self._cursor:
            style = self.get_component_rich_style("alert--cursor")
        return Strip(
            [Segment(fit(f"! {clean(alert_text(alert))}", max(1, width - len(behind))), style), Segment(behind, base)]
        )

    def on_focus(self) -> None:
        """Show the cursor."""
        self.refresh()

    def on_blur(self) -> None:
        """Hide it."""
        self.refresh()

    def action_move(self, step: int) -> None:
        """Choose another one."""
        self._cursor = max(0, min(self._cursor + step, len(self._alerts) - 1))
        self.refresh()

    def action_show_alert(self) -> None:
        """Go to what it is about."""
        if self._cursor < len(self._alerts):
            self.post_message(self.Opened(self._alerts[self._cursor]))

    def action_leave(self) -> None:
        """Back to where the keys were."""
        self.post_message(self.Opened(None))

    def on_click(self, event: events.Click) -> None:
        """Go to the one that was clicked."""
        if event.y < len(self._alerts):
            self._cursor = event.y
            self.action_show_alert()
