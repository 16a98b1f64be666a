"""``make bench-plots``: ``docs/*.svg`` from what ``bench-scale`` and ``bench-rates`` have measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pygal
from pygal.style import CleanStyle

_HERE = Path(__file__).parent
_DOCS = _HERE.parent / "docs"


_SCALE_LINES: dict[str, Callable[[dict[str, Any]], float]] = {
    "memory at its most, MB": lambda result: result["peak_mb"],
    "refresh, median, ms": lambda result: result["quiet"]["refresh"][0],
    "refresh under churn, median, ms": lambda result: result["churn"]["refresh"][0],
    "key to repaint under churn, p99, ms": lambda result: result["churn"]["key"][1],
    "CPU while idle, %": lambda result: result["idle_cpu_percent"],
}
"""What is drawn of each result of ``bench-scale``, by label."""


def plot(name: str, title: str, x_title: str, lines: dict[str, Sequence[tuple[float, float]]]) -> None:
    """Write ``docs/NAME``, with both axes logarithmic and without scripts, which GitHub does not show.

    Args:
        name: of the file.
        title: of the plot.
        x_title: what the horizontal axis counts.
        lines: points (x, y) by label.
    """
    chart = pygal.XY(
        title=title, x_title=x_title, logarithmic=True, style=CleanStyle, js=[], width=820, height=400,
        x_value_formatter=lambda value: f"{10**value:,.0f}", legend_at_bottom=True, show_x_guides=True, dots_size=3,
        pretty_print=True, no_prefix=True,
    )  # fmt: skip
    for label, points in lines.items():
        # pygal's logarithmic axis is the vertical one only
        chart.add(label, [(math.log10(x), y) for x, y in points])
    chart.x_labels = sorted({round(math.log10(x)) for points in lines.values() for x, _ in points})
    (_DOCS / name).write_text(chart.render(is_unicode=True) + "\n")


def main() -> None:
    """Draw both plots."""
    scale: list[dict[str, Any]] = json.loads((_HERE / "scale.json").read_text())["results"]
    plot(
        "scale.svg", "The dashboard, by open connections", "connections",
        {
            label: [(result["sockets"], value(result)) for result in scale if result["seen"]]
            for label, value in _SCALE_LINES.items()
        },
    )  # fmt: skip
    rates: list[dict[str, Any]] = json.loads((_HERE / "rates.json").read_text())["results"]
    plot(
        "rates.svg", "By transitions a second", "transitions a second",
        {
            f"{tool}: {label}": [
                (result["transitions_per_s"], max(result[key], 0.1)) for result in rates if result["tool"] == tool
            ]
            for tool in dict.fromkeys(result["tool"] for result in rates)
            for label, key in (("kernel ns a transition", "kernel_ns"), ("CPU, %", "cpu_percent"))
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
