"""Entries lie in slots of memory that is shared with the kernel: none is lost, none is two sockets'."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from conftest import SMALL, require_bpf
from sockets import pair, port, reset

from tcptop_tui.bpf import program as counters
from tcptop_tui.bpf import slots
from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.slots import SLOT
from tcptop_tui.records import BRIEF, Rows
from tcptop_tui.source.batches import Capture

_GENERATOR = """
import socket, struct, sys
servers = [socket.create_server((f"127.0.0.{number}", 0)) for number in (2, 3)]
print(*(server.getsockname()[1] for server in servers), flush=True)
sys.stdin.read()
for _ in range(10_000):
    for server in servers:
        with socket.create_connection(server.getsockname()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.accept()[0].close()
"""


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
    keys, conns = tracer.conns.read()
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


def test_what_is_taken_away_comes_back_with_its_next_segment(
    server: socket.socket, follow: Callable[..., Program]
) -> None:
    tracer = follow(64, port(server))
    pairs = opened(server, 64)
    assert tracer.conns.delete(tracer.conns.read()[0].copy()) == 64
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
    keys = tracer.conns.read()[0].copy()
    closed(pairs[:1])
    assert tracer.conns.delete(np.array([1, *keys.tolist()], "<u8")) == 1
    assert followed(tracer) == set()
    closed(pairs[1:])


def test_no_entry_is_half_one_sockets_and_half_anothers(follow: Callable[..., Program], bpf_possible: None) -> None:
    """Read while they change hands, all the time: who connects to an address connects to its port."""
    with subprocess.Popen([sys.executable, "-c", _GENERATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        ports = [int(word) for word in running.stdout.readline().split()]
        tracer = follow(64, *ports)
        running.stdin.close()
        seen = 0
        while running.poll() is None:
            keys, conns = tracer.conns.read()
            assert len(np.unique(keys)) == len(keys)
            addresses = (conns["raddr"][:, 1] & 0xFF).tolist()
            assert addresses == [2 + ports.index(rport) for rport in conns["rport"].tolist()]
            seen += len(conns)
    assert seen > 100


def lying(*lives: int) -> Rows:
    made = np.zeros(len(lives), SLOT)
    made["skaddr"], made["lives"] = np.arange(len(lives)) + 1, lives
    return made


def copied(made: Rows) -> list[int]:
    into = np.zeros(len(made), SLOT)
    return into["skaddr"][: slots._copied(made, into)].tolist()


def test_nobodys_slot_is_no_entry() -> None:
    made = lying(2, 2, 2)
    made["skaddr"][1] = 0
    assert copied(made) == [1, 3]


def test_half_of_an_entry_is_its_beginning(server: socket.socket, follow: Callable[..., Program]) -> None:
    tracer = follow(64, port(server))
    pairs = opened(server, 10)
    (keys, whole), (same_keys, brief) = tracer.conns.read(), tracer.open_conns().read()
    assert same_keys.tolist() == keys.tolist()
    assert len(brief) == 10
    for name in BRIEF.names or ():
        assert (brief[name] == whole[name]).all(), name
    closed(pairs)


def test_a_slot_that_changes_hands_is_no_entry() -> None:
    assert copied(lying(2, 3, 2)) == [1, 3]


def test_a_slot_that_has_changed_hands_meanwhile_is_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    made = lying(2, 2, 2)

    def slow(rows: Rows, into: Rows) -> None:
        into[:] = rows
        made["lives"][0] = 4

    monkeypatch.setattr(slots, "put", slow)
    into = np.zeros(3, SLOT)
    assert slots._copied(made, into) == 2
    assert into["skaddr"][:2].tolist() == [2, 3]
