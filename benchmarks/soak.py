"""``make soak``: a day's worth of churn, and a thousand starts and stops; prints what was counted and what was left.

A host with 115 transitions a second makes ten million of them in 24 hours; here they come as fast as two
processes can, on the loopback, against the tracer and the model as the dashboard has them.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
from churn import TRANSITIONS
from left import Left, give_back, left_of, settled

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.store import Store
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Capture, Loss, Table, Transitions

_CHURN = Path(__file__).with_name("churn.py")
_PORTS = (20_001, 20_002)
_TRANSITIONS = TRANSITIONS // 2
_VIEWS = ("connections", "connects", "sessions", "board")


class Soaked:
    """A sink that counts the load's transitions, and keeps and makes what the dashboard would."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings)
        self.moved = 0
        self._tables = 0
        self._changed = threading.Condition()

    def wait(self, happened: Callable[[], bool]) -> None:
        """Until it has happened; or for a minute: then what is missing is missing."""
        with self._changed:
            self._changed.wait_for(happened, timeout=60)

    def offer(self, batch: Batch) -> bool:
        """Take every batch; a frame for each table, of each view in turn."""
        with self._changed:
            self.store.apply(batch)
            if isinstance(batch, Transitions):
                self.moved += int(np.isin(batch.rows["lport"], _PORTS).sum())
            self._changed.notify_all()
        if isinstance(batch, Table):
            self._tables += 1
            make_frame(self.store.snapshot(), ViewOptions(view=_VIEWS[self._tables % len(_VIEWS)]))
        return True

    @property
    def lost(self) -> int:
        """Transitions, without ended connections."""
        loss = self.store.snapshot().loss
        return loss.ring_full + loss.skipped


@contextmanager
def soaking() -> Iterator[Soaked]:
    """The tracer in a thread of its own."""
    # nobody else's losses in the counters: of each connection its server's end
    source = BpfSource(Settings(), Capture(lports=frozenset(_PORTS)))
    source.open()
    soaked, stop = Soaked(Settings()), threading.Event()
    thread = threading.Thread(target=source.run, args=(soaked, stop.wait))
    thread.start()
    try:
        yield soaked
    finally:
        stop.set()
        thread.join()
        source.close()


def say(line: str) -> None:
    """At once, for who waits."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@dataclass
class Steps:
    """How it went; all are sums from the start on."""

    made: int = 0
    counted: int = 0
    lost: int = 0
    loss: Loss = field(default_factory=Loss)
    resident_mb: list[float] = field(default_factory=list)
    """After each step."""


def _load(connections: int) -> int:
    """Run it on both ports at once; how many transitions that makes."""
    command = [sys.executable, str(_CHURN), str(connections)]
    running = [subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL) for port in _PORTS]
    ended = [one.wait() for one in running]
    if any(ended):
        raise RuntimeError("the load failed")
    return len(_PORTS) * (connections * _TRANSITIONS + 2)


def soak(millions: float, per_step: int = 1_000_000) -> Steps:
    """Millions of transitions in steps."""
    steps = Steps()
    with soaking() as soaked:
        soaked.wait(lambda: bool(soaked.store.snapshot().now_ns))
        while steps.made < millions * 1e6:
            steps.made += _load(per_step // (len(_PORTS) * _TRANSITIONS))
            soaked.wait(lambda: soaked.moved + soaked.lost >= steps.made)
            steps.counted, steps.lost, steps.loss = soaked.moved, soaked.lost, soaked.store.snapshot().loss
            steps.resident_mb.append(left_of().resident_mb)
            told = f"{steps.made:>11,} made {steps.counted:>11,} counted  lost {steps.lost}"
            say(f"{told}  {steps.resident_mb[-1]:.1f} MB")
    return steps


def start_and_stop(times: int) -> tuple[Left, Left]:
    """Have the tracer loaded, attached and let go, so many times.

    Returns:
        What there was after the second time, when all is imported and cached, and what there was more after the last.
    """
    before = left_of()
    small = dataclasses.replace(Settings(), ring_bytes=2**20, session_ring_bytes=2**20)
    for number in range(times):
        source, turns = BpfSource(small, Capture()), iter((False, True))
        source.open()
        source.run(Soaked(small), lambda _wait_s, turns=turns: next(turns))  # type: ignore[misc]
        source.close()
        del source  # and what it has read last
        if number == 1 or (number + 1) % 100 == 0:
            give_back()
        if number == 1:
            before = left_of()
        if (number + 1) % 100 == 0:
            say(f"{number + 1:>5} starts and stops: {left_of()}")
    return before, settled(before)


@click.command()
@click.option("--millions", default=10.0, show_default=True, type=click.FloatRange(0, 1000), help="Transitions.")
@click.option("--starts", default=1000, show_default=True, type=click.IntRange(0, 100_000))
def main(millions: float, starts: int) -> None:
    """A day's worth of transitions, then starts and stops."""
    if millions:
        steps = soak(millions)
        say(f"{steps.made:,} made, {steps.counted:,} counted, {steps.lost:,} lost; {steps.loss}")
    if starts:
        before, after = start_and_stop(starts)
        say(f"after the second: {before}\nmore after {starts:,}: {after}")


if __name__ == "__main__":
    main()
