"""Three lines at the top: where we are, what the host has, and whether it can be believed."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from tcptop_tui import formats, safe_text
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.histogram import summarize
from tcptop_tui.model.per_second import EventKind
from tcptop_tui.records import State
from tcptop_tui.widgets.fitting import Item, fitted_line, fitting
from tcptop_tui.widgets.sparkline import sparkline
from tcptop_tui.widgets.state_style import STATE_CLASSES, state_style
from tcptop_tui.widgets.time_texts import start_text

_ORDER = (
    State.ESTABLISHED, State.SYN_SENT, State.SYN_RECV, State.CLOSE_WAIT, State.FIN_WAIT1, State.FIN_WAIT2,
    State.CLOSING, State.LAST_ACK, State.TIME_WAIT, State.LISTEN, State.CLOSE,
)  # fmt: skip
"""What matters most to somebody in trouble first."""

_STATE_RANKS = (
    State.ESTABLISHED, State.CLOSE_WAIT, State.SYN_SENT, State.SYN_RECV, State.TIME_WAIT, State.FIN_WAIT2,
    State.LAST_ACK, State.FIN_WAIT1, State.CLOSING, State.LISTEN, State.CLOSE,
)  # fmt: skip
"""The states that keep their place on a narrow screen, first to last."""
_SHORT_NAMES = {State.ESTABLISHED: "ESTAB"}
"""As ss has it."""

_FEW_STATES = 3

_BEATS = {
    EventKind.FAILED: "failed/s", EventKind.RETRANS: "retrans/s", EventKind.OPENED: "opened/s",
    EventKind.CLOSED: "closed/s", EventKind.TRANSITIONS: "transitions/s",
}  # fmt: skip
"""In their order on the screen, and in the order of how much they matter."""
_TROUBLE = {EventKind.FAILED, EventKind.RETRANS}
_SPARK_CELLS = (10, 5)
"""What a sparkline takes, and what it takes where there is little room."""
_NUMBER_CELLS = 4
_TALL_LINES = 20
"""Below that the sparklines would cost too much of the list."""
_LEAST_CELLS = 8
"""Of a filter's text: less of it says nothing."""
_NOTE_LINES, _LOW_NOTE_LINES = 3, 2


class HeaderLines(Widget):
    """Host, kernel, backend; connections by state; pace, loss, filter; a note when there is one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "header--name", "header--distrust", "header--trouble", "header--note", *STATE_CLASSES,
    }  # fmt: skip

    def __init__(self, host: str, kernel: str, *, id: str) -> None:
        super().__init__(id=id)
        self._host, self._kernel = safe_text.clean(host), safe_text.clean(kernel)
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
        cells, tall = max(10, self.size.width or 80), self.app.size.height >= _TALL_LINES
        lines = [fitted_line(list(self._host_line()), cells), self._states(cells)]
        if tall:
            lines.append(fitted_line(list(self._per_second_line(_SPARK_CELLS)), cells))
        lines += [
            fitted_line([*self._loss_line(), *(() if tall else self._per_second_line())], cells),
            *self._note(cells, tall=tall),
        ]
        for line in lines:
            line.no_wrap = True
        return Text("\n").join(lines)

    def _note(self, cells: int, *, tall: bool) -> list[Text]:
        """What the source says of itself: why it is not the one that was wanted, or why it has stopped."""
        note = safe_text.clean(self._frame.snapshot.status.note)
        most = _NOTE_LINES if tall else _LOW_NOTE_LINES
        lines = wrap(note, cells, max_lines=most, placeholder=" …") if note else []
        return [Text(line, style=self._style("note")) for line in lines]

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"header--{name}", partial=True)

    def _host_line(self) -> Iterator[Item]:
        status = self._frame.snapshot.status
        yield Item(2, (Text("tcptop-tui", style=self._style("name")),))
        yield Item(3, (Text(self._host),), cut=_LEAST_CELLS)
        yield Item(4, (Text(f"Linux {self._kernel}"),))
        backend = safe_text.clean(status.backend) or "starting…"
        yield Item(1, (Text(f"backend {backend}"), Text(backend)))
        if status.ended:
            yield Item(0, (Text("ENDED", style=self._style("distrust")),))
        elif self._paused is not None:
            told = f"PAUSED +{self._paused:,}"
            yield Item(0, (Text(f"{told} transitions (p resumes)"), Text(f"{told} (p resumes)"), Text(told)))

    def _states(self, cells: int) -> Text:
        """Connections by state; those that have no room are counted together, so that the sum is right."""
        facts = self._frame.snapshot
        if not facts.has_table:
            stage = Text("no socket was read" if facts.status.ended else facts.status.stage or "starting")
            return Item(0, (stage,), cut=1).within(cells)
        counts = np.bincount(facts.rows["state"], minlength=16)
        total = int(counts.sum())
        items = {state: self._state(state, int(counts[state])) for state in _ORDER if counts[state]}
        sockets = Item(len(State), (Text(f"{total:,} socket{'' if total == 1 else 's'}"),))
        if len(fitting([sockets, *items.values()], cells)) > len(items):
            return fitted_line([sockets, *items.values()], cells)
        shown = dict(items)
        while shown:
            del shown[max(shown, key=lambda state: items[state].rank)]
            rest = total - sum(int(counts[state]) for state in shown)
            line = [*shown.values(), Item(0, (Text(f"other {rest:,}"),))]
            if len(shown) >= _FEW_STATES:  # else one more state says more than the sum
                line.insert(0, sockets)
            if len(fitting(line, cells)) == len(line):
                return fitted_line(line, cells)
        return sockets.within(cells)

    def _state(self, state: State, count: int) -> Item:
        names = dict.fromkeys((state.name, _SHORT_NAMES.get(state, state.name)))
        style = state_style(self, state)
        return Item(
            _STATE_RANKS.index(state), tuple(Text.assemble((f"{name} ", style), f"{count:,}") for name in names)
        )

    def _per_second_line(self, sparks: tuple[int, ...] = ()) -> Iterator[Item]:
        """What happened in the last second, with sparklines of so many cells if there are any."""
        counts = self._frame.snapshot.per_second
        for rank, beat in enumerate(_BEATS if counts.shape[1] else ()):
            trouble = beat in _TROUBLE and counts[beat][-1] > 0
            forms = [self._event_rate(beat, counts[beat], cells) for cells in sparks]
            if not forms or beat not in _TROUBLE:  # how a trouble has gone matters as much as its number
                forms.append(self._event_rate(beat, counts[beat], 0, padded=bool(sparks)))
            yield Item((0 if trouble else 10) + rank, tuple(forms))

    def _event_rate(self, beat: EventKind, counts: NDArray[np.float64], cells: int, *, padded: bool = True) -> Text:
        """``failed/s ▁▁▂▁ 3   ``: a longer number takes cells from the sparkline, so that names stay where they are."""
        latest = counts[-1]
        number = formats.UNKNOWN if np.isnan(latest) else formats.count(int(latest))
        over = max(0, len(number) - _NUMBER_CELLS)
        line = Text(f"{_BEATS[beat]} ", style="dim")
        drawn = sparkline(counts.tolist(), cells - over) + " " if cells > over else ""
        style = self._style("trouble") if beat in _TROUBLE and latest > 0 else ""
        return Text.assemble(line, drawn, (f"{number:<{_NUMBER_CELLS if padded else 0}}", style))

    def _loss_line(self) -> Iterator[Item]:
        """Whether the numbers can be believed, and what they are of."""
        facts, distrust = self._frame.snapshot, self._style("distrust")
        loss = facts.loss
        for name, number in (
            ("lost", loss.lost), ("map full", loss.map_full), ("missed", loss.missed), ("mended", loss.mended),
        ):  # fmt: skip
            if number or name != "map full":
                told = f"{number:,}" if facts.has_table or number else formats.UNKNOWN
                rank = 0 if number else 11.5 if name == "lost" else 20
                yield Item(rank, (Text(f"{name} {told}", style=distrust if number else ""),))
        if facts.behind_s:
            yield Item(0, (Text(f"behind {facts.behind_s:,} s", style=distrust),))
        yield from self._selection()
        summary = summarize(self._frame.rtt.hist, self._frame.rtt.sum_us)
        if summary.p50_us is not None and summary.p99_us is not None:
            told = f"RTT p50 {formats.rtt_us(summary.p50_us)} p99 {formats.rtt_us(summary.p99_us)}"
            yield Item(21, (Text(f"{told} since {start_text(facts)}"),))

    def _selection(self) -> Iterator[Item]:
        """What the user has left out of what is shown."""
        facts, look = self._frame.snapshot, self._frame.view_options
        if look.filter.text:
            matching = len(self._frame.live_order) + self._frame.hidden_time_waits
            told = f"{matching:,} of {len(facts.rows):,} match "
            line = Text.assemble(told, (safe_text.clean(look.filter.text), "bold"))
            yield Item(5, (line,), cut=len(told) + _LEAST_CELLS)
        if look.hide_filter is not None:
            yield Item(7, (Text("own SSH hidden", style="bold"),))
        if look.capture_note:
            yield Item(6, (Text(safe_text.clean(look.capture_note), style="bold"),), cut=2 * _LEAST_CELLS)
