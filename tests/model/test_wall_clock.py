"""Ages and times of day when clocks do what clocks do: are set, stand still while the host sleeps, are shifted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC as UTC_ZONE
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.export.render import HostInfo, render
from tcptop_tui.host import clock
from tcptop_tui.model.frame import Frame, ViewOptions, make_frame
from tcptop_tui.model.store import Store
from tcptop_tui.model.wall_clock import WallClock
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Table, Transitions
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tests.support.dashboard import dashboard, numbered_table
from tests.support.samples import NOW, SECOND, UTC, connections, transitions
from tests.support.sockets import listening, pair, port

pytestmark = pytest.mark.host

HOUR = 3600 * SECOND
JUMPS = {"suspended": 8 * HOUR, "set forward": HOUR, "set back": -HOUR, "to 1970": -UTC}


def at(later_s: int, jump_ns: int = 0, **fields: object) -> Table:
    """A table of one connection; CLOCK_MONOTONIC has gone on by ``later_s``, the wall clock by ``jump_ns`` besides."""
    now_ns = NOW + later_s * SECOND
    return Table(connections(fields), now_ns, UTC + later_s * SECOND + jump_ns)


def frames(jump_ns: int) -> tuple[Frame, Frame]:
    """Before and after: a transition on each side of it."""
    store = Store(Settings())
    store.apply(at(0))
    store.apply(Transitions(transitions({"ts_ns": NOW + SECOND})))
    store.apply(at(2))
    before = make_frame(store.snapshot(), ViewOptions())
    store.apply(Transitions(transitions({"ts_ns": NOW + 3 * SECOND})))
    store.apply(at(4, jump_ns))
    return before, make_frame(store.snapshot(), ViewOptions())


@pytest.mark.parametrize("jump_ns", JUMPS.values(), ids=JUMPS)
def test_what_has_happened_keeps_the_time_that_it_had(jump_ns: int) -> None:
    _, after = frames(jump_ns)
    document = json.loads(render(after, HostInfo("host", "6.1"), "json", ""))
    told = [datetime.fromisoformat(line["time"]) for line in document["transitions"]]
    truth = [UTC + SECOND, UTC + 3 * SECOND + jump_ns]
    assert told == [datetime.fromtimestamp(ns / SECOND, UTC_ZONE) for ns in truth]
    assert datetime.fromisoformat(document["meta"]["time"]).timestamp() == (UTC + 4 * SECOND + jump_ns) / SECOND


@pytest.mark.parametrize("jump_ns", JUMPS.values(), ids=JUMPS)
def test_ages_and_rates_do_not_notice(jump_ns: int) -> None:
    """They are times awake, as TCP's own timers count: a retransmission timer stands still meanwhile, too."""
    before, after = frames(jump_ns)
    age_s = [
        json.loads(render(frame, HostInfo("host", "6.1"), "json", ""))["connections"][0]["age_s"]
        for frame in (before, after)
    ]
    assert age_s == [62, 64]
    assert np.isfinite(after.snapshot.tx_rate).all()
    assert after.snapshot.transitions_per_s == pytest.approx(0.5)


def test_small_differences_are_followed_without_a_step() -> None:
    wall = WallClock()
    for later_s in range(1000):  # 100 µs/s, for a quarter of an hour
        wall = wall.with_reading(NOW + later_s * SECOND, UTC + later_s * SECOND + later_s * 100_000)
    assert wall.earlier_offsets == ()
    assert wall.utc_ns(NOW + 999 * SECOND) == UTC + 999 * SECOND + 999 * 100_000


def test_a_clock_that_does_not_rest_takes_no_memory() -> None:
    wall = WallClock()
    for number in range(1000):
        wall = wall.with_reading(NOW + number * SECOND, UTC + number * (number % 2) * SECOND)
    assert len(wall.earlier_offsets) <= 100


@pytest.mark.usefixtures("utc")
async def test_the_log_on_the_screen() -> None:
    async with dashboard() as board:
        before = board.lines(TransitionLog)[-1].split()[0]
        awake = numbered_table(later_s=10)
        await board.deliver(Table(awake.rows, awake.now_ns, awake.utc_ns + 8 * HOUR))
        assert board.lines(TransitionLog)[-1].split()[0] == before


IN_NAMESPACE = ("unshare", "--time", "--fork", "--monotonic", "1000000", "--boottime", "2000000")


def test_in_a_time_namespace_ages_are_right(bpf_possible: None) -> None:
    """Its CLOCK_MONOTONIC is 11 days ahead of what the kernel programs read."""
    if subprocess.run([*IN_NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("time namespaces cannot be made here")
    with listening() as server:
        watching = subprocess.Popen(
            [*IN_NAMESPACE, sys.executable, "-m", "tcptop_tui", "trace", "states", "--json", "--backend", "bpf",
             "-D", str(port(server)), "--count", "3"],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert watching.stdout is not None
        lines: list[dict[str, object]] = []
        began_s = time.time()
        while watching.poll() is None:  # it ends after three lines: until it is attached there are none
            client, accepted = pair(server)
            client.close()
            accepted.close()
        lines = [json.loads(line) for line in watching.stdout]
        watching.stdout.close()
        ended_s = time.time()
    assert len(lines) == 3
    for line in lines:
        assert began_s - 1 < datetime.fromisoformat(str(line["time"])).timestamp() < ended_s + 1


def test_the_table_in_a_time_namespace(bpf_possible: None) -> None:
    if subprocess.run([*IN_NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("time namespaces cannot be made here")
    done = subprocess.run(
        [*IN_NAMESPACE, sys.executable, "-c", _CONNECT_AND_LOOK], capture_output=True, text=True, check=True, timeout=60
    )
    spent_s, age_s, missed = json.loads(done.stdout)
    assert 0 <= age_s <= spent_s
    assert missed == 0


_CONNECT_AND_LOOK = f"""
import json, sys, time
sys.path[:0] = [{str(Path(__file__).parents[2])!r}]
import dataclasses
from tests.support.tracer import SMALL
from tests.support.running_source import Running
from tests.support.sockets import listening, pair, port
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.stream.batches import Capture
feed = Running(BpfSource(dataclasses.replace(SMALL, reconcile_s=0.3), Capture()), SMALL)
feed.until(lambda: bool(feed.store.snapshot().now_ns))
with listening() as server:
    began_s = time.monotonic()
    client, accepted = pair(server)
    now_ns = feed.store.snapshot().now_ns
    feed.until(lambda: feed.store.snapshot().now_ns > now_ns + 2 * 10**9)  # some comparisons later
    facts, (row,) = feed.store.snapshot(), feed.rows(port(client), port(server))
    spent_s = time.monotonic() - began_s
    print(json.dumps([spent_s, (facts.now_ns - int(row["born_ns"])) / 1e9, facts.loss.missed + facts.loss.mended]))
feed.close()
"""


def test_the_first_time_namespace_shifts_nothing() -> None:
    before_ns = time.monotonic_ns()
    assert before_ns <= clock.monotonic_ns() <= time.monotonic_ns()
