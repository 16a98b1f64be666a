"""Entries lie in slots of memory that is shared with the kernel: none is lost, none is two sockets'."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from tcptop_tui.bpf import program as counters
from tcptop_tui.bpf import slots
from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.slots import SLOT
from tcptop_tui.records import CONN_HEAD, Flag, Rows, State
from tcptop_tui.stream.batches import Capture
from tests.support.samples import entries_of
from tests.support.sockets import pair, port, reset
from tests.support.tracer import SMALL, require_bpf

pytestmark = pytest.mark.host

_GENERATOR = """
import socket, struct, sys
servers = [socket.create_server((f"127.0.0.{number}", 0)) for number in (2, 3)]
print(*(server.getsockname()[1] for server in servers), flush=True)
sys.stdin.read()
while True:
    for server in servers:
        with socket.create_connection(server.getsockname()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.accept()[0].close()
"""


NONE = np.zeros(0, np.intp)


@pytest.fixture
def follow() -> Iterator[Callable[..., Program]]:
    """Tracers of what connects to some ports."""
    with ExitStack() as stack:

        def begin(most: int, *rports: int) -> Program:
            tracer = require_bpf(dataclasses.replace(SMALL, max_connections=most))
            stack.callback(tracer.close)
            tracer.attach(Capture(rports=frozenset(rports)))
            return tracer

        yield begin


def opened(server: socket.socket, count: int) -> list[tuple[socket.socket, socket.socket]]:
    return [pair(server) for _ in range(count)]


def closed(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    for client, accepted in pairs:
        reset(client)
        accepted.close()


def followed(tracer: Program) -> set[int]:
    """The clients' ports; each is there once."""
    keys, conns = entries_of(tracer)
    assert len(np.unique(keys)) == len(keys) == len(np.unique(conns["lport"]))
    return set(conns["lport"].tolist())


def clients(pairs: list[tuple[socket.socket, socket.socket]]) -> set[int]:
    return {port(client) for client, _ in pairs}


def full(tracer: Program) -> int:
    return int(tracer.counters.read()[counters.MAP_FULL])


def test_slots_that_are_given_back_are_used_again(server: socket.socket, follow: Callable[..., Program]) -> None:
    tracer = follow(64, port(server))
    for _ in range(20):
        pairs = opened(server, 60)
        assert followed(tracer) == clients(pairs)
        closed(pairs)
        assert followed(tracer) == set()
    assert full(tracer) == 0


def test_there_are_as_many_as_were_asked_for(server: socket.socket, follow: Callable[..., Program]) -> None:
    """100 are more than one chunk and less than two."""
    tracer = follow(100, port(server))
    first, second = opened(server, 70), opened(server, 50)
    assert len(followed(tracer)) == 100
    assert full(tracer) == 20
    closed(first)
    third = opened(server, 70)
    assert followed(tracer) >= clients(third)
    assert len(followed(tracer)) == 100
    assert full(tracer) == 20
    closed(second + third)
    assert followed(tracer) == set()


def test_what_each_cpu_keeps_is_no_connections_room(server: socket.socket, follow: Callable[..., Program]) -> None:
    """A slot that is given back waits for the next socket on the same CPU."""
    tracer = follow(64, port(server))
    cpus = os.sched_getaffinity(0)
    try:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            closed(opened(server, 1))
    finally:
        os.sched_setaffinity(0, cpus)
    pairs = opened(server, 64)
    assert followed(tracer) == clients(pairs)
    assert full(tracer) == 0
    closed(pairs)


def test_what_is_taken_away_comes_back_with_its_next_segment(
    server: socket.socket, follow: Callable[..., Program]
) -> None:
    tracer = follow(64, port(server))
    pairs = opened(server, 64)
    assert tracer.slots.delete(entries_of(tracer)[0]) == 64
    assert followed(tracer) == set()
    for client, accepted in pairs:
        accepted.sendall(b"x")
        client.recv(1)
    assert followed(tracer) == clients(pairs)
    closed(pairs)
    again = opened(server, 64)
    assert followed(tracer) == clients(again)
    assert full(tracer) == 0
    closed(again)


def test_only_what_is_there_is_taken_away(server: socket.socket, follow: Callable[..., Program]) -> None:
    tracer = follow(64, port(server))
    pairs = opened(server, 2)
    keys = entries_of(tracer)[0]
    closed(pairs[:1])
    assert tracer.slots.delete(np.array([1, *keys.tolist()], "<u8")) == 1
    assert followed(tracer) == set()
    closed(pairs[1:])


@pytest.fixture
def churn(bpf_possible: None) -> Iterator[tuple[list[int], Callable[[], None]]]:
    """Connections that come and go, from ``begin()`` on until the test has seen enough; ports of their listeners."""
    with subprocess.Popen([sys.executable, "-c", _GENERATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        yield [int(word) for word in running.stdout.readline().split()], running.stdin.close
        assert running.poll() is None
        running.kill()


def fitting(conns: Rows, ports: list[int]) -> bool:
    """Who connects to an address connects to its port.

    Up to 6.1 an accepted one has an entry until its remote end is known: then it is not wanted.
    """
    conns = conns[(conns["flags"] & Flag.ACTIVE) != 0]
    addresses = (conns["raddr"][:, 1] & 0xFF).tolist()
    return addresses == [2 + ports.index(rport) for rport in conns["rport"].tolist()]


def test_no_entry_is_half_one_sockets_and_half_anothers(
    follow: Callable[..., Program], churn: tuple[list[int], Callable[[], None]]
) -> None:
    """Read while they change hands, all the time."""
    ports, begin = churn
    tracer, seen = follow(64, *ports), 0
    begin()
    while seen < 1000:
        keys, conns = entries_of(tracer)
        assert len(np.unique(keys)) == len(keys)
        assert fitting(conns, ports)
        seen += len(conns)


def test_nor_is_one_of_the_news(follow: Callable[..., Program], churn: tuple[list[int], Callable[[], None]]) -> None:
    ports, begin = churn
    tracer, seen = follow(64, *ports), 0
    begin()
    while seen < 1000:
        news = tracer.slots.read_changes(NONE)
        present = news.conns[news.skaddr != 0]
        assert fitting(present, ports)
        seen += len(present)


def test_news_are_told_once(server: socket.socket, follow: Callable[..., Program]) -> None:
    tracer = follow(64, port(server))
    assert tracer.slots.read_changes(NONE).slot_numbers.tolist() == []
    pairs = opened(server, 3)
    first = tracer.slots.read_changes(NONE)
    numbers = {
        lport: number for number, lport in zip(first.slot_numbers.tolist(), first.conns["lport"].tolist(), strict=True)
    }
    assert {lport for lport, key in zip(numbers, first.skaddr.tolist(), strict=True) if key} >= clients(pairs)
    assert tracer.slots.read_changes(NONE).slot_numbers.tolist() == []
    pairs[1][1].sendall(b"12345")
    pairs[1][0].recv(5)
    second = tracer.slots.read_changes(NONE)
    assert second.slot_numbers.tolist() == [numbers[port(pairs[1][0])]]
    assert second.conns["rx_bytes"].tolist() == [5]
    unread = numbers[port(pairs[2][0])]
    pairs[2][1].sendall(b"1")  # nobody reads it: what has come is news already
    assert tracer.slots.read_changes(NONE).slot_numbers.tolist() == [unread]
    pairs[2][1].shutdown(socket.SHUT_WR)
    half = tracer.slots.read_changes(NONE)
    assert (half.slot_numbers.tolist(), half.conns["state"].tolist()) == ([unread], [State.CLOSE_WAIT])
    where = numbers[port(pairs[0][0])]
    closed(pairs[:1])
    third = tracer.slots.read_changes(NONE)
    assert (third.slot_numbers.tolist(), third.skaddr.tolist()) == ([where], [0])
    closed(pairs[1:])


def test_what_is_asked_for_is_told_again(server: socket.socket, follow: Callable[..., Program]) -> None:
    tracer = follow(64, port(server))
    pairs = opened(server, 3)
    numbers = tracer.slots.read_changes(NONE).slot_numbers
    asked = tracer.slots.read_changes(numbers[1:2].copy())
    assert asked.slot_numbers.tolist() == numbers[1:2].tolist()
    pairs[0][1].sendall(b"x")
    pairs[0][0].recv(1)
    assert set(tracer.slots.read_changes(numbers.copy()).slot_numbers.tolist()) == set(numbers.tolist())
    closed(pairs)


def test_what_is_taken_away_is_news(server: socket.socket, follow: Callable[..., Program]) -> None:
    tracer = follow(64, port(server))
    pairs = opened(server, 2)
    told = tracer.slots.read_changes(NONE)
    number = int(told.slot_numbers[told.skaddr != 0][0])
    tracer.slots.delete(told.skaddr[told.skaddr != 0][:1].copy())
    news = tracer.slots.read_changes(NONE)
    assert (news.slot_numbers.tolist(), news.skaddr.tolist()) == ([number], [0])
    closed(pairs)


def test_news_add_up_to_what_there_is(
    server: socket.socket, follow: Callable[..., Program], churn: tuple[list[int], Callable[[], None]]
) -> None:
    """While slots change hands, and connections that stay send, all the time; compared when these have stopped."""
    ports, begin = churn
    tracer = follow(64, port(server), *ports)
    pairs = opened(server, 20)
    begin()
    known: dict[int, tuple[int, bytes]] = {}
    for number in range(300):
        client, accepted = pairs[number % len(pairs)]
        accepted.sendall(b"x" * (number + 1))
        assert len(client.recv(1000)) == number + 1
        news = tracer.slots.read_changes(NONE)
        ours = news.conns["rport"] == port(server)
        for slot, key, conn, stays in zip(
            news.slot_numbers.tolist(), news.skaddr.tolist(), news.conns, ours, strict=True
        ):
            known.pop(slot, None)
            if key and stays:
                known[slot] = key, conn.tobytes()
    keys, conns = entries_of(tracer)
    stays = conns["rport"] == port(server)
    there = {(key, conn.tobytes()) for key, conn in zip(keys[stays].tolist(), conns[stays], strict=True)}
    assert len(there) == len(pairs)
    hists = {slot: news.hists.histograms(np.array([slot + 1])).tobytes() for slot in known}
    assert {(key, plain + hists[slot]) for slot, (key, plain) in known.items()} == there
    closed(pairs)


def lying(*lives: int) -> Rows:
    made = np.zeros(len(lives), SLOT)
    made["skaddr"], made["generation"] = np.arange(len(lives)) + 1, lives
    return made


def taken(made: Rows) -> tuple[list[int], list[bool]]:
    _, copies, whole = slots._copy_stable(made, lambda rows: np.arange(len(rows)), np.zeros(len(made), SLOT))
    return copies["skaddr"].tolist(), whole.tolist()


def test_half_of_an_entry_is_its_beginning(server: socket.socket, follow: Callable[..., Program]) -> None:
    tracer = follow(64, port(server))
    pairs = opened(server, 10)
    (keys, whole), (same_keys, brief) = entries_of(tracer), entries_of(tracer, CONN_HEAD)
    assert same_keys.tolist() == keys.tolist()
    assert len(brief) == 10
    for name in CONN_HEAD.names or ():
        assert (brief[name] == whole[name]).all(), name
    closed(pairs)


def test_a_slot_that_changes_hands_is_no_entry() -> None:
    assert taken(lying(2, 3, 2)) == ([1, 2, 3], [True, False, True])


def test_a_slot_that_has_changed_hands_meanwhile_is_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    made = lying(2, 2, 2)

    def slow(rows: Rows, into: Rows) -> None:
        into[:] = rows
        made["generation"][0] = 4

    monkeypatch.setattr(slots, "copy_into", slow)
    assert taken(made) == ([1, 2, 3], [False, True, True])
