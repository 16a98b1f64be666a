"""The whole way on the real kernel: sockets in, batches out."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.model.per_second import EventKind
from tcptop_tui.records import State
from tcptop_tui.stream.batches import Batch, Capture, Status, Table, Transitions
from tests.support.running_source import Running
from tests.support.sockets import CW, C, E, listening, pair, path, port, reset, until_closed
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

ROOMY = dataclasses.replace(SMALL, ring_bytes=8 * 2**20)
"""The test's own thread keeps the worker from running for long: the ring holds what comes meanwhile."""


ACCEPT = """
import socket, sys
accepted, _ = socket.socket(fileno=int(sys.argv[1])).accept()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(bpf_possible: None) -> Iterator[Callable[[Capture], Running]]:
    running: list[Running] = []

    def begin(capture: Capture) -> Running:
        running.append(Running(BpfSource(ROOMY, capture), ROOMY))
        return running[-1]

    yield begin
    for one in running:
        one.close()


def test_what_was_there_before_is_in_the_first_table(start: Callable[[Capture], Running]) -> None:
    with listening() as server:
        client, accepted = pair(server)
        client.sendall(b"before")
        accepted.recv(6)
        source = start(Capture())
        source.until(lambda: bool(source.store.snapshot().now_ns))
        ports = port(client), port(server)
        (here,), there = source.rows(*ports), source.rows(port(server))
        assert (here["pid"], here["uid"], here["tx_bytes"]) == (os.getpid(), os.getuid(), 6)
        assert here["state"] == State.ESTABLISHED
        assert here["born_ns"] == 0  # nobody saw it begin
        assert sorted(there["state"].tolist()) == [State.ESTABLISHED, State.LISTEN]
        identity = int(here["id"])
        # it moves: the same row, now from the map, still ours
        client.sendall(b" and after")
        accepted.recv(100)
        source.until(lambda: bool(source.rows(*ports)["tx_bytes"][0] == 16))
        assert int(source.rows(*ports)["id"][0]) == identity
        assert int(source.rows(*ports)["pid"][0]) == os.getpid()
        accepted.close()
        until_closed(client)
        client.close()
        source.until(lambda: not len(source.rows(*ports)))
        log = source.store.snapshot().log
        log = log[(log["lport"] == ports[0]) & (log["rport"] == ports[1])]
        assert path(log, ports[0]) == [(E, CW), (CW, State.LAST_ACK), (State.LAST_ACK, C)]
        assert (log["pid"] == os.getpid()).all()
        loss = source.store.snapshot().loss
        assert (loss.lost, loss.missed, loss.mended) == (0, 0, 0)


@pytest.mark.parametrize(("asked", "seen"), [(frozenset(), 1), (frozenset([1]), 0)], ids=["all", "init"])
def test_what_came_before_its_listener_was_known(bpf_possible: None, asked: frozenset[int], seen: int) -> None:
    """Accepted and closed between attaching and the first look at what is there: nobody has read from it."""
    with listening() as server:

        def come_and_go() -> None:
            client, accepted = pair(server)
            reset(client)
            accepted.close()

        capture = Capture(pids=asked)
        source = Running(BpfSource(ROOMY, capture), ROOMY, attached=come_and_go)
        try:
            # what was held until the first table is all there with the next one
            source.until(lambda: sum(isinstance(batch, Table) for batch in source.batches) == 2)
            facts = source.store.snapshot()
            for told, lines in ((facts.ended_rows, 1), (facts.log, 3)):
                theirs = told[(told["lport"] == port(server)) & (told["rport"] != 0)]
                assert theirs["pid"].tolist() == [os.getpid()] * lines * seen
                assert theirs["comm"].tolist() == [Path("/proc/self/comm").read_bytes().strip()] * lines * seen
        finally:
            source.close()


def test_the_port_of_syn_sent_is_filled_in(start: Callable[[Capture], Running]) -> None:
    with listening() as server:
        source = start(Capture(rports=frozenset({port(server)})))
        client, accepted = pair(server)
        here = port(client)
        source.until(lambda: len(path(source.store.snapshot().log, here)) == 2)
        assert path(source.store.snapshot().log, here) == [(C, State.SYN_SENT), (State.SYN_SENT, E)]
        client.close()
        accepted.close()


def test_an_accepted_connection_is_whose_it_is_though_nobody_reads(start: Callable[[Capture], Running]) -> None:
    """One process listens, another one accepts: a server with workers."""
    source = start(Capture())
    with listening() as server:
        worker = subprocess.Popen(
            [sys.executable, "-c", ACCEPT, str(server.fileno())], pass_fds=[server.fileno()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with worker, socket.create_connection(server.getsockname()) as client:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdout.readline()
            ends = port(server), port(client)
            source.until(lambda: source.rows(*ends)["pid"].tolist() == [worker.pid])
            client.shutdown(socket.SHUT_WR)
            source.until(lambda: (E, CW) in path(source.store.snapshot().log, *ends))
            log = source.store.snapshot().log
            told = log[(log["lport"] == ends[0]) & (log["rport"] == ends[1]) & (log["newstate"] == State.CLOSE_WAIT)]
            assert told["pid"].tolist() == [worker.pid]
            worker.stdin.close()


def test_thousands_of_connections_none_lost_none_left(start: Callable[[Capture], Running]) -> None:
    with listening() as server:
        source = start(Capture(lports=frozenset({port(server)})))
        connections = 3000
        ended: list[int] = []
        for _ in range(connections):
            client, accepted = pair(server)
            ended.append(port(client))
            reset(client)
            until_closed(accepted)
            accepted.close()
        source.until(lambda: source.store.snapshot().log_total >= 3 * connections)
        source.until(lambda: source.store.snapshot().ended_total >= connections)
        facts = source.store.snapshot()
        assert facts.log_total == 3 * connections
        assert facts.loss.lost == 0
        assert sorted(facts.ended_rows["rport"].tolist()) == sorted(ended)
        source.until(lambda: len(source.rows(port(server))) == 1)


def test_time_wait_keeps_its_process(start: Callable[[Capture], Running]) -> None:
    with listening() as server:
        source = start(Capture())
        client, accepted = pair(server)
        client.sendall(b"12345")
        ports = port(client), port(server)
        client.close()
        until_closed(accepted)
        accepted.close()
        source.until(lambda: bool((source.rows(*ports)["state"] == State.TIME_WAIT).any()))
        (row,) = source.rows(*ports)
        assert (row["pid"], row["tx_bytes"]) == (os.getpid(), 5)
        assert 0 < source.store.snapshot().now_ns - int(row["state_ns"]) < 30e9


def test_a_slow_reader_loses_nothing_that_fits_the_ring(bpf_possible: None) -> None:
    class Refusing:
        """Takes nothing at first, then everything."""

        def __init__(self) -> None:
            self.open = False
            self.taken: list[Batch] = []

        def offer(self, batch: Batch) -> bool:
            if self.open:
                self.taken.append(batch)
            return self.open

    with listening() as server:
        source = BpfSource(SMALL, Capture(lports=frozenset({port(server)})))
        source.open()
        sink = Refusing()
        turns = 0

        def stopped(_seconds: float) -> bool:
            nonlocal turns
            turns += 1
            if turns < 20:
                client, accepted = pair(server)
                reset(client)
                until_closed(accepted)
                accepted.close()
            sink.open = turns >= 20
            return turns == 24

        source.run(sink, stopped)
        source.close()
        moved = np.concatenate([b.rows for b in sink.taken if hasattr(b, "rows") and "ts_ns" in b.rows.dtype.names])
        assert len(moved) == 19 * 3
        assert not any(isinstance(batch, Status) and batch.ended for batch in sink.taken)


def test_sockets_of_another_namespace_are_seen(start: Callable[[Capture], Running]) -> None:
    """The tracepoints see every network namespace; nothing there is taken for a ghost."""
    name = f"tcptop-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces cannot be made here")
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        source = start(Capture())
        script = (
            "import socket\ns=socket.socket(); s.bind(('127.0.0.1',4321)); s.listen()\n"
            "c=socket.create_connection(('127.0.0.1',4321)); print('up',flush=True); input()"
        )
        inside = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert inside.stdout is not None
        assert inside.stdout.readline() == b"up\n"
        source.until(lambda: len(source.rows(4321)) == 2)
        seen = source.store.snapshot().now_ns
        # two comparisons with sock_diag later it is still there
        source.until(lambda: source.store.snapshot().now_ns > seen + 5 * 10**9)
        rows = source.rows(4321)
        assert len(rows) == 2
        assert (rows["netns"] != Path("/proc/self/ns/net").stat().st_ino).all()
        assert source.store.snapshot().loss.mended == 0
        inside.communicate(b"\n", timeout=10)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def test_a_wall_clock_goes_with_every_table(start: Callable[[Capture], Running]) -> None:
    source = start(Capture())
    source.until(lambda: bool(source.store.snapshot().now_ns))
    facts = source.store.snapshot()
    assert abs(facts.utc_ns - time.time_ns()) < 60e9


class Full(Running):
    """As long as it is ``full`` it takes no transitions; tables and ended connections it does."""

    full = True

    def offer(self, batch: Batch) -> bool:
        return not (self.full and isinstance(batch, Transitions)) and super().offer(batch)


def test_a_table_says_up_to_when_events_have_been_read(server: socket.socket) -> None:
    running = Full(BpfSource(ROOMY, Capture(lports=frozenset({port(server)}))), ROOMY)
    try:
        running.until(lambda: running.store.snapshot().has_table)
        client, accepted = pair(server)
        running.until(lambda: running.store.snapshot().behind_s > 0)
        known = running.store.snapshot().per_second[EventKind.OPENED]
        assert np.isnan(known[-1])
        running.full = False
        running.until(lambda: running.store.snapshot().behind_s == 0 and len(running.store.snapshot().log) > 0)
        running.until(lambda: np.nansum(running.store.snapshot().per_second[EventKind.OPENED]) == 1)
        client.close()
        accepted.close()
    finally:
        running.close()
