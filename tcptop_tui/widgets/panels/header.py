"""Three lines at the top: where we are, what the host has, and whether it can be believed."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from tcptop_tui import formats, text
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.histogram import summarise
from tcptop_tui.model.per_second import Beat
from tcptop_tui.records import State
from tcptop_tui.widgets.spark import spark
from tcptop_tui.widgets.states import STATE_CLASSES, state_style

_ORDER = (
    State.ESTABLISHED, State.SYN_SENT, State.SYN_RECV, State.CLOSE_WAIT, State.FIN_WAIT1, State.FIN_WAIT2,
    State.CLOSING, State.LAST_ACK, State.TIME_WAIT, State.LISTEN, State.CLOSE,
)  # fmt: skip
"""What matters most to somebody in trouble first."""

_BEATS = {
    Beat.TRANSITIONS: "transitions/s", Beat.OPENED: "opened/s", Beat.FAILED: "failed/s", Beat.CLOSED: "closed/s",
    Beat.RETRANS: "retrans/s",
}  # fmt: skip
_TROUBLE = {Beat.FAILED, Beat.RETRANS}
_SPARK_CELLS = 10
_NUMBER_CELLS = 4
_GAP = 2
_TALL_LINES = 20
"""Below that the sparklines would cost too much of the list."""


class HeaderLines(Widget):
    """Host, kernel, backend; connections by state; pace, loss, filter; a note when there is one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "header--name", "header--distrust", "header--trouble", "header--note", *STATE_CLASSES,
    }  # fmt: skip

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

    def on_resize(self) -> None:
        """As much of each line as there is room for now."""
        self.show(self._frame, self._paused)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as there are: each is cut to the width, after a resize as well."""
        del container, viewport, width
        return self._painted.plain.count("\n") + 1

    def render(self) -> RenderableType:
        """The lines of the latest frame."""
        return self._painted

    def _compose_text(self) -> Text:
        lines = [self._where(), self._states(), self._trust()]
        if self.app.size.height >= _TALL_LINES:
            lines.insert(2, self._pulse())
        note = self._frame.facts.status.note
        if note:
            lines.append(Text(text.clean(note), style=self._style("note")))
        for line in lines:
            line.no_wrap = True
            line.truncate(max(10, self.size.width or 80), overflow="ellipsis")
        return Text("\n").join(lines)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"header--{name}", partial=True)

    def _where(self) -> Text:
        status = self._frame.facts.status
        line = Text()
        line.append("tcptop-tui ", style=self._style("name"))
        line.append(f"{self._host}  Linux {self._kernel}  ")
        line.append(f"backend {text.clean(status.backend) or 'starting…'}")
        if status.ended:
            line.append("  ENDED", style=self._style("distrust"))
        elif self._paused is not None:
            line.append(f"  PAUSED +{self._paused:,} transitions, p goes on")
        return line

    def _states(self) -> Text:
        facts = self._frame.facts
        if not facts.begun:
            return Text("no socket was read" if facts.status.ended else facts.status.stage or "starting")
        counts = np.bincount(facts.rows["state"], minlength=16)
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
        room = self.size.width or 80
        for beat in Beat if counts.shape[1] else ():
            room -= len(_BEATS[beat]) + _SPARK_CELLS + _NUMBER_CELLS + 2
            if room < 0:
                break
            line.append_text(self._beat(beat, counts[beat]))
            line.append(" " * _GAP)
            room -= _GAP
        return line

    def _beat(self, beat: Beat, counts: NDArray[np.float64]) -> Text:
        """``failed/s ▁▁▂▁ 3   ``: a longer number takes cells from the sparkline, so that names stay where they are."""
        latest = counts[-1]
        number = formats.UNKNOWN if np.isnan(latest) else formats.count(int(latest))
        over = max(0, len(number) - _NUMBER_CELLS)
        line = Text(f"{_BEATS[beat]} ", style="dim")
        line = Text.assemble(line, spark(counts.tolist(), _SPARK_CELLS - over), " ")
        style = self._style("trouble") if beat in _TROUBLE and latest > 0 else ""
        return line.append(f"{number:<{_NUMBER_CELLS}}", style=style)

    def _trust(self) -> Text:
        facts = self._frame.facts
        line = Text()
        if self.app.size.height < _TALL_LINES:  # else the line above says it
            pace = facts.transitions_per_s
            line.append(f"{formats.UNKNOWN if np.isnan(pace) else f'{pace:,.0f}'} transitions/s  ")
        loss = facts.loss
        for name, number in (
            ("lost", loss.lost), ("map full", loss.map_full), ("missed", loss.missed), ("mended", loss.mended),
        ):  # fmt: skip
            if number or name != "map full":
                told = f"{number:,}" if facts.begun or number else formats.UNKNOWN
                line.append(f"{name} {told}", style=self._style("distrust") if number else "").append("  ")
        if facts.behind_s:
            line.append(f"behind {facts.behind_s:,} s", style=self._style("distrust")).append("  ")
        shown = self._frame.look.filter.text
        if shown:
            matching = len(self._frame.present) + self._frame.time_waits
            line.append(f"{matching:,} of {len(facts.rows):,} match ")
            line.append(text.clean(shown), style="bold").append("  ")
        if self._frame.look.hidden is not None:
            line.append("own SSH hidden", style="bold").append("  ")
        if self._frame.look.pinned:
            line.append(f"{text.clean(self._frame.look.pinned)}", style="bold").append("  ")
        summary = summarise(self._frame.rtt.hist, self._frame.rtt.sum_us)
        if summary.p50_us is not None and summary.p99_us is not None:
            line.append(f"RTT p50 {formats.rtt_us(summary.p50_us)} p99 {formats.rtt_us(summary.p99_us)}")
            line.append(f" since {facts.since}")
        return line
