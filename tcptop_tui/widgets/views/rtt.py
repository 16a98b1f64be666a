"""Round-trip times by key: histograms side by side, on one scale."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui import formats
from tcptop_tui.config.schema import RttUnit
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.histogram import summarize
from tcptop_tui.model.rtt_groups import GROUPINGS, RttGroups
from tcptop_tui.safe_text import clean, fit, fit_middle
from tcptop_tui.widgets.panels.histogram import bar, fitting_buckets, label, no_samples, outside_text, unit_title
from tcptop_tui.widgets.panels.panel import TitledWidget

COLUMN_CELLS = 38
_MOST_CELLS = 76
_GAP = 2
_LABEL_CELLS = 19
_COUNT_CELLS = 7
_PERCENT_CELLS = 4
_HEAD_LINES = 4
_SHORT_HEAD_LINES = 2
_TALL_LINES = 7
"""Below that the head has no titles: they would be all that is seen."""

_TITLES = {"raddr": "remote address", "port": "service port", "process": "process", "laddr": "local address"}
"""What the histograms can be grouped by, in words."""


def group_label(groups: RttGroups, index: int) -> str:
    """What the samples of a group have in common, in words."""
    if index == groups.dropped_group:
        return "older samples, summed"
    if groups.by in {"laddr", "raddr"}:
        device = clean(groups.device(index))
        return formats.address(groups.address(index)) + (f"%{device}" if device else "")
    if groups.by == "port":
        return str(groups.port(index) or formats.UNKNOWN)
    return clean(groups.process_name(index)) or formats.UNKNOWN


class RttView(TitledWidget, can_focus=True):
    """Shows ``Frame.rtt_groups``."""

    VIEW = 3
    HELP = "Round-trip times by address, service port or process; most samples first."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "group_by", "Group by"),
        Binding("left", "move(-1)", "Previous group", show=False),
        Binding("right", "move(1)", "Next group", show=False),
        Binding("pageup", "page(-1)", "Previous page", show=False),
        Binding("pagedown", "page(1)", "Next page", show=False),
        Binding("home", "page(-1000000)", "First group", show=False),
        Binding("end", "page(1000000)", "Last group", show=False),
    ]

    class GroupingChanged(Message):
        """Somebody looks at groups by ``by``; empty: nobody looks at any."""

        def __init__(self, by: str) -> None:
            self.by = by
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._groups = RttGroups("")
        self._frame = Frame()
        self._unit: RttUnit = "auto"
        self._by = GROUPINGS[0]
        self._first = 0

    def on_show(self) -> None:
        """From now on groups are worth making."""
        self.post_message(self.GroupingChanged(self._by))

    def on_hide(self) -> None:
        """Nobody looks any more."""
        self.post_message(self.GroupingChanged(""))

    def show(self, frame: Frame) -> None:
        """Paint ``frame``, if it has groups."""
        self._frame, self._unit = frame, frame.view_options.rtt_unit
        if frame.rtt_groups is not None:
            self._groups = frame.rtt_groups
            self._move_to(self._first)

    @property
    def _fitting(self) -> int:
        return max(1, (self.size.width + _GAP) // (COLUMN_CELLS + _GAP))

    def _move_to(self, first: int) -> None:
        count = len(self._groups.hist)
        self._first = max(0, min(first, count - self._fitting))
        shown = f": {self._first + 1}–{min(count, self._first + self._fitting)} of {count:,}" if count else ""
        self.set_title(f"RTT by {_TITLES[self._groups.by or self._by]}{shown} (g: next grouping)")
        self.refresh()

    def on_resize(self) -> None:
        """Show as many as fit now."""
        self._move_to(self._first)

    def render(self) -> RenderableType:
        """A column for each key, on common buckets and a common scale."""
        width, height = self.size
        hist = self._groups.hist
        if not len(hist):
            return Text(no_samples(self._frame))
        short = height < _TALL_LINES
        slots = fitting_buckets(hist.sum(axis=0), height - (_SHORT_HEAD_LINES if short else _HEAD_LINES))
        chosen = range(self._first, min(len(hist), self._first + self._fitting))
        # few keys have longer bars, so that small shares can be told apart
        cells = min(width, _MOST_CELLS, (width + _GAP) // len(chosen) - _GAP)
        columns = [column_lines(self._groups, index, slots, cells, self._unit, short=short) for index in chosen]
        return Text("\n".join((" " * _GAP).join(line) for line in zip(*columns, strict=True)), no_wrap=True, end="")

    def action_group_by(self) -> None:
        """The next grouping."""
        self._by = GROUPINGS[(GROUPINGS.index(self._by) + 1) % len(GROUPINGS)]
        self._first = 0
        self.post_message(self.GroupingChanged(self._by))

    def action_move(self, keys: int) -> None:
        """Scroll by keys."""
        self._move_to(self._first + keys)

    def action_page(self, pages: int) -> None:
        """Scroll by a screenful."""
        self._move_to(self._first + pages * self._fitting)


def column_lines(
    groups: RttGroups, index: int, slots: range, cells: int, unit: RttUnit = "auto", *, short: bool = False
) -> list[str]:
    """Key, summary and a line for each of ``slots``, ``cells`` wide; bars are shares of the key's samples.

    ``short``: without the number of samples and the titles, for screens of a few lines.

    Shares, and the same buckets for all: so a key with few samples can be compared with one with many.
    """
    hist: NDArray[np.uint64] = groups.hist[index]
    summary = summarize(hist, int(groups.sum_us[index]))
    avg, p50, p90, p99 = (
        formats.UNKNOWN if value is None else formats.rtt_us(value, unit) + formats.RTT_UNITS[unit]
        for value in (summary.avg_us, summary.p50_us, summary.p90_us, summary.p99_us)
    )
    room = max(1, cells - _LABEL_CELLS - _COUNT_CELLS - _PERCENT_CELLS - 3)
    lines = [
        group_label(groups, index),
        f"{formats.count(summary.count)} samples  avg {avg}",
        f"p50 {p50} p90 {p90} p99 {p99}",
        f"{unit_title(unit):>{_LABEL_CELLS}} {'count':>{_COUNT_CELLS}} {'%':>{_PERCENT_CELLS}}",
    ]
    if short:
        del lines[1::2]
    for slot in slots:
        count = int(hist[slot])
        share = count / max(1, summary.count)
        told = formats.size_bytes(count) if count > 9_999_999 else str(count)
        percent = f"{formats.percent(share):>{_PERCENT_CELLS}}"
        lines.append(f"{label(slot, unit):<{_LABEL_CELLS}} {told:>{_COUNT_CELLS}} {percent} {bar(share, room)}")
    lines.append(outside_text(hist, slots))
    return [fit_middle(lines[0], cells), *(fit(line, cells) for line in lines[1:])]
