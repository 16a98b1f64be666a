"""The round-trip times of the connections that match, as a log2 histogram."""

from __future__ import annotations

from itertools import zip_longest
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from tcptop_tui import formats
from tcptop_tui.config.schema import RttUnit
from tcptop_tui.model.frame import Frame, RttSelection
from tcptop_tui.model.histogram import bucket_bounds, summarize
from tcptop_tui.safe_text import fit
from tcptop_tui.widgets.panels.heat_map import LEAST_CELLS, heat_lines, heat_scale, heat_title
from tcptop_tui.widgets.panels.panel import TitledWidget, empty_text
from tcptop_tui.widgets.time_texts import start_text

_LABEL_CELLS = 19
_COUNT_CELLS = 9
_LEAST_BARS_CELLS = _LABEL_CELLS + _COUNT_CELLS + 10
RTT_PANEL_PARTS = ("both", "map", "bars")
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(share: float, cells: int) -> str:
    """A bar of ``share`` (0 to 1) of ``cells``, to an eighth of a cell."""
    eighths = round(share * cells * 8)
    if share > 0:
        eighths = max(1, eighths)  # one sample among a million is still there
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def used_buckets(hist: NDArray[np.uint64], lines: int) -> range:
    """From the first to the last slot that counted anything; the fullest part when cut."""
    filled = np.flatnonzero(hist)
    if not len(filled):
        return range(0)
    first, last = int(filled[0]), int(filled[-1])
    if last - first >= lines:
        peak = int(hist.argmax())
        first = max(first, min(peak - lines // 2, last - lines + 1))
        last = first + lines - 1
    return range(first, last + 1)


def fitting_buckets(hist: NDArray[np.uint64], lines: int) -> range:
    """As ``used_buckets``, but where something is cut the last of ``lines`` is for saying so."""
    slots = used_buckets(hist, lines)
    return used_buckets(hist, lines - 1) if outside_text(hist, slots) else slots


def outside_text(hist: NDArray[np.uint64], slots: range) -> str:
    """What has no line because there was no room: ``… 3 faster, 12 slower``; empty where all has one."""
    if not slots:
        return ""
    told = [
        f"{formats.count(int(hist[part].sum()))} {word}"
        for word, part in (("faster", slice(slots.start)), ("slower", slice(slots.stop, None))) if hist[part].any()
    ]  # fmt: skip
    return f"… {', '.join(told)}" if told else ""


def no_samples(frame: Frame) -> str:
    """Why there is no histogram."""
    which = " for what the filter shows" if frame.view_options.filter.text else ""
    return empty_text(frame.snapshot, f"no RTT sample{which} since {start_text(frame.snapshot)}: nothing was received")


def label(slot: int, unit: RttUnit = "auto") -> str:
    """``128 -> 255``, as bcc prints the bounds, µs; ``0.128 -> 0.255`` in ms."""
    low, high = bucket_bounds(slot)
    if unit != "ms":
        return f"{low:>8} -> {'…' if high is None else high:<7}"
    return f"{_in_ms(low):>8} -> {'…' if high is None else _in_ms(high):<7}"


def _in_ms(bound_us: int) -> str:
    return f"{bound_us / 1e3:.3f}" if bound_us < 99_999 else f"{bound_us / 1e3:.0f}"


def unit_title(unit: RttUnit) -> str:
    """What stands above the bounds, as in bcc's tcprtt."""
    return "msecs" if unit == "ms" else "usecs"


class RttPanel(TitledWidget, can_focus=True):
    """Shows ``Frame.rtt``: bars, the map of the last minutes, or both."""

    HELP = (
        "Smoothed round-trip times, one sample a received segment (from poll to poll without BPF). "
        "Percentiles are interpolated inside their bucket. Beside the bars the last minutes: the darker the more."
    )

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._frame = Frame()
        self._unit: RttUnit = "auto"
        self._painted: list[str] = []
        self._parts = RTT_PANEL_PARTS[0]
        self.set_title("RTT of what the filter shows")

    def show(self, frame: Frame) -> None:
        """Paint ``frame``, if anything in it moved."""
        self._frame, self._unit = frame, frame.view_options.rtt_unit
        self._rebuild()

    def on_resize(self) -> None:
        """Show as much as there is room for now."""
        self._rebuild()

    def _rebuild(self) -> None:
        if self._frame.rtt.hist.any():
            shown = rtt_lines(self._frame.rtt, *self.size, self._unit, self._parts, start_text(self._frame.snapshot))
        else:
            shown = wrap(no_samples(self._frame), max(1, self.size.width))
        if shown != self._painted:
            self._painted = shown
            self.refresh()

    def next_parts(self) -> str:
        """Show something else of it; says what."""
        self._parts = RTT_PANEL_PARTS[(RTT_PANEL_PARTS.index(self._parts) + 1) % len(RTT_PANEL_PARTS)]
        self._rebuild()
        return self._parts

    def render(self) -> RenderableType:
        """Summary, then a line for each bucket in use."""
        return Text("\n".join(_fitted(line, self.size.width) for line in self._painted), no_wrap=True, end="")


def _fitted(line: str, cells: int) -> str:
    return fit(line, cells) if len(line) > cells else line


def rtt_lines(rtt: RttSelection, width: int, height: int, unit: RttUnit, parts: str, since: str) -> list[str]:
    """Summary, then a line for each bucket in use, for ``width`` by ``height`` cells.

    Args:
        rtt: what to show.
        width: cells.
        height: lines at most.
        unit: of round-trip times.
        parts: what of it, one of ``RTT_PANEL_PARTS``; where there is no room for the map, bars.
        since: from when on samples were counted, in words.
    """
    summary = summary_lines(rtt, unit, since)
    beside = width - _LEAST_BARS_CELLS
    mapped = parts != "bars" and min(width, beside) >= LEAST_CELLS and bool(rtt.hist.any())
    if not mapped:
        return [*summary, *histogram_lines(rtt.hist, width, height - len(summary), unit)]
    hist, lines = rtt.hist, height - len(summary)
    # the map gets two cells of three that the labels leave, or all of them
    cells = max(LEAST_CELLS, beside * 2 // 3) if parts == "both" else width - _LABEL_CELLS - 3
    left = width - cells - 1 if parts == "both" else _LABEL_CELLS + 2
    slots = fitting_buckets(hist, lines - 1)
    scale = heat_scale(rtt.heat_columns, slots, cells)
    if len(summary[-1]) + len(scale) + 2 <= width:
        summary[-1] += f"  {scale}"
    else:
        summary.append(scale)
        lines -= 1
    bars = histogram_lines(hist, left, lines, unit)
    slots = fitting_buckets(hist, lines - 1)
    heat = [
        heat_title(rtt.heat_columns.shape[1], cells, rtt.heat_complete_steps),
        *heat_lines(rtt.heat_columns, slots, cells, rtt.heat_unread),
    ]

    def joined(bar: str, part: str) -> str:
        if not part:  # what had no room
            return bar if len(bar) <= width else fit(bar, width)
        return f"{fit(bar if parts == 'both' else bar[:left], left)} {part}"  # with the map alone there are only labels

    return [*summary, *(joined(bar, part) for bar, part in zip_longest(bars, heat, fillvalue=""))]


def summary_lines(rtt: RttSelection, unit: RttUnit, since: str) -> list[str]:
    """Count, average and percentiles, of which span, and what they are taken from."""
    summary = summarize(rtt.hist, rtt.sum_us)
    said = formats.RTT_UNITS[unit]

    def shown(value: float | None) -> str:
        return formats.UNKNOWN if value is None else formats.rtt_us(value, unit) + said

    told = f"from {formats.count(rtt.live_count)} live and {formats.count(rtt.ended_count)} ended connections"
    if rtt.unfilterable_count:
        told += f"; {formats.count(rtt.unfilterable_count)} older ones cannot be filtered"
    return [
        f"{formats.count(summary.count)} samples since {since}  avg {shown(summary.avg_us)}",
        f"p50 {shown(summary.p50_us)}  p90 {shown(summary.p90_us)}  p99 {shown(summary.p99_us)} (interpolated)",
        told,
    ]


def histogram_lines(hist: NDArray[np.uint64], width: int, lines: int, unit: RttUnit = "auto") -> list[str]:
    """The header and a line for each bucket, for a panel of ``width`` by ``lines`` cells."""
    slots = fitting_buckets(hist, lines - 1)
    if not slots:
        return []
    cells = max(4, width - _LABEL_CELLS - _COUNT_CELLS - 5)
    most = int(hist.max())
    header = f"{unit_title(unit):>{_LABEL_CELLS}} : {'count':<{_COUNT_CELLS}} distribution"
    return [
        header,
        *(
            f"{label(slot, unit)} : {int(hist[slot]):<{_COUNT_CELLS}} {bar(int(hist[slot]) / most, cells)}"
            for slot in slots
        ),
        *filter(None, [outside_text(hist, slots)]),
    ]
