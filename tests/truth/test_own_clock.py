"""The clock is set and the host suspended, really, under traffic: in a machine whose clock is the tests' own.

``make vmtest`` boots one (``tests/vm/in_memory.py``). Anywhere else nothing here is run.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.support.trace_process as streams
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.export.render import HostInfo, render
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.records import Flag, Rows, State
from tcptop_tui.stream.batches import Capture
from tests.support.running_source import Running
from tests.support.sockets import listening, pair, port, until_closed, until_state
from tests.support.terminal import Terminal
from tests.support.tracer import SMALL

_OURS = os.environ.get("TCPTOP_OWN_CLOCK") == "1" and "virtme" in Path("/proc/cmdline").read_text()
pytestmark = [pytest.mark.host, pytest.mark.skipif(not _OURS, reason="the clock here is somebody else's")]

HOUR_S = 3600
_DAY_S = 24 * HOUR_S
_ASLEEP_S = 6
_BETWEEN_S = 3
"""Of traffic between two events: some tables, and something to tell them apart by."""
_LATE_S = 0.25
"""Two clocks are read one after the other, on a machine that is emulated."""

_UNTOLD_S = 1.5
"""The clocks are compared once a table: what moved after the last one before an event has the time after it."""
_PATIENCE_S = 300
"""Emulated, a compilation takes half a minute, and a minute where others are at work."""

_OF_A_CONNECTION = 10
"""Transitions of both its ends, when each closes after the other."""


def set_clock(by_s: int) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() + by_s)


def suspend() -> None:
    """To memory, until the clock of the machine wakes it."""
    alarm = Path("/sys/class/rtc/rtc0/wakealarm")
    alarm.write_text("0")
    alarm.write_text(f"+{_ASLEEP_S}")
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    Path("/sys/power/state").write_text("mem")
    asleep_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic() - before_s
    assert asleep_s > _ASLEEP_S - 3, f"asleep for {asleep_s:.1f} s"


SET: dict[str, Callable[[], None]] = {
    "an hour on": lambda: set_clock(HOUR_S),
    "an hour back": lambda: set_clock(-HOUR_S),
}
ALL = {**SET, "suspended": suspend}
"""Only once a boot: QEMU's clock wakes the machine at once the next time."""


@dataclass
class Made:
    """One connection, opened and closed; times by both clocks before and after."""

    port: int
    began_s: float
    ended_s: float = 0.0
    began_utc_s: float = 0.0
    ended_utc_s: float = 0.0

    @property
    def undisturbed(self) -> bool:
        """The wall clock went on as the other did."""
        return abs((self.ended_utc_s - self.began_utc_s) - (self.ended_s - self.began_s)) < _LATE_S


class Traffic:
    """Connections one after the other, of which every transition is known."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.events_s: list[float] = []
        """When the clock was set or the machine slept (CLOCK_MONOTONIC)."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            client_began_s, utc_s = time.monotonic(), time.time()
            client, accepted = pair(self.server)
            made = Made(port(client), client_began_s, began_utc_s=utc_s)
            client.shutdown(1)
            until_closed(accepted)
            until_state(client, State.FIN_WAIT2)
            accepted.close()
            until_closed(client)
            client.close()
            made.ended_s, made.ended_utc_s = time.monotonic(), time.time()
            self.made.append(made)

    @contextmanager
    def running(self) -> Iterator[Traffic]:
        with listening() as self.server:
            self._thread.start()
            try:
                yield self
            finally:
                self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def disturb(self, events: dict[str, Callable[[], None]], keep_up: Callable[[], None]) -> None:
        """``events``, each under traffic; ``keep_up`` waits for who looks at it."""
        time.sleep(_BETWEEN_S)
        for happen in events.values():
            keep_up()  # emulated, it may be seconds behind: those lines are about another moment
            happen()
            self.events_s.append(time.monotonic())  # it takes a while until everybody sleeps
            time.sleep(_BETWEEN_S)

    def since(self, moment_s: float) -> list[Made]:
        """Those whose ports nobody else has had: on the loopback TIME_WAIT keeps a port for a second only."""
        recent = Counter(one.port for one in self.made if one.began_s > moment_s - _BETWEEN_S)
        return [one for one in self.made if one.began_s > moment_s and recent[one.port] == 1]

    def until_event(self, made: Made) -> float:
        """From its end to the next event; endless when there was none any more."""
        return min((event_s - made.ended_s for event_s in self.events_s if event_s >= made.ended_s), default=math.inf)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_INPUT_WAIT_S", _PATIENCE_S)


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    with Traffic().running() as going:
        yield going


def wrong_times(made: list[Made], told: dict[int, list[float]]) -> list[tuple[Made, float]]:
    """Times of day that are not between those at which the connection was made."""
    return [
        (one, utc_s - one.began_utc_s)
        for one in made
        if one.undisturbed
        for utc_s in told[one.port]
        if not one.began_utc_s - _LATE_S < utc_s < one.ended_utc_s + _LATE_S
    ]


def check_counts(made: list[Made], told: dict[int, list[float]], lost: int) -> None:
    """Ten transitions of every connection, none twice; what is missing was counted as lost."""
    assert made
    counted = [len(told[one.port]) for one in made]
    for one, number in zip(made, counted, strict=True):
        if number != _OF_A_CONNECTION:
            print(f"{number} of {_OF_A_CONNECTION}: {one}, told {told[one.port]}, last was {made[-1].port}")
    assert max(counted) <= _OF_A_CONNECTION
    assert sum(counted) + lost == _OF_A_CONNECTION * len(made)


def check_times(traffic: Traffic, made: list[Made], told: dict[int, list[float]]) -> None:
    """Of each connection those between its opening and its closing; what is only just before an event is said."""
    wrong = wrong_times(made, told)
    for one, off_s in wrong:
        print(f"off by {off_s:.3f} s, {traffic.until_event(one):.3f} s before an event")
    print(f"right: {sum(len(told[one.port]) for one in made) - len(wrong)}, wrong: {len(wrong)}")
    assert [one for one, _ in wrong if traffic.until_event(one) > _UNTOLD_S] == []


def times_by_client(lines: list[dict[str, Any]], server: int) -> dict[int, list[float]]:
    """By the port of the client's end, whose connection it is.

    SYN_SENT has none where the batch ended before the next transition: then the same socket's next line tells.
    """
    told: dict[int, list[float]] = defaultdict(list)
    portless: dict[str, float] = {}
    for line in lines:
        if server in {line["lport"], line["rport"]}:
            client, utc_s = line["lport"], datetime.fromisoformat(line["time"]).timestamp()
            if client == server:
                client = line["rport"]
            elif line["skaddr"] in portless:
                told[client].append(portless.pop(line["skaddr"]))
            if client:
                told[client].append(utc_s)
            else:
                portless[line["skaddr"]] = utc_s
    return told


class Told:
    """The lines of a stream as they come."""

    def __init__(self, stream: streams.Stream) -> None:
        assert stream.process.stdout is not None
        self._fd = stream.process.stdout.fileno()
        self._text = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while data := os.read(self._fd, 1 << 16):
            self._text += data

    def lines(self) -> list[dict[str, Any]]:
        whole = self._text[: self._text.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def ended(self) -> list[dict[str, Any]]:
        self._thread.join()
        return self.lines()


def test_a_stream_and_a_screen(traffic: Traffic) -> None:
    server = port(traffic.server)
    terminal = Terminal("--backend", "bpf", "--filter", f"port:{server}", TZ="UTC")
    try:
        terminal.until(partial(told_since, terminal, traffic.server, 0), _PATIENCE_S)
        check_stream(traffic, server)
        terminal.until(partial(told_since, terminal, traffic.server, traffic.made[-1].began_utc_s), 60)
        print(terminal.text)
        assert "lost 0" in terminal.text
        terminal.type("q")
        assert terminal.ended() == 0
    finally:
        terminal.close()


def check_stream(traffic: Traffic, server: int) -> None:
    """Count its lines, and compare their times of day."""
    with streams.streaming("states", "--json", "--backend", "bpf", "--filter", f"port:{server}") as stream:
        attached_s = time.monotonic()
        told = Told(stream)

        def keep_up() -> None:
            wanted = traffic.made[-1]
            deadline_s = time.monotonic() + _PATIENCE_S
            while not any(wanted.port in {line["lport"], line["rport"]} for line in told.lines()[-200:]):
                assert time.monotonic() < deadline_s
                time.sleep(0.1)

        traffic.disturb(ALL, keep_up)
        traffic.stop()
        time.sleep(1)
        stream.process.send_signal(signal.SIGINT)
        lines = told.ended()
        assert stream.process.stderr is not None
        said = stream.process.stderr.read().decode()
        assert stream.process.wait(_PATIENCE_S) == 0, said
    made = traffic.since(attached_s)
    times = times_by_client(lines, server)
    print(f"\nstream: {len(made)} connections, {len(lines)} lines, {said}")
    check_counts(made, times, int(re.findall(r"lost ([\d,]+)", said)[-1].replace(",", "")))
    check_times(traffic, made, times)


def age(rows: Rows, now_ns: int, lport: int, rport: int) -> float:
    (row,) = rows[(rows["lport"] == lport) & (rows["rport"] == rport)]
    assert row["flags"] & Flag.GAUGES
    return (now_ns - int(row["born_ns"])) / 1e9


def later_table(feed: Running) -> None:
    """Wait for one that is read from now on."""
    now_ns = time.monotonic_ns()
    feed.until(lambda: feed.store.snapshot().now_ns > now_ns)


def test_the_model(traffic: Traffic) -> None:
    settings = replace(SMALL, reconcile_s=0.5)
    server = port(traffic.server)
    feed = Running(BpfSource(settings, Capture()), settings)
    try:
        feed.until(lambda: bool(feed.store.snapshot().now_ns))
        attached_s = time.monotonic()
        with listening() as other:
            client, accepted = pair(other)
            born_s = time.monotonic()
            traffic.disturb(SET, lambda: later_table(feed))
            traffic.stop()
            later_table(feed)
            later_table(feed)  # the rings were emptied before the first one was read: the last lines may come after it
            facts = feed.store.snapshot()
            awake_s = time.monotonic() - born_s
            for ends in (client, accepted), (accepted, client):
                told_s = age(facts.rows, facts.now_ns, *map(port, ends))
                assert awake_s - 2.5 < told_s < awake_s + 0.1  # the table is not of this moment
            assert not (facts.tx_rate < 0).any()
            assert not np.isinf(facts.tx_rate).any()
            client.close()
            accepted.close()
        assert (facts.loss.lost, facts.loss.missed, facts.loss.mended) == (0, 0, 0)
        document = json.loads(render(make_frame(facts, ViewOptions()), HostInfo("host", "6.1"), "json", ""))
    finally:
        feed.close()
    assert datetime.fromisoformat(document["meta"]["time"]).timestamp() == pytest.approx(time.time(), abs=20)
    made = traffic.since(attached_s)
    told = times_by_client(document["transitions"], server)
    print(f"\nmodel: {len(made)} connections")
    check_counts(made, told, 0)
    check_times(traffic, made, told)


@pytest.mark.parametrize("backend", ["bpf", "diag"])
def test_the_screen(backend: str) -> None:
    with listening() as server:
        terminal = Terminal("--backend", backend, "--filter", f"port:{port(server)}", TZ="UTC")
        try:
            terminal.until(lambda: f"{port(server)} *" in terminal.text, _PATIENCE_S)
            for name, happen in SET.items():
                client, accepted = pair(server)
                terminal.until(partial(told_since, terminal, server, time.time()), 60)
                happen()
                terminal.read_for(_BETWEEN_S)
                client.close()
                accepted.close()
                terminal.until(partial(told_since, terminal, server, time.time()), 60)
                print(f"\n{backend}, {name}\n{terminal.text}")
                assert "lost 0" in terminal.text
            terminal.type("q")
            assert terminal.ended() == 0
        finally:
            terminal.close()


def told_since(terminal: Terminal, server: socket.socket, since_s: float) -> bool:
    """Whether the log's last line is no older, and not of the future either."""
    told = re.findall(rf"(\d\d:\d\d:\d\d\.\d+).*\b{port(server)}\b.*→", terminal.text)
    if not told:
        return False
    last = datetime.strptime(told[-1], "%H:%M:%S.%f").replace(tzinfo=UTC)
    ago_s = (datetime.now(UTC) - last).total_seconds() % _DAY_S  # it shows no date
    return (ago_s + _LATE_S) % _DAY_S < time.time() - since_s + 2
