"""Subflows of MPTCP: connections that workers of the kernel close."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from tcptop_tui.close_reasons import CloseReason
from tests.support.close_cases import counted, destroy, dissolve, fill
from tests.support.ended_connections import (
    close_reason,
    contradictions,
    drain_and_close,
    ended_rows,
    reset_count,
    until_both_ended,
)
from tests.support.running_source import Running
from tests.support.silent_link import HERE, NOBODY, SECOND, THERE, Far
from tests.support.sockets import port, reset

pytestmark = pytest.mark.host

_MPTCP = 262
"""IPPROTO_MPTCP (include/uapi/linux/in.h)."""


@pytest.fixture
def mptcp() -> None:
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP):
        return
    pytest.skip("no MPTCP in this kernel")


def _close(here: socket.socket, _: socket.socket) -> None:
    here.close()


def _reset(here: socket.socket, _: socket.socket) -> None:
    reset(here)


def _dissolve(here: socket.socket, _: socket.socket) -> None:
    dissolve(here)


def _destroy(here: socket.socket, _: socket.socket) -> None:
    destroy(here)


def _with_unread(here: socket.socket, there: socket.socket) -> None:
    there.send(b"unread")
    here.recv(1, socket.MSG_PEEK)
    here.close()


def _full_reset(here: socket.socket, _: socket.socket) -> None:
    fill(here)
    reset(here)


def _late_data(here: socket.socket, there: socket.socket) -> None:
    here.close()
    with suppress(OSError):
        there.send(b"late")


def _both_at_once(here: socket.socket, there: socket.socket) -> None:
    here.shutdown(socket.SHUT_WR)
    there.shutdown(socket.SHUT_WR)


_WAYS: list[Callable[[socket.socket, socket.socket], None]] = [
    _close, _reset, _dissolve, _destroy, _with_unread, _full_reset, _late_data, _both_at_once,
]  # fmt: skip


@pytest.mark.usefixtures("mptcp", "namespace")
def test_subflows_of_mptcp(source: Running, held: ExitStack) -> None:
    """Workers of the kernel close them, and the two ends agree.

    Not with a close() behind data that nobody takes: the kernel may leave that connection open for a minute.
    """
    server = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP))
    server.bind(("127.0.0.1", 0))
    server.listen()
    before, ports = counted("OutRsts"), []
    for way in _WAYS:
        here = socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP)
        here.connect(server.getsockname())
        there = server.accept()[0]
        ports.append((port(here), port(there)))
        way(here, there)
        drain_and_close(there, here)
    until_both_ended(source, ports)

    def settled() -> bool:
        return not contradictions(source, ports) and reset_count(source, ports) == counted("OutRsts") - before

    with suppress(AssertionError):
        source.until(settled)  # the peer tells later
    assert not contradictions(source, ports)
    assert reset_count(source, ports) == counted("OutRsts") - before


@pytest.mark.usefixtures("mptcp")
def test_a_subflow_that_is_refused_at_its_last_acknowledgement(source: Running, far: Far, held: ExitStack) -> None:
    """Its connection is gone by then; the listener answers with a RST."""
    subprocess.run(["ip", "mptcp", "limits", "set", "subflow", "1"], check=True)
    far.ip("mptcp", "limits", "set", "subflow", "1")
    far.ip("mptcp", "endpoint", "add", SECOND, "subflow")
    lost(SECOND)  # the SYN-ACK
    server = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP))
    server.bind((HERE, 0))
    server.listen()
    client = held.enter_context(far.make(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP)))
    client.bind((THERE, 0))
    client.connect(server.getsockname())
    there = held.enter_context(server.accept()[0])
    client.send(b"x")
    there.recv(1)
    there.send(b"x")
    client.recv(1)
    until_counted("MPJoinSynRx")
    lost(THERE)  # the end
    there.close()
    before = counted("OutRsts")
    found(SECOND)

    def ends() -> list[CloseReason]:
        rows = ended_rows(source)
        rows = rows[(rows["lport"] == port(server)) & (rows["established_ns"] == 0)]
        return [close_reason(rows[at : at + 1]) for at in range(len(rows))]

    source.until(lambda: bool(ends()))
    assert ends() == [CloseReason.RESET_SENT]
    assert counted("OutRsts") > before  # and each later segment finds nobody


def lost(addr: str) -> None:
    """What goes to ``addr`` is for another station from here on."""
    _station(addr, "02:00:00:00:00:09")


def found(addr: str) -> None:
    _station(addr, _far_station())


def _station(addr: str, mac: str) -> None:
    subprocess.run(["ip", "neigh", "replace", addr, "lladdr", mac, "dev", "va", "nud", "permanent"], check=True)


def _far_station() -> str:
    """Of the address that nobody has."""
    told = subprocess.run(["ip", "neigh", "show", NOBODY], check=True, capture_output=True, text=True).stdout.split()
    return told[told.index("lladdr") + 1]


def until_counted(name: str) -> None:
    deadline_s = time.monotonic() + 10
    while not counted(name):
        if time.monotonic() > deadline_s:
            raise TimeoutError(name)
        time.sleep(0.01)
