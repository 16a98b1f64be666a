"""Whatever sockets do, by chance and all at once: the table is that of ``ss``, and nothing is taken for missed."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.records import State
from tcptop_tui.stream.batches import Capture
from tests.support.other_tools import require
from tests.support.running_source import Running
from tests.support.socket_mix import MIX_ROUNDS, SocketMix
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

SETTINGS = dataclasses.replace(SMALL, refresh_s=0.05, reconcile_s=0.2)

Ends = tuple[str, str, int, str, int]
"""State, local and remote address and port."""

Owned = dict[Ends, frozenset[tuple[int, str]]]
"""Who has each socket open: PID and name."""


def by_ss(ports: set[int]) -> Counter[Ends]:
    told = subprocess.run(["ss", "-tanH"], capture_output=True, check=True, encoding="utf-8", errors="replace").stdout
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
    rows = feed.store.snapshot().rows
    rows = rows[(rows["state"] != State.CLOSE) & (rows["netns"] == Path("/proc/self/ns/net").stat().st_ino)]
    made = (_ends(row) for row in rows)
    return Counter(one for one in made if not ports.isdisjoint({one[2], one[4]}))


def _ends(row: np.void) -> Ends:
    return (
        State(row["state"]).name.removeprefix("NEW_"),
        *(_address(row["laddr"]), int(row["lport"])),
        *(_address(row["raddr"]), int(row["rport"])),
    )


def _address(words: tuple[int, int]) -> str:
    whole = int(words[0]) << 64 | int(words[1])
    return "*" if whole == 0xFFFF << 32 else _written(str(IPv6Address(whole)))


@pytest.fixture(params=[BpfSource, DiagSource])
def feed(request: pytest.FixtureRequest, bpf_possible: None) -> Iterator[Running]:
    running = Running(request.param(SETTINGS, Capture()), SETTINGS)
    running.until(lambda: bool(running.store.snapshot().now_ns))
    yield running
    running.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_table_is_that_of_ss(feed: Running, seed: int) -> None:
    require("ss")
    mix = SocketMix(seed)
    try:
        for _ in range(MIX_ROUNDS):
            mix.go()
            feed.until(lambda: by_table(feed, mix.ports) == by_ss(mix.ports))
    finally:
        mix.close()
    assert feed.store.snapshot().loss.missed == 0


CHILD = """
import os, socket, sys
link = socket.socket(fileno=int(sys.argv[1]))
kept = []
while data := socket.recv_fds(link, 64, 8):
    word, fds = data[0].decode(), data[1]
    kept += [socket.socket(fileno=fd) for fd in fds]
    if not word: break
    if word == "exec":
        for one in kept: os.set_inheritable(one.fileno(), True)
        os.execvp("sleep", ["sleep", "1000"])
    if word == "fork" and os.fork(): os._exit(0)
    if word == "close" and kept: kept.pop().close()
    if word == "name": open("/proc/self/comm", "w").write("name-%d" % (os.getpid() % 7))
    if word == "read":
        for one in kept:
            one.setblocking(False)
            try: one.recv(100)
            except OSError: pass
    link.send(b"x")
"""


class Heirs:
    """Processes that sockets are handed to, which fork, exec, rename themselves, close what they have and end."""

    def __init__(self, mix: SocketMix, seed: int) -> None:
        self._mix, self._chance = mix, random.Random(seed)
        self._links: list[socket.socket] = []
        self._started: list[subprocess.Popen[bytes]] = []

    def go(self) -> None:
        """One of them does something, and has done it."""
        if len(self._links) < 4:
            self._start()
        link = self._chance.choice(self._links)
        word = self._chance.choice(["give"] * 4 + ["read", "read", "close", "close", "name", "fork", "exec", "end"])
        given = [self._mix._one().fileno()] if word == "give" and self._mix._others else []
        socket.send_fds(link, [word.encode()], given)
        if word == "end":
            link.shutdown(socket.SHUT_WR)
        if word in {"exec", "end"} or not link.recv(1):
            self._links.remove(link)
            link.close()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-c", CHILD, str(theirs.fileno())]
            self._started.append(subprocess.Popen(command, pass_fds=[theirs.fileno()], process_group=0))
        self._links.append(ours)

    def close(self) -> None:
        for link in self._links:
            link.close()
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with those that it has forked
            process.wait()


def owners_by_ss(ports: set[int]) -> Owned:
    """Of the sockets whose ends and state are nobody else's."""
    told = subprocess.run(["ss", "-tanpH"], capture_output=True, check=True, encoding="utf-8", errors="replace").stdout
    found: Owned = {}
    twice: set[Ends] = set()
    for line in told.splitlines():
        state, _, _, local, remote, *users = line.split(maxsplit=5)
        ends = (_state(state), *_end(local), *_end(remote))
        if state == "UNCONN" or ports.isdisjoint({ends[2], ends[4]}):
            continue
        twice |= {ends} & found.keys()
        holders = re.findall(r'\("([^"]*)",pid=(\d+),fd=\d+\)', users[0] if users else "")
        found[ends] = frozenset((int(pid), name) for name, pid in holders)
    return {ends: holders for ends, holders in found.items() if holders and ends not in twice}


def owner_differences(feed: Running, ports: set[int]) -> list[tuple[Ends, object, object]]:
    """What ``ss -p`` has otherwise: whose a socket is, how many have it open, who these are."""
    facts, truth = feed.store.snapshot(), owners_by_ss(ports)
    shared: dict[int, set[tuple[int, str]]] = {}
    for one in facts.holders:
        shared.setdefault(int(one["id"]), set()).add((int(one["pid"]), one["comm"].decode()))
    different = []
    for row in facts.rows:
        holders = truth.get(_ends(row))
        owner = int(row["pid"]), row["comm"].decode()
        told = shared.get(int(row["id"]), {owner})
        if holders is not None and (owner not in holders or told != holders or row["holders"] != len(holders)):
            different.append((_ends(row), told, holders))
    return different


def test_owners_are_those_of_ss(feed: Running) -> None:
    require("ss")
    mix = SocketMix(4)
    heirs = Heirs(mix, 4)
    try:
        for _ in range(MIX_ROUNDS // 2):
            mix.go()
            for _ in range(12):
                heirs.go()
            feed.until(lambda: by_table(feed, mix.ports) == by_ss(mix.ports))
            feed.until(lambda: not owner_differences(feed, mix.ports))
    finally:
        heirs.close()
        mix.close()
