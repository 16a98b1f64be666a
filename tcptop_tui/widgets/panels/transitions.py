"""The log: a line for each transition, oldest first. It scrolls, follows its end, and can be searched."""

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
from tcptop_tui.widgets.time_texts import span_text

_STATES_CELLS = 23
"""``ESTABLISHED→FIN_WAIT1`` and the like."""


class TransitionLog(Panel, can_focus=True):
    """Shows ``Frame.log``; follows the end until the user scrolls up.

    A *line* is a place in ``Frame.log``. A *number* counts all transitions since the start: a transition keeps it when
    older ones fall out of the log.
    """

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
        self._is_following = True
        self._seen_total = 0
        """How many transitions there were when the end of the log was last on the screen."""
        self.is_searched = False
        """A search runs in the log: the line of the latest match is highlighted."""
        self._match_number = 0
        self._search_start = 0
        """Line."""
        self.set_title("Transitions")

    # -- data ---------------------------------------------------------------------------------

    def _numbers(self, frame: Frame) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """The numbers of the transitions that ``frame`` shows."""
        return frame.log_order + _first_number(frame)

    def show(self, frame: Frame) -> None:
        """Paint ``frame``, at its end or where the user has scrolled to."""
        old, self._frame = self._frame, frame
        self.set_line_count(len(frame.log_order))
        old_key, key = (
            (each.snapshot.log_total, each.snapshot.has_table, each.view_options, len(each.log_order))
            for each in (old, frame)
        )
        if key == old_key:
            return
        if self._is_following:
            self._seen_total = frame.snapshot.log_total
            self.scroll_end(animate=False, force=True, immediate=True)
        else:
            self._keep_top_line(old)
        self._update_title()
        self.refresh()

    def _keep_top_line(self, old: Frame) -> None:
        """Keep the line at the top of the screen there."""
        old_numbers = self._numbers(old)
        top = min(self.scroll_offset.y, len(old_numbers) - 1)
        if top >= 0:
            line = int(np.searchsorted(self._numbers(self._frame), old_numbers[top]))
            self.scroll_to(y=line, animate=False, force=True, immediate=True)

    def _update_title(self) -> None:
        newer = int((self._numbers(self._frame) >= self._seen_total).sum())
        note = "" if self._is_following or not newer else f"{newer:,} newer ▼ End"
        snapshot = self._frame.snapshot
        span = f" {span_text(snapshot, snapshot.log_since_ns)}" if snapshot.has_table else ""
        self.set_title(f"Transitions {count_text(snapshot, len(self._frame.log_order))}{span}", note)

    # -- search -------------------------------------------------------------------------------

    def begin_search(self) -> None:
        """Let ``find`` start at the last line on the screen: the first match is the latest one above it."""
        self._search_start = self.scroll_offset.y + self.size.height - 1
        self._match_number = _first_number(self._frame) + self._search_start
        self.is_searched = True

    def end_search(self) -> None:
        """Highlight no line any more."""
        self.is_searched = False

    def find(self, search: Filter, step: int) -> str:
        """Go to the next match, for -1 to the previous one, for 0 to the last one up to where the search began.

        Returns:
            The result in words.
        """
        snapshot = self._frame.snapshot
        lines = np.flatnonzero(search.matches(snapshot.context_of(snapshot.log))[self._frame.log_order])
        start = int(np.searchsorted(self._numbers(self._frame), self._match_number))
        line, result = next_match(lines, start + step if step else self._search_start, step or -1)
        if line is not None:
            self._match_number = int(self._numbers(self._frame)[line])
            top = line - self.size.height // 2
            self._is_following = False
            self.scroll_to(y=max(0, top), animate=False, force=True)
            self.refresh()
        return result

    # -- painting -----------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.size.width
        line = self.scroll_offset.y + y
        if not self._frame.snapshot.has_table and not len(self._frame.log_order) and y == 0:
            style = self.visual_style.rich_style
            return Strip([Segment(WAITING, style)]).adjust_cell_length(width, style)
        if line >= len(self._frame.log_order):
            return Strip.blank(width, self.visual_style.rich_style)
        index = int(self._frame.log_order[line])
        transition = self._frame.snapshot.log[index]
        if self.is_searched and index + _first_number(self._frame) == self._match_number:
            highlight = self.get_component_rich_style("log--found")
            plain = "".join(segment.text for segment in self._segments(transition, width))
            return Strip([Segment(plain, highlight)]).adjust_cell_length(width, highlight)
        return Strip(self._segments(transition, width)).adjust_cell_length(width, self.visual_style.rich_style)

    def _segments(self, row: np.void, width: int) -> list[Segment]:
        base = self.visual_style.rich_style
        snapshot = self._frame.snapshot
        clock = formats.clock(snapshot.wall_clock.utc_ns(int(row["ts_ns"])))
        spent_ns = int(row["time_in_state_ns"])
        spent = formats.UNKNOWN if spent_ns == UNKNOWN_NS else formats.duration_ns(spent_ns)
        old, new = (formats.state_name(int(row[name])) for name in ("oldstate", "newstate"))
        mark = "~" if row["flags"] & Flag.POLLED else " "
        hosts = self._hosts if self._frame.view_options.names else None
        pad = " " * max(0, _STATES_CELLS - len(old) - len(new) - 1)
        return [
            Segment(clock, base + self.get_component_rich_style("log--time", partial=True)),
            Segment(mark, base + self.get_component_rich_style("log--mark", partial=True)),
            Segment(log_endpoints(row, width, snapshot.names, hosts), base),
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
            self._is_following = True
            self._seen_total = self._frame.snapshot.log_total
        elif new_value < old_value:
            if self._is_following:
                self._seen_total = self._frame.snapshot.log_total
            self._is_following = False
        self._update_title()

    def on_resize(self) -> None:
        """Stay at the end, wherever that is now."""
        if self._is_following:
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
        self._is_following = True
        self.scroll_end(animate=False, force=True)


def _first_number(frame: Frame) -> int:
    """The number of the oldest transition that the log still has."""
    return frame.snapshot.log_total - len(frame.snapshot.log)


def log_endpoints(row: np.void, width: int, names: Names, hosts: HostNames | None = None) -> str:
    """Process and endpoints of a transition, in the cells that a line of ``width`` leaves for them."""
    room = width - 12 - 1 - 1 - _STATES_CELLS - 8
    comm = safe_text.clean(bytes(row["comm"])) or formats.UNKNOWN
    lport = str(row["lport"]) if row["lport"] else formats.UNKNOWN
    rport = str(row["rport"]) if row["rport"] else "*"
    laddr, raddr = (formats.address((int(row[name][0]), int(row[name][1]))) for name in ("laddr", "raddr"))
    if hosts is not None:
        laddr, raddr = hosts.host(laddr), hosts.host(raddr)
    if room >= 58:
        comm_cells = 15
        laddr, raddr = _share_room(
            laddr + devices(RowContext(np.array([row]), 0, names=names))[0],
            raddr,
            room - comm_cells - len(f" []:{lport} ↔ []:{rport}"),
        )
        endpoints = f"{formats.endpoint(laddr, lport)} ↔ {formats.endpoint(raddr, rport)}"
    elif room >= 34:
        comm_cells = room - 28
        raddr = raddr if len(raddr) <= 15 else fit_middle(raddr, 13)  # which leaves room for brackets
        endpoints = f"{lport:>5}↔{formats.endpoint(raddr, rport)}"
    else:
        comm_cells = max(4, room - 13)
        endpoints = f"{lport:>5}↔{rport}"
    return fit(f"{fit(comm, comm_cells)} {endpoints}", room)


def _share_room(laddr: str, raddr: str, room: int) -> tuple[str, str]:
    """Both addresses in ``room`` cells together; an address that needs no more than half of them stays whole."""
    half = room // 2
    local_cells = min(len(laddr), max(half, room - len(raddr)))
    remote_cells = min(len(raddr), room - local_cells)
    return fit_middle(laddr, local_cells), fit_middle(raddr, remote_cells)
