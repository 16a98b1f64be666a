"""Echo requests, and whom the softirq that answered them interrupted; attached only while it is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import numpy as np
from rich.segment import Segment
from textual import work
from textual.binding import Binding, BindingType
from textual.strip import Strip
from textual.worker import get_current_worker

from tcptop_tui import formats, safe_text
from tcptop_tui.filters.process_names import distinct_names
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.wall_clock import WallClock
from tcptop_tui.records import Rows
from tcptop_tui.safe_text import fit
from tcptop_tui.widgets.panels.panel import Panel

AttachProbe: TypeAlias = Callable[[Callable[[float], bool]], str]
"""Runs the probe until told to stop; answers why it could not, or nothing."""

_SUMMARY_CELLS = 26
_MOST_LINES = 64
_HEADER = f"{'TIME':<12} {'CPU':>3} {'TGID':>7} {'PID':>7} {'COMM':<15} {'SADDR':<15} {'ID':>5} {'SEQ':>5}"


class PingView(Panel, can_focus=True):
    """Shows ``Snapshot.pings``, newest first.

    Args:
        attach: called in a thread when the view comes to be seen; told to stop when it is left.
    """

    VIEW = 4
    HELP = "ICMP echo requests, and the process that each of them interrupted."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "lines(-1)", "Line up", show=False),
        Binding("down,j", "lines(1)", "Line down", show=False),
        Binding("pageup", "pages(-1)", "Page up", show=False),
        Binding("pagedown", "pages(1)", "Page down", show=False),
        Binding("home", "top", "Newest", show=False),
    ]

    def __init__(self, attach: AttachProbe, *, id: str) -> None:
        super().__init__(id=id)
        self._probe = attach
        self._frame = Frame()
        self._side: list[str] = []
        self.problem = ""
        """Why nothing is attached; one line."""

    def on_show(self) -> None:
        """Attach."""
        self.problem = ""
        self._run()

    def on_hide(self) -> None:
        """Detach: what nobody looks at costs nothing."""
        self.workers.cancel_node(self)

    @work(thread=True, group="pings", exclusive=True, exit_on_error=False)
    def _run(self) -> None:
        worker = get_current_worker()
        complaint = self._probe(worker.cancelled_event.wait)
        if not worker.is_cancelled:
            self.app.call_from_thread(self.show_problem, complaint)

    def show_problem(self, complaint: str) -> None:
        """Say why nothing is attached."""
        self.problem = safe_text.clean(complaint)
        self.refresh()

    def show(self, frame: Frame) -> None:
        """Paint ``frame``; who has scrolled down stays with the same requests."""
        newer = frame.snapshot.pings_total - self._frame.snapshot.pings_total
        more_lost = frame.snapshot.pings_lost != self._frame.snapshot.pings_lost
        self._frame = frame
        if not newer and not more_lost and self._side:
            return
        self._side = summary_lines(frame.snapshot.pings)
        self.set_line_count(max(len(frame.snapshot.pings) + 2, len(self._side)))
        if self.scroll_offset.y:
            self.scroll_to(y=self.scroll_offset.y + newer, animate=False, force=True, immediate=True)
        lost = f"lost {frame.snapshot.pings_lost:,}" if frame.snapshot.pings_lost else ""
        self.set_title(f"Ping {frame.snapshot.pings_total:,}", lost)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the title or a request, and the summary beside it."""
        width = self.size.width
        style = self.visual_style.rich_style
        line = self._line(y)
        if width > len(_HEADER) + _SUMMARY_CELLS:
            beside = self._side[y] if y < len(self._side) else ""
            line = fit(line, width - _SUMMARY_CELLS - 1) + " " + fit(beside, _SUMMARY_CELLS)
        elif y == 0 and not self.problem and len(self._frame.snapshot.pings):
            line = "interrupted: " + " · ".join(" ".join(part.split()) for part in self._side[1:] if part)
        line = fit(line, width)
        return Strip([Segment(line, style)]).adjust_cell_length(width, style)

    def _line(self, y: int) -> str:
        if y == 0:
            return self.problem or "The probe is attached only while this view is open."
        if y == 1:
            return _HEADER
        facts = self._frame.snapshot
        index = len(facts.pings) - 1 - (self.scroll_offset.y + y - 2)
        if index < 0:
            return ""
        return ping_line(facts.pings[index], facts.wall_clock)

    def action_lines(self, lines: int) -> None:
        """Scroll by lines."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)
        self.refresh()

    def action_pages(self, pages: int) -> None:
        """Scroll by a screenful."""
        self.action_lines(pages * max(1, self.size.height - 3))

    def action_top(self) -> None:
        """Go to the newest, and stay there."""
        self.scroll_to(y=0, animate=False)


def ping_line(row: np.void, wall: WallClock) -> str:
    """One request."""
    words = row["saddr"]
    comm = safe_text.clean(bytes(row["comm"])) or formats.UNKNOWN
    return (
        f"{formats.clock(wall.utc_ns(int(row['ts_ns']))):<12} {row['cpu']:>3} {row['tgid']:>7} {row['pid']:>7} "
        f"{fit(comm, 15)} {formats.address((int(words[0]), int(words[1]))):<15} {row['id']:>5} {row['seq']:>5}"
    )


def summary_lines(pings: Rows) -> list[str]:
    """Requests by process and by CPU, most first; of what is kept."""
    names, name_of = distinct_names(pings["comm"])
    processes = [
        (safe_text.clean(bytes(pings["comm"][leader])) or formats.UNKNOWN, int((name_of == leader).sum()))
        for leader in names[:_MOST_LINES]
    ]
    cpus, counts = np.unique(pings["cpu"], return_counts=True)
    by_cpu = [(f"CPU {cpu}", int(count)) for cpu, count in zip(cpus[:_MOST_LINES], counts, strict=False)]
    lines = ["interrupted"]
    for part in (processes, by_cpu):
        lines += [f"{fit(name, 15)} {count:>9,}" for name, count in sorted(part, key=lambda item: -item[1])]
        lines.append("")
    return lines
