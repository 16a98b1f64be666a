"""Whatever sockets do, by chance and all at once: the table is that of ``ss``, and nothing is taken for missed."""

from __future__ import annotations

import ctypes
import dataclasses
import random
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest
from conftest import SMALL
from peers import require
from running import Running
from sockets import LOOPBACK, port, reset

from tcptop_tui import foreign
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.foreign import Signature
from tcptop_tui.records import State
from tcptop_tui.source.batches import Capture

SETTINGS = dataclasses.replace(SMALL, refresh_s=0.05, reconcile_s=0.2)
ROUNDS = 8
FAMILIES = [socket.AF_INET, socket.AF_INET6]
UNSPECIFIED = bytes(16)
"""``struct sockaddr`` of AF_UNSPEC: connect() with it dissolves a connection."""
LIBC = foreign.load(None, {"connect": Signature(ctypes.c_int, (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint))})

Ends = tuple[str, str, int, str, int]
"""State, local and remote address and port."""


class Mix:
    """Sockets that are opened, used and closed in every way that needs no second host, by chance."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._listeners: list[socket.socket] = []
        self._others: list[socket.socket] = []
        self.ports: set[int] = set()
        """One end of each connection has one of these."""
        self._acts = {
            self._listen: 5, self._listen_unbound: 2, self._unlisten: 4, self._connect: 40, self._connect_itself: 3,
            self._connect_again: 8, self._accept: 25, self._send: 20, self._receive: 20, self._shut: 12,
            self._dissolve: 3, self._listen_instead: 2, self._close: 25, self._reset: 6,
        }  # fmt: skip

    def go(self) -> None:
        for act in self._chance.choices(list(self._acts), list(self._acts.values()), k=self._chance.choice([10, 300])):
            with suppress(OSError, IndexError):  # not in this state; nobody there yet
                act()
        while len(self._others) > 200:
            self._close()

    def close(self) -> None:
        for one in (*self._listeners, *self._others):
            one.close()

    def _one(self) -> socket.socket:
        return self._chance.choice(self._others)

    def _added(self, one: socket.socket) -> socket.socket:
        one.setblocking(False)
        self._others.append(one)
        return one

    def _listening(self, one: socket.socket) -> None:
        one.listen(self._chance.choice([0, 1, 16]))
        self.ports.add(port(one))

    def _listen(self) -> None:
        one = socket.socket(self._chance.choice(FAMILIES))
        one.setblocking(False)
        self._listeners.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        again = self._listeners and self._chance.random() < 0.3
        one.bind(self._chance.choice(self._listeners).getsockname()[:2] if again else (LOOPBACK[one.family], 0))
        self._listening(one)

    def _listen_unbound(self) -> None:
        one = socket.socket(self._chance.choice(FAMILIES))
        one.setblocking(False)
        self._listeners.append(one)
        self._listening(one)

    def _unlisten(self) -> None:
        one = self._chance.choice(self._listeners[3:])
        self._listeners.remove(one)
        one.close()

    def _connect(self) -> None:
        there = self._chance.choice(self._listeners)
        one = self._added(socket.socket(there.family))
        if self._chance.random() < 0.2:
            one.bind((LOOPBACK[one.family], 0))
        one.connect_ex((LOOPBACK[one.family], port(there)))

    def _connect_itself(self) -> None:
        one = self._added(socket.socket())
        one.bind((LOOPBACK[one.family], 0))
        self.ports.add(port(one))
        one.connect_ex(one.getsockname())

    def _connect_again(self) -> None:
        """A socket that was refused or dissolved, or a new one that nobody answers."""
        one = self._one()
        one.connect_ex((LOOPBACK[one.family], port(self._chance.choice(self._listeners))))

    def _accept(self) -> None:
        listener = self._chance.choice(self._listeners)
        for _ in range(self._chance.randrange(1, 20)):
            self._added(listener.accept()[0])

    def _send(self) -> None:
        self._one().send(b"x" * self._chance.choice([1, 1000, 300_000]))

    def _receive(self) -> None:
        self._one().recv(2**20)

    def _shut(self) -> None:
        self._one().shutdown(self._chance.choice([socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR]))

    def _dissolve(self) -> None:
        LIBC.connect(self._one().fileno(), UNSPECIFIED, len(UNSPECIFIED))

    def _listen_instead(self) -> None:
        self._listening(self._one())

    def _gone(self) -> socket.socket:
        one = self._one()
        self._others.remove(one)
        return one

    def _close(self) -> None:
        self._gone().close()

    def _reset(self) -> None:
        reset(self._gone())


def by_ss(ports: set[int]) -> Counter[Ends]:
    told = subprocess.run(["ss", "-tanH"], capture_output=True, text=True, check=True).stdout
    lines = (line.split() for line in told.splitlines())
    ends = ((_state(state), *_end(local), *_end(remote)) for state, _, _, local, remote, *_ in lines)
    return Counter(one for one in ends if one[0] != "UNCONN" and not ports.isdisjoint({one[2], one[4]}))


def _state(name: str) -> str:
    return {"ESTAB": "ESTABLISHED", "FIN-WAIT-1": "FIN_WAIT1", "FIN-WAIT-2": "FIN_WAIT2"}.get(
        name, name.replace("-", "_")
    )


def _end(text: str) -> tuple[str, int]:
    host, _, number = text.rpartition(":")
    host = host.partition("%")[0].strip("[]")
    return _written("::" if host == "*" else host), int(number.replace("*", "0"))


def _written(address: str) -> str:
    """One spelling of each, whichever family has it."""
    one = ip_address(address)
    one = IPv6Address(f"::ffff:{one}") if one.version == 4 and int(one) else one
    return str(one) if int(one) else "*"


def by_table(feed: Running, ports: set[int]) -> Counter[Ends]:
    rows = feed.store.facts().rows
    rows = rows[(rows["state"] != State.CLOSE) & (rows["netns"] == Path("/proc/self/ns/net").stat().st_ino)]
    made = (
        (
            State(row["state"]).name.removeprefix("NEW_"),
            *(_address(row["laddr"]), int(row["lport"])),
            *(_address(row["raddr"]), int(row["rport"])),
        )
        for row in rows
    )
    return Counter(one for one in made if not ports.isdisjoint({one[2], one[4]}))


def _address(words: tuple[int, int]) -> str:
    whole = int(words[0]) << 64 | int(words[1])
    return "*" if whole == 0xFFFF << 32 else _written(str(IPv6Address(whole)))


@pytest.fixture(params=[BpfSource, DiagSource])
def feed(request: pytest.FixtureRequest, bpf_possible: None) -> Iterator[Running]:
    running = Running(request.param(SETTINGS, Capture()), SETTINGS)
    running.until(lambda: bool(running.store.facts().now_ns))
    yield running
    running.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_table_is_that_of_ss(feed: Running, seed: int) -> None:
    require("ss")
    mix = Mix(seed)
    try:
        for _ in range(ROUNDS):
            mix.go()
            feed.until(lambda: by_table(feed, mix.ports) == by_ss(mix.ports))
    finally:
        mix.close()
    assert feed.store.facts().loss.missed == 0
