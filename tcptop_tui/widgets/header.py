"""Three lines at the top: where we are, what the host has, and whether it can be believed."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich.console import RenderableType
from rich.text import Text
from textual.widget import Widget

from tcptop_tui import formats, text
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.histogram import summarise
from tcptop_tui.model.pulse import Beat
from tcptop_tui.records import State
from tcptop_tui.widgets.spark import spark
from tcptop_tui.widgets.states import STATE_CLASSES, state_style

_ORDER = (
    State.ESTABLISHED, State.SYN_SENT, State.SYN_RECV, State.CLOSE_WAIT, State.FIN_WAIT1, State.FIN_WAIT2,
    State.CLOSING, State.LAST_ACK, State.TIME_WAIT, State.LISTEN, State.CLOSE,
)  # fmt: skip
"""What matters most to somebody in trouble first."""

_BEATS = {
    Beat.TRANSITIONS: "moves/s", Beat.OPENED: "opened", Beat.FAILED: "failed", Beat.CLOSED: "closed",
    Beat.RETRANS: "retrans",
}  # fmt: skip
_ALARMING = {Beat.FAILED, Beat.RETRANS}
_SPARK_CELLS = 10
_BEAT_CELLS = 16
"""Name, number, and the blanks between."""
_TALL_LINES = 20
"""Below that the sparklines would cost too much of the list."""


class HeaderLines(Widget):
    """Host, kernel, backend; connections by state; pace, loss, filter; a note when there is one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"header--name", "header--loss", "header--note", *STATE_CLASSES}

    def __init__(self, host: str, kernel: str, *, id: str) -> None:
        super().__init__(id=id)
        self._host, self._kernel = text.clean(host), text.clean(kernel)
        self._frame = Frame()
        self._paused: int | None = None
        self._painted = Text()

    def show(self, frame: Frame, paused: int | None = None) -> None:
        """Paint ``frame``; ``paused`` is how many transitions have come since, while paused."""
        self._frame, self._paused = frame, paused
        painted = self._compose_text()
        if painted != self._painted:
            taller = painted.plain.count("\n") != self._painted.plain.count("\n")
            self._painted = painted
            self.refresh(layout=taller)

    def render(self) -> RenderableType:
        """The lines of the latest frame."""
        return self._painted

    def _compose_text(self) -> Text:
        lines = [self._where(), self._states(), self._trust()]
        if self.app.size.height >= _TALL_LINES:
            lines.insert(2, self._pulse())
        note = self._frame.facts.status.note
        if note:
            style = self.get_component_rich_style("header--note", partial=True)
            lines.append(Text(text.clean(note), style=style))
        for line in lines:
            line.no_wrap = True
            line.truncate(max(10, self.size.width or 80), overflow="ellipsis")
        return Text("\n").join(lines)

    def _where(self) -> Text:
        status = self._frame.facts.status
        line = Text()
        line.append("tcptop-tui ", style=self.get_component_rich_style("header--name", partial=True))
        line.append(f"{self._host}  Linux {self._kernel}  ")
        line.append(f"backend {text.clean(status.backend) or 'starting…'}")
        if status.ended:
            line.append("  ENDED", style=self.get_component_rich_style("header--loss", partial=True))
        elif self._paused is not None:
            line.append(f"  PAUSED +{self._paused:,} transitions, p goes on")
        return line

    def _states(self) -> Text:
        counts = np.bincount(self._frame.facts.rows["state"], minlength=16)
        line = Text(f"{int(counts.sum()):,} sockets")
        for state in _ORDER:
            if counts[state]:
                line.append("  ")
                line.append(f"{state.name} ", style=state_style(self, state))
                line.append(f"{int(counts[state]):,}")
        return line

    def _pulse(self) -> Text:
        """As many sparklines as fit, each with its last second's number."""
        counts = self._frame.facts.pulse
        line = Text()
        room = (self.size.width or 80) // (_SPARK_CELLS + _BEAT_CELLS)
        for beat in list(Beat)[: max(1, room)] if counts.shape[1] else ():
            latest = counts[beat, -1]
            number = formats.UNKNOWN if np.isnan(latest) else formats.count(int(latest))
            alarm = beat in _ALARMING and latest > 0
            line.append(f"{_BEATS[beat]} ", style="dim")
            room_for_number = _BEAT_CELLS - len(_BEATS[beat]) - 2
            over = max(0, len(number) + 1 - room_for_number)  # or it would touch the next name
            line.append(spark(counts[beat].tolist(), _SPARK_CELLS - over))
            style = self.get_component_rich_style("header--loss", partial=True) if alarm else ""
            line.append(f" {number:<{room_for_number + over}}", style=style)
        return line

    def _trust(self) -> Text:
        facts = self._frame.facts
        line = Text()
        if self.app.size.height < _TALL_LINES:  # else the line above says it
            line.append(f"{facts.transitions_per_s:,.0f} transitions/s  ")
        alarm = self.get_component_rich_style("header--loss", partial=True)
        loss = facts.loss
        for name, number in (
            ("lost", loss.lost), ("map full", loss.map_full), ("missed", loss.missed), ("mended", loss.mended),
        ):  # fmt: skip
            if number or name != "map full":
                line.append(f"{name} {number:,}", style=alarm if number else "").append("  ")
        shown = self._frame.look.filter.text
        if shown:
            line.append(f"filter {text.clean(shown)} ", style="bold")
            line.append(f"({len(self._frame.present):,} of {len(facts.rows):,})  ")
        if self._frame.look.hidden is not None:
            line.append("own SSH hidden", style="bold").append("  ")
        if self._frame.look.pinned:
            line.append(f"{text.clean(self._frame.look.pinned)}", style="bold").append("  ")
        summary = summarise(self._frame.rtt.hist, self._frame.rtt.sum_us)
        if summary.p50_us is not None and summary.p99_us is not None:
            line.append(f"RTT p50 {formats.rtt_us(summary.p50_us)} p99 {formats.rtt_us(summary.p99_us)}")
        return line
