"""The kernel side's memory for connections grows while it runs; what is in it stays, what has no room is counted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tcptop_tui.bpf import blocks, capacity
from tcptop_tui.bpf import program as counters
from tcptop_tui.bpf.capacity import Capacity, HostSize
from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.host.capabilities import Cap
from tcptop_tui.host.kernel import kernel_version
from tcptop_tui.host.privileges import _maps_need_it
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture
from tests.support.privileges import AMBIENT, ROOT
from tests.support.running_source import Running
from tests.support.samples import entries_of
from tests.support.sockets import pair, port
from tests.support.tracer import SMALL, require_bpf

GB = 2**30
TINY = replace(SMALL, max_connections=2048, block_slots=64)
"""Two blocks at the start: 128 slots, as nobody is expected."""


@pytest.mark.parametrize(
    ("host", "limit"),
    [
        (HostSize(100, 16 * GB, allocates_on_demand=True), 1 << 20),
        (HostSize(100, GB, allocates_on_demand=True), 1 << 17),
        (HostSize(100, GB // 8, allocates_on_demand=True), 1 << 16),
        (HostSize(900_000, 64 * GB, allocates_on_demand=True), 1 << 21),
        (HostSize(900_000, GB, allocates_on_demand=True), 1 << 19),
        (HostSize(100, 16 * GB, allocates_on_demand=False), 1 << 16),
        (HostSize(500_000, 16 * GB, allocates_on_demand=False), 1 << 21),
    ],
)
def test_the_limit_fits_the_host(host: HostSize, limit: int) -> None:
    fitting = Capacity.from_settings(Settings(), host)
    assert fitting.limit == limit
    assert fitting.memory_bytes(limit) < host.memory_bytes / 2


def test_a_limit_that_was_asked_for_is_the_limit() -> None:
    assert (
        Capacity.from_settings(Settings(max_connections=100), HostSize(1000, GB, allocates_on_demand=True)).limit == 100
    )


def test_the_hosts_sockets_are_counted_in_all_namespaces() -> None:
    with ExitStack() as stack:
        before = capacity.count_sockets()
        for _ in range(500):
            stack.enter_context(socket.socket())
        assert capacity.count_sockets() - before > 250


@pytest.fixture
def nobody_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host without sockets."""
    monkeypatch.setattr(counters, "count_sockets", lambda: 0)


@pytest.fixture
def tracer(bpf_possible: None, nobody_expected: None, server: socket.socket) -> Iterator[Program]:
    """Of the clients of ``server``."""
    program = require_bpf(TINY)
    program.attach(Capture(rports=frozenset({port(server)})))
    yield program
    program.close()


def full(tracer: Program) -> int:
    return int(tracer.counters.read()[counters.MAP_FULL])


def known(feed: Running, there: int) -> dict[int, tuple[int, ...]]:
    """Id, owner, birth, payload and RTT samples of connections to a port, by their own."""
    facts = feed.store.snapshot()
    rows = facts.rows[facts.rows["rport"] == there]
    samples = facts.hists.histograms(rows["hist"])
    return {
        int(row["lport"]): (*(int(row[name]) for name in ("id", "pid", "born_ns", "tx_bytes")), *hist)
        for row, hist in zip(rows, samples.tolist(), strict=True)
    }


def opened(server: socket.socket, count: int, stack: ExitStack) -> list[tuple[socket.socket, socket.socket]]:
    made = [pair(server) for _ in range(count)]
    for each in made:
        for sock in each:
            stack.enter_context(sock)
    return made


@pytest.mark.host
def test_what_was_known_before_it_grew_stays(nobody_expected: None, bpf_possible: None, server: socket.socket) -> None:
    there = port(server)
    feed = Running(BpfSource(TINY, Capture(rports=frozenset({there}))), TINY)
    with ExitStack() as stack:
        stack.callback(feed.close)
        for client, accepted in opened(server, 60, stack):
            client.sendall(b"12345")
            accepted.recv(5)
            accepted.sendall(b"x")
            client.recv(1)
        feed.until(lambda: [one[3] for one in known(feed, there).values()] == [5] * 60)
        feed.until(lambda: all(sum(one[4:]) for one in known(feed, there).values()))
        before = known(feed, there)
        for count in range(160, 660, 100):
            opened(server, 100, stack)
            feed.until(lambda count=count: len(known(feed, there)) == count)
        now = known(feed, there)
        assert {one: now[one] for one in before} == before
        assert {one[1] for one in now.values()} == {os.getpid()}
        assert len({one[0] for one in now.values()}) == len(now) == 560
        loss = feed.store.snapshot().loss
        assert (loss.map_full, loss.missed, loss.lost) == (0, 0, 0)


@pytest.mark.host
def test_at_the_limit_what_has_no_room_is_counted_to_the_unit(tracer: Program, server: socket.socket) -> None:
    with ExitStack() as stack:
        for count in range(50, 2048, 50):
            opened(server, 50, stack)
            tracer.slots.reserve()
            assert len(entries_of(tracer)[0]) == count
        assert full(tracer) == 0
        opened(server, 100, stack)
        tracer.slots.reserve()
        assert len(entries_of(tracer)[0]) == 2048
        assert full(tracer) == 2000 + 100 - 2048


@pytest.mark.host
def test_without_memory_it_stays_as_it_is_and_grows_later(
    tracer: Program, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = monkeypatch.context()
    with ExitStack() as stack:
        with short as patch:
            patch.setattr(blocks, "meminfo_bytes", lambda kind: GB if kind == "MemTotal" else GB // 64)
            opened(server, 100, stack)
            tracer.slots.reserve()
            opened(server, 100, stack)
            assert len(entries_of(tracer)[0]) == 128
            assert full(tracer) == 72
        tracer.slots.reserve()  # not at once again: it may have been the kernel that refused
        opened(server, 10, stack)
        assert full(tracer) == 82
        monkeypatch.setattr(blocks, "_RETRY_S", 0.0)
        tracer.slots.reserve()
        opened(server, 100, stack)
        assert len(entries_of(tracer)[0]) == 228
        assert full(tracer) == 82


_NARROWED = """
import os, sys
from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.host.capabilities import Cap
from tcptop_tui.host.capabilities import thread_capabilities, raise_capabilities
from tcptop_tui.host.privileges import STREAM, WORKER, PrivilegeNeeds, drop_unneeded
from tcptop_tui.feed import Feed
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture

settings = Settings(max_connections=4096, block_slots=64, ring_bytes=2**16, session_ring_bytes=2**16)
drop_unneeded(PrivilegeNeeds(programs="loads"), in_two_steps=True)
feed = Feed("bpf", settings, Capture())
with raise_capabilities(*WORKER):
    source = feed._source = BpfSource(settings, Capture())
    source.open()
    feed.drop_capabilities(STREAM)
    blocks = source._require_open().program.slots._blocks
    before = blocks.slot_count
    blocks.reserve(3000)
    print(before < 3000 <= blocks.slot_count, thread_capabilities().permitted >> 39 & 1, flush=True)
    child = blocks._maker._pid
    print(*(line.split()[1] for line in open(f"/proc/{child}/status") if line.startswith("CapPrm")), flush=True)
    print(sum(1 for _ in os.scandir(f"/proc/{child}/fd")), flush=True)
    source.close()
    print(os.path.exists(f"/proc/{child}"))
"""


@pytest.mark.host
@pytest.mark.parametrize("launch", [ROOT, AMBIENT], ids=["root", "ambient"])
def test_it_grows_when_what_that_takes_has_been_given_up(bpf_possible: None, launch: tuple[str, ...]) -> None:
    """As a stream: another process with CAP_BPF alone makes the memory, and ends with it."""
    if launch and kernel_version() < (5, 11):
        pytest.skip("maps count as locked memory here, which only root may have more of")
    command = [*launch, sys.executable, "-c", _NARROWED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/tmp")
    assert done.returncode == 0, done.stderr
    grown, held, descriptors, there = done.stdout.splitlines()
    assert grown == f"True {int(_maps_need_it())}"
    assert int(held, 16) == 1 << Cap.BPF
    assert int(descriptors) == 2  # its link and its model
    assert there == "False"
