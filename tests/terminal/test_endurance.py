"""What must hold however it is treated: killed, stopped, started many times at once."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.terminal import Terminal
from tests.support.trace_process import streaming

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from churn import TRANSITIONS, churn
from left import bpf_ids

pytestmark = pytest.mark.host


@pytest.fixture(autouse=True)
def _needed(bpf_possible: None) -> None:
    """All of these look at the kernel."""


def programs() -> frozenset[int]:
    """Ids of all BPF programs that the kernel has."""
    return bpf_ids("prog")


def until_gone(before: frozenset[int]) -> None:
    """The kernel frees programs a moment after their last descriptor, when no CPU runs them any more."""
    deadline_s = time.monotonic() + 10
    while programs() - before:
        assert time.monotonic() < deadline_s, "programs are left"
        os.sched_yield()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("after_s", [0.05, 0.2, 0.35, 0.5, 0.7, 1.5])
def test_nothing_is_left_when_it_is_killed_at_any_moment(after_s: float) -> None:
    before = programs()
    terminal = Terminal()
    terminal.read_for(after_s)
    compilers = children_of(terminal.process.pid)
    terminal.process.kill()
    terminal.process.wait()
    for compiler in compilers:  # it sees that nobody listens any more
        deadline_s = time.monotonic() + 10
        while Path(f"/proc/{compiler}").exists() and time.monotonic() < deadline_s:
            os.sched_yield()
        assert not Path(f"/proc/{compiler}").exists()
    terminal.close()
    until_gone(before)


def test_many_start_and_stop_at_once() -> None:
    before = programs()
    streams = [
        subprocess.Popen(
            [sys.executable, "-m", "tcptop_tui", "trace", "states", "--backend", "bpf", "--duration", "1",
             "--ring-mb", "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(10)
    ]  # fmt: skip
    said = [stream.communicate(timeout=60)[1] for stream in streams]
    assert [stream.returncode for stream in streams] == [0] * 10, said
    until_gone(before)


def first_free(ports: range) -> int:
    for port in ports:
        with suppress(OSError), socket.socket(socket.AF_INET6) as server:
            server.bind(("::1", port))
            return port
    raise AssertionError("none is free")


def test_stopped_under_churn_it_loses_nothing_uncounted() -> None:
    """The rings fill while nobody reads them; what does not fit is counted to the unit.

    IPv6, and ports that the kernel gives to nobody by itself: others' transitions would count, too. Whose owner is not
    known yet may be the one that -p wants, and takes room in the ring.
    """
    connections, ours = 20_000, range(9_000, 32_000)
    port = first_free(ours)
    wanted = ("-p", str(os.getpid()), "-6", "-L", f"{port}-{ours[-1]}")
    with streaming("states", "--backend", "bpf", "--ring-mb", "2", *wanted) as stream:
        stream.process.send_signal(signal.SIGSTOP)
        _, there = churn(connections, port, host="::1", source_ports=range(port + 1, ours.stop))
        stream.process.send_signal(signal.SIGCONT)
        assert stream.end() == 0
    lost = int(re.search(r"lost ([\d,]+)", stream.said).group(1).replace(",", ""))  # type: ignore[union-attr]
    moved = connections * TRANSITIONS + 2
    assert 0 < lost < moved
    delivered = sum(str(there) in line.split() for line in stream.lines)
    assert delivered + lost == moved
