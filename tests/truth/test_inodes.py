"""Sockets that addresses and ports do not tell apart: each has one row, with what is its own, and none is missed."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.records import Rows, State
from tcptop_tui.stream.batches import Capture
from tests.support.running_source import Running
from tests.support.sockets import listening, pair, path, port, until_closed
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

SO_COOKIE = 57
"""include/uapi/asm-generic/socket.h"""

CONNECT = """
import socket, sys
client = socket.socket()
client.setblocking(False)
client.connect_ex(("127.0.0.1", int(sys.argv[1])))
print(client.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def feed(bpf_possible: None) -> Iterator[Running]:
    settings = replace(SMALL, refresh_s=0.1, reconcile_s=0.1)
    running = Running(BpfSource(settings, Capture()), settings)
    running.until(lambda: bool(running.store.snapshot().now_ns))
    yield running
    running.close()


@pytest.fixture
def full() -> Iterator[socket.socket]:
    """A listener without room: nobody answers, until the first SYN is sent again a second later."""
    with listening(backlog=0) as server, socket.create_connection(server.getsockname()):
        yield server


def waiting(server: socket.socket) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    assert client.connect_ex(server.getsockname()) == errno.EINPROGRESS
    return client


def in_the_table(feed: Running, server: socket.socket) -> Rows:
    rows = feed.store.snapshot().rows
    return rows[(rows["rport"] == port(server)) & (rows["state"] == State.SYN_SENT)]


def who_has_which(feed: Running, server: socket.socket) -> list[tuple[int, int]]:
    rows = in_the_table(feed, server)
    return sorted(zip(rows["lport"].tolist(), rows["pid"].tolist(), strict=True))


def surveyed(feed: Running) -> None:
    """Wait for a survey that begins from now on: nothing else knows of TIME_WAIT."""
    with listening() as server:
        client, accepted = pair(server)
        ends = port(client), port(server)
        client.close()
        until_closed(accepted)
        accepted.close()
    feed.until(lambda: State.TIME_WAIT in feed.rows(*ends)["state"])


def nothing_lost(feed: Running) -> bool:
    surveyed(feed)  # this one doubts
    surveyed(feed)  # this one counts
    loss = feed.store.snapshot().loss
    return (loss.lost, loss.missed, loss.mended) == (0, 0, 0)


def test_each_has_one_row_with_its_port_and_is_not_missed(feed: Running, full: socket.socket) -> None:
    clients = [waiting(full) for _ in range(5)]
    expected = sorted((port(client), os.getpid()) for client in clients)

    def retransmitted() -> bool:
        rows = in_the_table(feed, full)
        assert len(rows) <= len(clients)
        return len(rows) == len(clients) and bool(rows["retrans"].all())

    feed.until(lambda: who_has_which(feed, full) == expected)
    assert not retransmitted()  # it was sock_diag that told
    feed.until(retransmitted)
    assert nothing_lost(feed)
    for client in clients:
        client.close()


def test_of_two_processes_each_has_its_own_ports(feed: Running, full: socket.socket) -> None:
    first = waiting(full)
    with subprocess.Popen(
        [sys.executable, "-c", CONNECT, str(port(full))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        others_port = int(other.stdout.readline())
        second = waiting(full)
        expected = sorted([(port(first), os.getpid()), (others_port, other.pid), (port(second), os.getpid())])
        feed.until(lambda: len(told := who_has_which(feed, full)) == len(expected) and all(told[0]))
        assert who_has_which(feed, full) == expected
        other.stdin.close()
    first.close()
    second.close()


def test_a_listener_without_bind_has_the_port_that_it_was_given(feed: Running) -> None:
    with socket.socket() as listener:
        listener.listen()
        chosen = port(listener)
        feed.until(lambda: len(feed.rows(chosen)) == 1)
        assert feed.rows(chosen)["pid"].tolist() == [os.getpid()]
        assert nothing_lost(feed)
        assert not len(feed.rows(0))
    feed.until(lambda: (State.LISTEN, State.CLOSE) in path(feed.store.snapshot().log, chosen))


def test_a_socket_that_tries_again_is_not_told_by_its_old_port(feed: Running, full: socket.socket) -> None:
    with listening() as nobody:
        refuses = nobody.getsockname()
    with socket.socket() as client:
        assert client.connect_ex(refuses) == errno.ECONNREFUSED
        client.setblocking(False)
        assert client.connect_ex(full.getsockname()) == errno.EINPROGRESS
        feed.until(lambda: who_has_which(feed, full) == [(port(client), os.getpid())])
        assert nothing_lost(feed)


def sharing(address: tuple[str, int]) -> socket.socket:
    """A listener on an address that others may have, too."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    listener.listen()
    return listener


def test_of_listeners_that_share_an_address_each_has_its_own_queue(bpf_possible: None) -> None:
    """One is from before the start, one from before the first dump, one from after it."""
    settings = replace(SMALL, refresh_s=0.1, reconcile_s=0.1)
    listeners = [sharing(("127.0.0.1", 0))]
    address = listeners[0].getsockname()
    feed = Running(BpfSource(settings, Capture()), settings, lambda: listeners.append(sharing(address)))
    try:
        feed.until(lambda: len(feed.rows(address[1])) == 2)
        listeners.append(sharing(address))
        clients = [socket.create_connection(address) for _ in range(20)]
        waiting_there = sorted(accept_queue(listener) for listener in listeners)

        def told() -> list[int]:
            rows = feed.rows(address[1], 0)
            return sorted(rows["accept_queue"].tolist())

        feed.until(lambda: told() == waiting_there)
        # what F9 goes by
        assert sorted(feed.rows(address[1], 0)["cookie"].tolist()) == sorted(map(cookie, listeners))
        listeners.pop(1).close()
        listeners.pop(1).close()
        feed.until(lambda: told() == [accept_queue(listeners[0])])
        assert nothing_lost(feed)
        assert told() == [accept_queue(listeners[0])]
        for one in (*clients, *listeners):
            one.close()
    finally:
        feed.close()


def accept_queue(listener: socket.socket) -> int:
    """``tcpi_unacked`` of a listener (``tcp_get_info``, net/ipv4/tcp.c)."""
    return int.from_bytes(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)[24:28], sys.byteorder)


def cookie(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
