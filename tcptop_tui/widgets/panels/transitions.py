"""The scrolling log of state transitions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.strip import Strip

from tcptop_tui import formats, safe_text
from tcptop_tui.fields import RowContext
from tcptop_tui.fields.formatters import devices
from tcptop_tui.filters import Filter
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import UNKNOWN_NS, Flag
from tcptop_tui.safe_text import fit, fit_middle
from tcptop_tui.stream.batches import Names
from tcptop_tui.widgets.panels.panel import WAITING, Panel, count_text
from tcptop_tui.widgets.panels.search_bar import next_match
from tcptop_tui.widgets.state_style import STATE_CLASSES, state_style

_STATES_CELLS = 23
"""``ESTABLISHED→FIN_WAIT1`` and the like."""


class TransitionLog(Panel, can_focus=True):
    """Shows ``Frame.log``, oldest first; follows the end until the user scrolls up."""

    HELP = "Every change of state, as it happens."
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--time", "log--mark", "log--found", *STATE_CLASSES}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_lines(-1)", "Line up", show=False),
        Binding("down,j", "scroll_lines(1)", "Line down", show=False),
        Binding("pageup", "scroll_pages(-1)", "Page up", show=False),
        Binding("pagedown", "scroll_pages(1)", "Page down", show=False),
        Binding("home,g", "oldest", "Oldest", show=False),
        Binding("end,G", "follow", "Newest, and follow", show=False),
    ]

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts
        self._frame = Frame()
        self._following = True
        self._last_seen = 0
        self.searching = False
        """The line that was found is shown as found."""
        self._match = 0
        self._search_from = 0
        self.set_title("Transitions")

    # -- data ---------------------------------------------------------------------------------

    def _numbers(self, frame: Frame) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Running numbers of the shown transitions: they stay when older ones fall out."""
        return frame.log + _first_number(frame)

    def show(self, frame: Frame) -> None:
        """Paint ``frame``, at its end or where the user has scrolled to."""
        old, self._frame = self._frame, frame
        self.set_line_count(len(frame.log))
        before, after = ((one.snapshot.log_total, one.snapshot.has_table, one.view_options) for one in (old, frame))
        same = before == after
        if same and len(old.log) == len(frame.log):
            return
        if self._following:
            self._last_seen = frame.snapshot.log_total
            self.scroll_end(animate=False, force=True, immediate=True)
        else:
            self._keep_top_line(old)
        self._retitle()
        self.refresh()

    def _keep_top_line(self, old: Frame) -> None:
        """Keep the line at the top of the screen there."""
        before = self._numbers(old)
        top = min(self.scroll_offset.y, len(before) - 1)
        if top >= 0:
            line = int(np.searchsorted(self._numbers(self._frame), before[top]))
            self.scroll_to(y=line, animate=False, force=True, immediate=True)

    def _retitle(self) -> None:
        newer = int((self._numbers(self._frame) >= self._last_seen).sum())
        subtitle = "" if self._following or not newer else f"{newer:,} newer ▼ End"
        facts = self._frame.snapshot
        span = f" {facts.span_text(facts.log_since_ns)}" if facts.has_table else ""
        self.set_title(f"Transitions {count_text(facts, len(self._frame.log))}{span}", subtitle)

    # -- search -------------------------------------------------------------------------------

    def begin_search(self) -> None:
        """From the last line on the screen ``find`` goes: back, as one reads a log."""
        self._search_from = self.scroll_offset.y + self.size.height - 1
        self._match = _first_number(self._frame) + self._search_from

    def find(self, wanted: Filter, step: int) -> str:
        """Go to the next match, for -1 to the one before, for 0 to the last up to where the search began.

        Returns:
            What to say of it.
        """
        facts = self._frame.snapshot
        places = np.flatnonzero(wanted.matches(facts.context_of(facts.log))[self._frame.log])
        now = int(np.searchsorted(self._numbers(self._frame), self._match))
        found, told = next_match(places, now + step if step else self._search_from, step or -1)
        if found is not None:
            self._match = int(self._numbers(self._frame)[found])
            top = found - self.size.height // 2
            self._following = False
            self.scroll_to(y=max(0, top), animate=False, force=True)
            self.refresh()
        return told

    # -- painting -----------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.size.width
        line = self.scroll_offset.y + y
        if not self._frame.snapshot.has_table and not len(self._frame.log) and y == 0:
            style = self.visual_style.rich_style
            return Strip([Segment(WAITING, style)]).adjust_cell_length(width, style)
        if line >= len(self._frame.log):
            return Strip.blank(width, self.visual_style.rich_style)
        index = int(self._frame.log[line])
        row = self._frame.snapshot.log[index]
        if self.searching and index + _first_number(self._frame) == self._match:
            chosen = self.get_component_rich_style("log--found")
            plain = "".join(segment.text for segment in self._segments(row, width))
            return Strip([Segment(plain, chosen)]).adjust_cell_length(width, chosen)
        return Strip(self._segments(row, width)).adjust_cell_length(width, self.visual_style.rich_style)

    def _segments(self, row: np.void, width: int) -> list[Segment]:
        base = self.visual_style.rich_style
        facts = self._frame.snapshot
        clock = formats.clock(facts.wall_clock.utc_ns(int(row["ts_ns"])))
        spent_ns = int(row["time_in_state_ns"])
        spent = formats.UNKNOWN if spent_ns == UNKNOWN_NS else formats.duration_ns(spent_ns)
        old, new = (formats.state_name(int(row[name])) for name in ("oldstate", "newstate"))
        mark = "~" if row["flags"] & Flag.POLLED else " "
        pad = " " * max(0, _STATES_CELLS - len(old) - len(new) - 1)
        return [
            Segment(clock, base + self.get_component_rich_style("log--time", partial=True)),
            Segment(mark, base + self.get_component_rich_style("log--mark", partial=True)),
            Segment(
                log_endpoints(row, width, facts.names, self._hosts if self._frame.view_options.names else None), base
            ),
            Segment(" ", base),
            Segment(old, base + state_style(self, int(row["oldstate"]))),
            Segment("→", base),
            Segment(new + pad, base + state_style(self, int(row["newstate"]))),
            Segment(fit(spent, 8, right=True), base),
        ]

    # -- keys ---------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Scrolling up stops following, reaching the end starts it again."""
        super().watch_scroll_y(old_value, new_value)
        if self.is_vertical_scroll_end:
            self._following = True
            self._last_seen = self._frame.snapshot.log_total
        elif new_value < old_value:
            if self._following:
                self._last_seen = self._frame.snapshot.log_total
            self._following = False
        self._retitle()

    def on_resize(self) -> None:
        """Stay at the end, wherever that is now."""
        if self._following:
            self.scroll_end(animate=False, force=True, immediate=True)

    def action_scroll_lines(self, lines: int) -> None:
        """Scroll by lines."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def action_scroll_pages(self, pages: int) -> None:
        """Scroll by a screenful."""
        self.scroll_to(y=self.scroll_offset.y + pages * max(1, self.size.height - 1), animate=False)

    def action_oldest(self) -> None:
        """Go to the oldest line that is kept."""
        self.scroll_to(y=0, animate=False)

    def action_follow(self) -> None:
        """Go to the newest line and stay with it."""
        self._following = True
        self.scroll_end(animate=False, force=True)


def _first_number(frame: Frame) -> int:
    """Of the oldest line that is kept; lines keep their numbers when older ones fall out."""
    return frame.snapshot.log_total - len(frame.snapshot.log)


def log_endpoints(row: np.void, width: int, names: Names, hosts: HostNames | None = None) -> str:
    """Process and both ends of a transition, in what a line of ``width`` leaves for them."""
    room = width - 12 - 1 - 1 - _STATES_CELLS - 8
    comm = safe_text.clean(bytes(row["comm"])) or formats.UNKNOWN
    lport = str(row["lport"]) if row["lport"] else formats.UNKNOWN
    rport = str(row["rport"]) if row["rport"] else "*"
    laddr, raddr = (formats.address((int(row[n][0]), int(row[n][1]))) for n in ("laddr", "raddr"))
    if hosts is not None:
        laddr, raddr = hosts.host(laddr), hosts.host(raddr)
    if room >= 58:
        name = 15
        laddr, raddr = _shared(
            laddr + devices(RowContext(np.array([row]), 0, names=names))[0],
            raddr,
            room - name - len(f" []:{lport} ↔ []:{rport}"),
        )
        ends = f"{formats.endpoint(laddr, lport)} ↔ {formats.endpoint(raddr, rport)}"
    elif room >= 34:
        name = room - 28
        raddr = raddr if len(raddr) <= 15 else fit_middle(raddr, 13)  # which leaves room for brackets
        ends = f"{lport:>5}↔{formats.endpoint(raddr, rport)}"
    else:
        name = max(4, room - 13)
        ends = f"{lport:>5}↔{rport}"
    return fit(f"{fit(comm, name)} {ends}", room)


def _shared(laddr: str, raddr: str, room: int) -> tuple[str, str]:
    """Both addresses in ``room`` cells together: the shorter one whole where it takes no more than half."""
    half = room // 2
    local = min(len(laddr), max(half, room - len(raddr)))
    remote = min(len(raddr), room - local)
    return fit_middle(laddr, local), fit_middle(raddr, remote)
