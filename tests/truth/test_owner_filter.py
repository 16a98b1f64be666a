"""A capture by PID: what is shown is wanted, whoever turns out to have a connection, and whenever."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.reconcile.ownerless import OwnerlessTransitions
from tcptop_tui.records import ENDED, ROW, TRANSITION, Flag, HolderLookup, Rows, State
from tcptop_tui.stream.batches import Capture, Source
from tests.support.running_source import Running
from tests.support.scripted_process import ACCEPTS, HANDED_ON, scripted_process
from tests.support.sockets import listening, pair, path, port, until_closed
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

SETTINGS = dataclasses.replace(SMALL, refresh_s=0.05, reconcile_s=0.1, ring_bytes=8 * 2**20)
NOBODY = 2**22 + 1
"""No PID: larger than the kernel's largest."""

Start = Callable[[int], Running]


@pytest.fixture(params=[BpfSource, DiagSource])
def start(request: pytest.FixtureRequest, bpf_possible: None) -> Iterator[Start]:
    running: list[Running] = []

    def begin(pid: int) -> Running:
        source: Source = request.param(SETTINGS, Capture(pids=frozenset({pid})))
        running.append(Running(source, SETTINGS))
        running[-1].until(lambda: bool(running[-1].store.snapshot().now_ns))
        return running[-1]

    yield begin
    for one in running:
        one.close()


def tables(feed: Running) -> int:
    return sum(type(batch).__name__ == "Table" for batch in feed.batches)


def test_nothing_of_nobody_is_shown(start: Start) -> None:
    """Neither TIME_WAIT, nor what nobody has accepted, nor other people's connections, open or ended."""
    with listening() as server:
        feed = start(NOBODY)
        client, accepted = pair(server)
        with socket.create_connection(server.getsockname()):
            accepted.close()
            until_closed(client)
            client.close()
            seen = tables(feed)
            feed.until(lambda: tables(feed) >= seen + 10)
        facts = feed.store.snapshot()
        assert (len(facts.rows), len(facts.log), len(facts.ended_rows)) == (0, 0, 0)
        assert (facts.loss.lost, facts.loss.missed, facts.loss.mended) == (0, 0, 0)


def test_what_is_handed_to_the_process_appears_and_what_it_hands_on_goes(start: Start) -> None:
    with scripted_process(HANDED_ON) as actor:
        (there,) = actor.numbers()
        with socket.create_connection(("127.0.0.1", there)) as client:
            client.sendall(b"first")
            master, worker = actor.numbers()
            to, of = start(worker), start(master)
            ends = there, port(client)
            of.until(lambda: of.rows(*ends)["pid"].tolist() == [master])
            assert not len(to.rows(*ends))
            actor.go_on()
            actor.numbers()
            to.until(lambda: to.rows(*ends)["pid"].tolist() == [worker])
            of.until(lambda: not len(of.rows(*ends)))
            assert not len(of.store.snapshot().ended_rows)
            actor.go_on()
            actor.end()
        for feed in (to, of):
            loss = feed.store.snapshot().loss
            assert (loss.lost, loss.missed, loss.mended) == (0, 0, 0)


def test_all_that_a_worker_accepts_is_shown(bpf_possible: None) -> None:
    """Two processes have the listener: that it was the worker is known when it closes, and then of all lines."""
    with listening() as server, scripted_process(ACCEPTS, server) as worker:
        worker.numbers()
        feed = Running(BpfSource(SETTINGS, Capture(pids=frozenset({worker.pid}))), SETTINGS)
        other = Running(BpfSource(SETTINGS, Capture(pids=frozenset({os.getpid()}))), SETTINGS)
        try:
            with socket.create_connection(server.getsockname()) as client:
                ends = port(server), port(client)
                worker.go_on()
                worker.numbers()
                until_closed(client)
            feed.until(lambda: bool(len(feed.store.snapshot().ended_rows)))
            log = feed.store.snapshot().log
            assert path(log, *ends)[:2] == [(State.LISTEN, State.SYN_RECV), (State.SYN_RECV, State.ESTABLISHED)]
            assert set(log["pid"].tolist()) == {worker.pid}
            other.until(lambda: bool(len(other.store.snapshot().ended_rows)))  # the client's end is ours
            assert not path(other.store.snapshot().log, *ends)
        finally:
            feed.close()
            other.close()


IN_ITS_OWN = """
import os, socket, subprocess, sys
server = socket.create_server(("127.0.0.1", 0))
client, accepted = socket.create_connection(server.getsockname()), server.accept()
command = [sys.executable, "-m", "tcptop_tui", "snapshot", "--after", "0.1", "-p", str(os.getpid())]
sys.exit(subprocess.call([*command, *sys.argv[1:]]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_in_a_pid_namespace_the_process_is_the_one_that_has_the_number_there(bpf_possible: None) -> None:
    """BPF knows the host's PIDs, and would show nothing, or somebody else's: sock_diag finds it in /proc."""
    inside = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", IN_ITS_OWN]
    told = subprocess.run([*inside, "--backend", "auto"], capture_output=True, text=True, check=True)
    rows = sorted((row["pid"], row["state"]) for row in json.loads(told.stdout)["connections"])
    assert rows == [(1, "ESTABLISHED"), (1, "ESTABLISHED"), (1, "LISTEN")]
    told = subprocess.run([*inside, "--backend", "bpf"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (1, "")
    assert "BPF knows the host's PIDs" in told.stderr


WANTED, OTHER = 7, 8


def moved(*lines: tuple[int, int, bool]) -> Rows:
    """Transitions of sockets by number, process, and whether that was seen."""
    rows = np.zeros(len(lines), TRANSITION)
    for row, (number, pid, sure) in zip(rows, lines, strict=True):
        row["skaddr"] = row["born_ns"] = number
        row["pid"], row["flags"] = pid, Flag.OWNER_SURE if sure else Flag.PASSIVE
    return rows


def told(rows: Rows) -> list[tuple[int, int]]:
    return [(int(row["skaddr"]), int(row["pid"])) for row in rows]


def test_lines_wait_until_it_is_known_whose_they_are() -> None:
    undecided = OwnerlessTransitions(Capture(pids=frozenset({WANTED})))
    assert told(undecided.add(moved((1, 0, False), (2, OTHER, False), (3, WANTED, False), (4, OTHER, True)))) == [
        (3, 7)
    ]
    assert len(undecided) == 2
    # in order, with the process that it turned out to be; another one's go
    assert told(undecided.add(moved((2, WANTED, True), (1, OTHER, True)))) == [(2, 7), (2, 7)]
    assert len(undecided) == 0


def test_a_table_or_an_end_decides_as_well() -> None:
    undecided = OwnerlessTransitions(Capture(pids=frozenset({WANTED})))
    assert not len(undecided.add(moved((1, 0, False), (2, 0, False), (3, 0, False), (4, 0, False), (5, 0, False))))
    table = np.zeros(3, ROW)
    table["skaddr"] = table["born_ns"] = [1, 2, 5]
    table["pid"], table["holder_lookup"] = (
        [WANTED, OTHER, WANTED],
        [HolderLookup.DONE, HolderLookup.DONE, HolderLookup.NOT_DONE],
    )
    assert told(undecided.release(table)) == [(1, WANTED)]
    ended = np.zeros(2, ENDED)
    ended["skaddr"] = ended["born_ns"] = [3, 4]
    ended["pid"] = [WANTED, 0]
    waited, shown = undecided.release_ended(ended)
    assert (told(waited), shown["skaddr"].tolist()) == ([(3, WANTED)], [3])
    assert len(undecided) == 1
