"""``make bench-scale``: how the dashboard does with 100 to 100,000 open connections, in a terminal of 160×50.

For each size: memory at its most, CPU while nothing happens and the screen is repainted once a second,
how long a refresh takes inside and how long it takes from a key to its repaint, quiet and under churn as fast as
one process can; and the same with connections that the tracer saw begin. Times are medians and p99.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import click
import psutil
from measure import cost_of, count_kernel_time, tcp_count
from rich.console import Console
from rich.table import Table
from tools import Screen

_HERE = Path(__file__).parent
_KEYS = 60
_SEGMENTS = 20_000


@dataclass(frozen=True)
class Pace:
    """How long things took, in ms; median and p99."""

    read: tuple[float, float]
    apply: tuple[float, float]
    repaint: tuple[float, float]
    refresh: tuple[float, float]
    """The three together, of one table."""
    key: tuple[float, float]
    """Until its repaint is on the terminal."""
    stolen_percent: float
    """Of the CPUs' time, by others on the same host: what a p99 is made of."""


@dataclass(frozen=True)
class Scale:
    """With so many sockets."""

    sockets: int
    seen: bool
    """The tracer saw them begin: all are in the kernel's map. Else it knows of them by sock_diag."""
    peak_quiet_mb: float
    peak_mb: float
    """After a minute of churn."""
    idle_cpu_percent: float
    segment_ns: float
    """Kernel time of all our programs, a segment received."""
    quiet: Pace
    churn: Pace


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


def measure(sockets: int, *, seen: bool) -> Scale:
    """One size."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        times = Path(folder) / "times.json"
        options = ["--refresh", "1"]
        command = (sys.executable, str(_HERE / "timed.py"), str(times), *options)
        holder = None if seen else stack.enter_context(held(sockets))
        screen = Screen(command, {"TERM": "xterm-256color"})
        try:
            screen.wait_for(b"LISTEN")
            holder = holder or stack.enter_context(held(sockets))
            screen.wait_for(f"{sockets:,}".encode()[:-1])
            time.sleep(10)  # warm, and through its first comparisons
            idle = idle_cpu(screen.pid)
            segment_ns = segments(screen.pid, holder)
            quiet = keys(screen)
            peak_quiet_mb = cost_of(screen.pid).peak_bytes / 1e6
            with churning():
                time.sleep(3)
                churn = keys(screen)
            peak_mb = cost_of(screen.pid).peak_bytes / 1e6
        finally:
            screen.stop(b"q")
        inside = {name: [(at_s, ms) for at_s, ms in one] for name, one in json.loads(times.read_text()).items()}
    return Scale(
        sockets, seen, peak_quiet_mb, peak_mb, idle, segment_ns, pace(inside, quiet), pace(inside, churn)
    )  # fmt: skip


def pace(inside: dict[str, list[tuple[float, float]]], keys: Keys) -> Pace:
    """Of what happened meanwhile."""
    read, apply, repaint = (
        [one for one in inside[name] if keys.from_s <= one[0] <= keys.to_s] for name in ("read", "apply", "repaint")
    )
    together = [took_ms for one in read if (took_ms := refresh_of(one, apply, repaint))]
    return Pace(
        read=median_and_p99([took_ms for _, took_ms in read]),
        apply=median_and_p99([took_ms for _, took_ms in apply]),
        repaint=median_and_p99([took_ms for _, took_ms in repaint]),
        refresh=median_and_p99(together),
        key=median_and_p99(keys.took_ms),
        stolen_percent=keys.stolen_percent,
    )


def refresh_of(
    read: tuple[float, float], apply: list[tuple[float, float]], repaint: list[tuple[float, float]]
) -> float:
    """With the first of the others that began after it; 0: it was the last one."""
    at_s, took_ms = read
    for others in (apply, repaint):
        later = bisect_left(others, (at_s, 0.0))
        if later == len(others):
            return 0
        at_s, took_ms = others[later][0], took_ms + others[later][1]
    return took_ms


def median_and_p99(values: list[float]) -> tuple[float, float]:
    """The 99th percentile of fewer than 50 values is the largest one."""
    return statistics.median(values), sorted(values)[min(len(values) - 1, round(len(values) * 0.99))]


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


@dataclass(frozen=True)
class Keys:
    """How long keys took, from when to when they were pressed, and how much of the CPUs others had meanwhile."""

    took_ms: list[float]
    from_s: float
    to_s: float
    stolen_percent: float


def keys(screen: Screen) -> Keys:
    """From ``I`` (the order turned round) until its mark has turned."""
    psutil.cpu_times_percent()  # the next call is about the time since this one
    began_s, took_ms = time.monotonic(), []
    for number in range(_KEYS):
        time.sleep(0.3 + 0.37 * (number % 3))  # not in step with the refresh
        took_ms.append(screen.press(b"I", ("▲" if number % 2 == 0 else "▼").encode()) * 1e3)
    return Keys(took_ms, began_s, time.monotonic(), psutil.cpu_times_percent().steal)


def shown(pair: tuple[float, float]) -> str:
    """Median and p99."""
    return f"{pair[0]:.0f}, {pair[1]:.0f}"


@click.command()
@click.option("--sizes", default="100,1000,10000,100000", show_default=True)
@click.option("--output", default="benchmarks/scale.json", show_default=True, type=click.Path(path_type=Path))
def main(sizes: str, output: Path) -> None:
    """Measure every size, with connections from before the start, and with those that the tracer saw begin."""
    results = []
    table = Table(
        "sockets", "peak MB quiet, churn", "idle CPU %", "kernel ns/segment", "refresh quiet", "key quiet",
        "refresh churn (read; apply; repaint)", "key churn", "stolen %",
    )  # fmt: skip
    for size, seen in product(map(int, sizes.split(",")), (False, True)):
        sys.stderr.write(f"{size:,} sockets, {'seen' if seen else 'from before'}\n")
        one = measure(size, seen=seen)
        results.append(one)
        output.write_text(json.dumps({"kernel": os.uname().release, "results": [*map(asdict, results)]}, indent=1))
        parts = "; ".join(map(shown, (one.churn.read, one.churn.apply, one.churn.repaint)))
        table.add_row(
            f"{one.sockets:,}{' seen' if seen else ''}", f"{one.peak_quiet_mb:.0f}, {one.peak_mb:.0f}",
            f"{one.idle_cpu_percent:.1f}", f"{one.segment_ns:.0f}", shown(one.quiet.refresh), shown(one.quiet.key),
            f"{shown(one.churn.refresh)} ({parts})",
            shown(one.churn.key), f"{one.quiet.stolen_percent:.0f}, {one.churn.stolen_percent:.0f}",
        )  # fmt: skip
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
