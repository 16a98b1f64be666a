"""``make bench``: the same load under each tool in turn, several times, interleaved.

Prints medians, spreads and ratios, and writes everything measured to a JSON file.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from churn import TRANSITIONS, churn
from measure import cost_of, count_kernel_time
from rich.console import Console
from rich.table import Table
from tools import Tool, peers, running, tracefs


@dataclass(frozen=True)
class Result:
    """One tool under one load. What a tool does not have is None."""

    tool: str
    start_s: float
    connections_per_s: float
    kernel_ns: float | None
    """A transition, all of the tool's BPF programs together."""
    cpu_us: float | None
    """A transition, user and system time of the tool itself."""
    lost: int | None
    peak_mb: float | None


def measure(tool: Tool, connections: int) -> Result:
    """Start ``tool``, let it trace the load, and stop it."""
    began_s = time.monotonic()
    with running(tool) as traced:
        start_s = time.monotonic() - began_s
        before = cost_of(traced.pid) if traced else None
        took_s, port = churn(connections)
        if traced is None or before is None:
            return Result(tool.name, 0.0, connections / took_s, None, None, None, None)
        traced.settle(0.5)
        after = cost_of(traced.pid)
        traced.settle(3)  # on a busy host a tool is silent for long, and what it has not said would count as lost
        moved = TRANSITIONS * connections + 2
        seen = traced.count_of(port)
    return Result(
        tool.name,
        start_s,
        connections / took_s,
        (after.kernel_ns - before.kernel_ns) / moved,
        (after.cpu_s - before.cpu_s) / moved * 1e6,
        None if seen is None else moved - seen,
        after.peak_bytes / 1e6,
    )


def _shown(values: list[float | int | None], digits: int) -> str:
    """Median and range."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    middle = statistics.median(known)
    return f"{middle:,.{digits}f} ({min(known):,.{digits}f}–{max(known):,.{digits}f})"


def table(results: list[Result]) -> Table:
    """A line for each tool."""
    made = Table("tool", "start s", "load conn/s", "kernel ns/transition", "CPU µs/transition", "lost", "peak MB")
    for name in dict.fromkeys(result.tool for result in results):
        mine = [result for result in results if result.tool == name]
        made.add_row(
            name,
            _shown([result.start_s for result in mine], 2),
            _shown([result.connections_per_s for result in mine], 0),
            _shown([result.kernel_ns for result in mine], 0),
            _shown([result.cpu_us for result in mine], 1),
            _shown([result.lost for result in mine], 0),
            _shown([result.peak_mb for result in mine], 0),
        )
    return made


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--connections", default=10_000, show_default=True, type=click.IntRange(100))
@click.option("--output", default="benchmarks/results.json", show_default=True, type=click.Path(path_type=Path))
def main(rounds: int, connections: int, output: Path) -> None:
    """Measure all tools, ROUNDS times, one after the other."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder, tracefs():
        tools = peers(Path(folder))
        count_kernel_time(on=True)
        try:
            for number in range(rounds):
                for tool in tools:
                    sys.stderr.write(f"round {number + 1} of {rounds}: {tool.name}\n")
                    results.append(measure(tool, connections))
        finally:
            count_kernel_time(on=False)
    machine = {"kernel": platform.release(), "machine": platform.machine(), "time": datetime.now(UTC).isoformat()}
    document = {**machine, "connections": connections, "results": [asdict(result) for result in results]}
    output.write_text(json.dumps(document, indent=1))
    Console(width=150).print(table(results))


if __name__ == "__main__":
    main()
