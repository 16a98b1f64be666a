"""``make bench-plots``: ``docs/*.svg`` from what ``bench-scale`` and ``bench-rates`` have measured."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pygal
from pygal.style import CleanStyle

_HERE = Path(__file__).parent
_DOCS = _HERE.parent / "docs"


def plot(name: str, title: str, x_title: str, lines: dict[str, Sequence[tuple[float, float]]]) -> None:
    """Both axes logarithmic; without scripts, which GitHub does not show."""
    chart = pygal.XY(
        title=title, x_title=x_title, logarithmic=True, style=CleanStyle, js=[], width=820, height=400,
        x_value_formatter=lambda value: f"{10**value:,.0f}", legend_at_bottom=True, show_x_guides=True, dots_size=3,
        pretty_print=True, no_prefix=True,
    )  # fmt: skip
    for label, points in lines.items():
        # pygal's logarithm is of the values only
        chart.add(label, [(math.log10(x), y) for x, y in points])
    chart.x_labels = sorted({round(math.log10(x)) for points in lines.values() for x, _ in points})
    (_DOCS / name).write_text(chart.render(is_unicode=True) + "\n")


def main() -> None:
    """Both plots."""
    scale: list[dict[str, Any]] = json.loads((_HERE / "scale.json").read_text())["results"]
    plot(
        "scale.svg", "The dashboard, by open connections", "connections",
        {
            title: [(one["sockets"], value(one)) for one in scale if one["seen"]]
            for title, value in (
                ("memory at its most, MB", lambda one: one["peak_mb"]),
                ("refresh, median, ms", lambda one: one["quiet"]["refresh"][0]),
                ("refresh under churn, median, ms", lambda one: one["churn"]["refresh"][0]),
                ("key to repaint under churn, p99, ms", lambda one: one["churn"]["key"][1]),
                ("CPU while idle, %", lambda one: one["idle_cpu_percent"]),
            )
        },
    )  # fmt: skip
    rates: list[dict[str, Any]] = json.loads((_HERE / "rates.json").read_text())["results"]
    plot(
        "rates.svg", "By transitions a second", "transitions a second",
        {
            f"{tool}: {title}": [(one["transitions_per_s"], max(one[key], 0.1)) for one in rates if one["tool"] == tool]
            for tool in dict.fromkeys(one["tool"] for one in rates)
            for title, key in (("kernel ns a transition", "kernel_ns"), ("CPU, %", "cpu_percent"))
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
