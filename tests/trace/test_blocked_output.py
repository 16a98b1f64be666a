"""Everything ends when it is told to, whatever it waits for just then."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.records import ENDED, TRANSITION
from tcptop_tui.stream.batches import Batch, EndedConnections, Loss, Transitions
from tcptop_tui.trace.output import Layout, Output
from tcptop_tui.trace.stream_loop import LineContext, StreamRunner
from tests.support.sockets import listening, pair, reset
from tests.support.trace_process import Stream

pytestmark = pytest.mark.host

PROGRAM = (sys.executable, "-m", "tcptop_tui")
SOON_S = 5
"""The test's own patience: what is stuck never ends."""


def is_writing(pid: int) -> bool:
    """Whether the main thread waits in write(2)."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith("1 0x1 ")


def until(happened: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.fixture
def stuck(request: pytest.FixtureRequest) -> Iterator[Stream]:
    """A stream that waits for the reader of its pipe, which does not read."""
    stream = Stream("life", "--json", *getattr(request, "param", ()))
    assert stream.process.stdout is not None
    fcntl.fcntl(stream.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    stream.wait_until_tracing()
    with listening() as server:
        while not is_writing(stream.process.pid):
            for side in pair(server):
                reset(side)
    yield stream
    stream.process.kill()
    stream.process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stream_that_nobody_reads_ends_by_a_signal(stuck: Stream, number: signal.Signals, code: int) -> None:
    stuck.process.send_signal(number)
    assert stuck.process.wait(SOON_S) == code
    assert stuck.wait() == code
    assert "not written" in stuck.said
    assert len(stuck.objects()) == int(stuck.said.split()[1]) - 1  # every line is whole; one is the header's


def test_the_second_signal_ends_it_at_once(stuck: Stream) -> None:
    stuck.process.send_signal(signal.SIGTERM)
    until(lambda: len(os.listdir(f"/proc/{stuck.process.pid}/task")) > 2 or stuck.process.poll() is not None)
    stuck.process.send_signal(signal.SIGTERM)
    assert stuck.process.wait(SOON_S) == 143


@pytest.mark.parametrize("stuck", [("--duration", "2")], indirect=True)
def test_a_stream_that_nobody_reads_ends_after_its_duration(stuck: Stream) -> None:
    assert stuck.process.wait(SOON_S) == 0
    assert stuck.wait() == 0
    assert "not written" in stuck.said


class Counted:
    """A stream that only counts what it is given."""

    def __init__(self) -> None:
        self.taken = 0

    def start(self) -> None: ...

    def finish(self, context: LineContext) -> None: ...

    def write_batch(self, batch: Batch, context: LineContext) -> None:
        self.taken += len(batch.rows) if isinstance(batch, Transitions) else 0

    def lost(self, loss: Loss) -> int:
        return loss.ring_full


def test_what_is_left_in_a_full_ring_is_counted_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("tcptop_tui.trace.stream_loop.time.monotonic", lambda: now_s)
    stream = Counted()
    runner = StreamRunner(stream, Output(Layout("json", ()), io.FileIO(os.devnull, "wb")), None, lambda: None)
    runner.offer(Transitions(np.zeros(5000, TRANSITION)))
    runner.stop()
    runner.offer(Transitions(np.zeros(300, TRANSITION)))
    now_s += 1
    runner.offer(Transitions(np.zeros(7000, TRANSITION)))
    runner.offer(EndedConnections(np.zeros(70, ENDED)))
    assert (stream.taken, stream.lost(runner.late_loss), runner.late_loss.sessions_ring_full) == (5300, 7000, 70)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_snapshot_into_a_fifo_that_nobody_reads(tmp_path: Path, number: signal.Signals) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    with (
        fifo.open("wb") as output,
        subprocess.Popen(
            [*PROGRAM, "snapshot", "--backend", "diag", "--after", "0.1"], stdout=output, stderr=subprocess.PIPE
        ) as process,
    ):
        try:
            until(lambda: is_writing(process.pid))
            process.send_signal(number)
            assert process.wait(SOON_S) in {-number, 128 + number}
            assert process.communicate()[1] == b""
        finally:
            process.kill()
            os.close(reader)


@pytest.mark.parametrize("arguments", [("doctor",), ("snapshot", "--after", "60"), ("trace", "states")])
def test_a_signal_while_it_starts_says_nothing(arguments: tuple[str, ...]) -> None:
    """At each of several moments of the start; Python itself says a word until our first line runs."""
    for moment_s in (0.06, 0.12, 0.18, 0.25, 0.35, 0.6):
        with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            time.sleep(moment_s)
            process.send_signal(signal.SIGINT)
            assert process.wait(SOON_S) in {0, -signal.SIGINT, 130}
            assert b"Traceback" not in process.communicate()[1]
