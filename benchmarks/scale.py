"""``make bench-scale``: how the dashboard does with 100 to 100,000 open connections, in a terminal of 160×50.

For each size: memory at its most, CPU while nothing happens and the screen is repainted once a second,
then under churn how long a refresh takes inside, and how long it takes from a key to its repaint.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from measure import cost_of, count_kernel_time, tcp_count
from rich.console import Console
from rich.table import Table
from tools import Screen

_HERE = Path(__file__).parent
_KEYS = 60
_SEGMENTS = 20_000


@dataclass(frozen=True)
class Scale:
    """With so many sockets."""

    sockets: int
    peak_mb: float
    idle_cpu_percent: float
    segment_ns: float
    """Kernel time of all our programs, a segment received."""
    read_ms: float
    apply_ms: float
    repaint_ms: float
    """p99, as the two before."""
    refresh_ms: float
    """p99 of the three together."""
    key_ms: float
    """p99."""
    key_median_ms: float


class Holder:
    """A process that has so many."""

    def __init__(self, sockets: int) -> None:
        command = [sys.executable, str(_HERE / "holder.py"), str(sockets)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self) -> None:
        if self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError("the process that holds the sockets has ended")

    def exchange(self, round_trips: int) -> None:
        """Over one of its connections."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{round_trips}\n")
            self._process.stdin.flush()
            self._answer()

    def close(self) -> None:
        """Give all of them back."""
        self._process.communicate()


@contextmanager
def held(sockets: int) -> Iterator[Holder]:
    """For as long as it is needed."""
    holder = Holder(sockets)
    try:
        yield holder
    finally:
        holder.close()


@contextmanager
def churning() -> Iterator[None]:
    """Connections come and go meanwhile, as fast as one process can."""
    churn = subprocess.Popen([sys.executable, str(_HERE / "churn.py"), "100000000"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        churn.kill()
        churn.wait()


def measure(sockets: int) -> Scale:
    """One size."""
    with tempfile.TemporaryDirectory() as folder, held(sockets) as holder:
        times = Path(folder) / "times.json"
        options = ["--max-connections", "262144", "--refresh", "1"]
        screen = Screen((sys.executable, str(_HERE / "timed.py"), str(times), *options), {"TERM": "xterm-256color"})
        try:
            screen.wait_for(f"{sockets:,}".encode()[:-1])
            time.sleep(10)  # warm, and through its first comparisons
            idle = idle_cpu(screen.pid)
            segment_ns = segments(screen.pid, holder)
            keys_ms = keys(screen)
            peak_mb = cost_of(screen.pid).peak_bytes / 1e6
        finally:
            screen.stop(b"q")
        inside = json.loads(times.read_text())
    # of each part the last ones: those under churn
    read, apply, repaint = (inside[name][-_KEYS:] for name in ("read", "apply", "repaint"))
    together = [sum(parts) for parts in zip(read, apply, repaint, strict=False)]
    return Scale(
        sockets, peak_mb, idle, segment_ns, p99(read), p99(apply), p99(repaint), p99(together),
        p99(keys_ms), statistics.median(keys_ms),
    )  # fmt: skip


def p99(values: list[float]) -> float:
    """Of few values the largest."""
    return sorted(values)[min(len(values) - 1, round(len(values) * 0.99))]


def idle_cpu(pid: int, seconds: float = 15) -> float:
    """Percent of one core."""
    before = cost_of(pid).cpu_s
    time.sleep(seconds)
    return (cost_of(pid).cpu_s - before) / seconds * 100


def segments(pid: int, holder: Holder) -> float:
    """Kernel time a segment received; two round trips' segments go each way, acknowledgements ride on them."""
    count_kernel_time(on=True)
    try:
        before_ns, before = cost_of(pid).kernel_ns, tcp_count("InSegs")
        holder.exchange(_SEGMENTS)
        return (cost_of(pid).kernel_ns - before_ns) / (tcp_count("InSegs") - before)
    finally:
        count_kernel_time(on=False)


def keys(screen: Screen) -> list[float]:
    """Milliseconds from ``I`` (the order turned round) until its mark has turned, under full churn."""
    took_ms = []
    with churning():
        time.sleep(3)
        for number in range(_KEYS):
            time.sleep(0.3 + 0.37 * (number % 3))  # not in step with the refresh
            took_ms.append(screen.press(b"I", ("▲" if number % 2 == 0 else "▼").encode()) * 1e3)
    return took_ms


@click.command()
@click.option("--sizes", default="100,1000,10000,100000", show_default=True)
@click.option("--output", default="benchmarks/scale.json", show_default=True, type=click.Path(path_type=Path))
def main(sizes: str, output: Path) -> None:
    """Measure every size."""
    results = []
    table = Table("sockets", "peak MB", "idle CPU %", "kernel ns/segment", "refresh p99 ms", "key p50 ms", "key p99 ms")
    for size in map(int, sizes.split(",")):
        sys.stderr.write(f"{size:,} sockets\n")
        one = measure(size)
        results.append(one)
        output.write_text(json.dumps({"kernel": os.uname().release, "results": [*map(asdict, results)]}, indent=1))
        table.add_row(
            f"{one.sockets:,}", f"{one.peak_mb:.0f}", f"{one.idle_cpu_percent:.1f}", f"{one.segment_ns:.0f}",
            f"{one.refresh_ms:.1f} (read {one.read_ms:.1f}, apply {one.apply_ms:.1f}, repaint {one.repaint_ms:.1f})",
            f"{one.key_median_ms:.0f}", f"{one.key_ms:.0f}",
        )  # fmt: skip
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
