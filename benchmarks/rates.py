"""``make bench-rates``: what a transition costs, from one a second to as many as one process can make."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from churn import TRANSITIONS, churn
from measure import cost_of, count_kernel_time
from rich.console import Console
from rich.table import Table
from tools import Tool, peers, running, tracefs

_WARM_S = 5
_SECONDS = 5


@dataclass(frozen=True)
class Rate:
    """One tool at one pace."""

    tool: str
    wanted_per_s: float
    """Transitions; 0: as many as there can be."""
    transitions_per_s: float
    kernel_ns: float
    """A transition."""
    cpu_percent: float
    """Of one core, the tool's own."""


def measure(tool: Tool, per_s: float) -> Rate:
    """Connections at this pace for some seconds."""
    connections = max(1, round((per_s or 300_000) * _SECONDS / TRANSITIONS))
    with running(tool) as traced:
        if traced is None:
            raise RuntimeError("a tool is wanted")
        time.sleep(_WARM_S)  # or the work of its start counts
        before = cost_of(traced.pid)
        took_s, _ = churn(connections, per_s=per_s / TRANSITIONS)
        traced.settle(0.5)
        after = cost_of(traced.pid)
    moved = TRANSITIONS * connections + 2
    kernel_ns = (after.kernel_ns - before.kernel_ns) / moved
    return Rate(tool.name, per_s, moved / took_s, kernel_ns, (after.cpu_s - before.cpu_s) / took_s * 100)


@click.command()
@click.option("--rates", default="6,60,600,6000,60000,0", show_default=True, help="Transitions a second; 0: all.")
@click.option("--output", default="benchmarks/rates.json", show_default=True, type=click.Path(path_type=Path))
def main(rates: str, output: Path) -> None:
    """Measure the dashboard and tcpstates at every pace."""
    results = []
    table = Table("tool", "transitions/s", "kernel ns/transition", "CPU %")
    with tempfile.TemporaryDirectory() as folder, tracefs():
        tools = [tool for tool in peers(Path(folder)) if tool.screen or "tcpstates" in tool.name]
        count_kernel_time(on=True)
        try:
            for per_s in map(float, rates.split(",")):
                for tool in tools:
                    sys.stderr.write(f"{per_s:,.0f} transitions a second: {tool.name}\n")
                    one = measure(tool, per_s)
                    results.append(one)
                    table.add_row(
                        one.tool, f"{one.transitions_per_s:,.0f}", f"{one.kernel_ns:,.0f}", f"{one.cpu_percent:.1f}"
                    )
        finally:
            count_kernel_time(on=False)
    output.write_text(json.dumps({"kernel": os.uname().release, "results": [asdict(one) for one in results]}, indent=1))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
