"""Connections that somebody else ends: a killed owner, a closed listener, a key or a namespace that is gone."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.close_reasons import CloseReason
from tcptop_tui.stream.batches import Table
from tests.support.close_cases import STATES, counted, made, until_quiet
from tests.support.ended_connections import (
    close_reason,
    contradictions,
    drain_and_close,
    ended_pair,
    reset_count,
    socket_error,
    until_both_ended,
)
from tests.support.running_source import Running
from tests.support.silent_link import Far
from tests.support.sockets import E, listening, port

pytestmark = pytest.mark.host

_MD5SIG = 14  # include/uapi/linux/tcp.h, with struct tcp_md5sig


@pytest.mark.usefixtures("namespace")
def test_a_killed_owner_in_every_state(source: Running, held: ExitStack) -> None:
    """With what it has not read a reset is sent, else a FIN or nothing more."""
    server, cases = held.enter_context(listening()), [(state, unread) for state in STATES for unread in (False, True)]
    pairs = [made(server, state, 20_000 + at, unread=unread) for at, (state, unread) in enumerate(cases)]
    ports = [(port(here), port(there)) for here, there in pairs]
    owner = subprocess.Popen(["sleep", "1000"], pass_fds=[here.fileno() for here, _ in pairs])
    for here, _ in pairs:
        here.close()
    before = counted("TCPAbortOnClose"), counted("OutRsts")
    owner.kill()
    owner.wait()
    drain_and_close(*(there for _, there in pairs))
    until_both_ended(source, ports)
    unread = [close_reason(ended_pair(source, given)[0]) for given, (_, some) in zip(ports, cases, strict=True) if some]
    assert unread == [CloseReason.RESET_SENT] * len(STATES)
    assert not contradictions(source, ports)
    counts = counted("TCPAbortOnClose") - before[0], counted("OutRsts") - before[1]
    assert counts == (len(STATES), len(STATES)) == (len(unread), reset_count(source, ports))


@pytest.mark.usefixtures("namespace")
def test_a_listener_closes_before_it_accepts(source: Running) -> None:
    """With data or without, closed by the peer or not: tcp_disconnect() in inet_csk_listen_stop()."""
    before, ports = counted("OutRsts"), []
    with listening() as server, ExitStack() as held:
        for data, shut in ((b"", False), (b"x", False), (b"", True), (b"x", True)):
            here = held.enter_context(socket.create_connection(server.getsockname()))
            here.send(data)
            if shut:
                here.shutdown(socket.SHUT_WR)
            ports.append((port(here), port(server)))
        until_quiet()
        server.close()
        until_both_ended(source, ports)
    ends = [ended_pair(source, given) for given in ports]
    assert {(close_reason(ours), close_reason(theirs)) for ours, theirs in ends} == {
        (CloseReason.RESET_RECEIVED, CloseReason.RESET_SENT)
    }
    assert counted("OutRsts") - before == len(ports)


def sign(sock: socket.socket, key: bytes) -> None:
    """With every address on the loopback; an empty key takes it away."""
    peer = struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton("127.0.0.1")).ljust(128, b"\0")
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _MD5SIG, peer + struct.pack("=BBHI80s", 0, 0, len(key), 0, key))
    except OSError as error:
        pytest.skip(f"no TCP_MD5SIG in this kernel: {error.strerror}")


@pytest.mark.usefixtures("namespace")
def test_a_peer_with_another_key_is_a_silent_one(source: Running, held: ExitStack) -> None:
    Path("/proc/sys/net/ipv4/tcp_retries2").write_text("1")
    server = held.enter_context(listening())
    sign(server, b"key")
    here = held.enter_context(socket.socket())
    sign(here, b"key")
    here.connect(server.getsockname())
    there = held.enter_context(server.accept()[0])
    before = counted("TCPAbortOnTimeout"), counted("OutRsts")
    sign(there, b"")
    for one in (here, there):
        one.send(b"x")
    ports = port(here), port(there)
    until_both_ended(source, [ports])
    assert [close_reason(one) for one in ended_pair(source, ports)] == [CloseReason.TIMED_OUT] * 2
    assert [socket_error(one) for one in (here, there)] == [errno.ETIMEDOUT] * 2
    assert (counted("TCPAbortOnTimeout") - before[0], counted("OutRsts") - before[1]) == (2, 0)


def test_a_namespace_is_removed_while_its_socket_is_open(source: Running, far: Far, held: ExitStack) -> None:
    """Only the socket keeps it then, and nobody can ask in it; that ends nothing."""
    server = far.server()
    here, there = (held.enter_context(one) for one in far.pair(server))
    server.close()
    ports = port(here), port(there)

    def open_ends() -> int:
        rows = source.store.snapshot().rows
        mine = np.isin(rows["lport"], ports) & np.isin(rows["rport"], ports)
        return int((mine & (rows["state"] == E)).sum())

    source.until(lambda: open_ends() == 2)
    subprocess.run(["ip", "netns", "del", far.name], check=True)
    tables = sum(isinstance(batch, Table) for batch in source.batches) + 20  # two comparisons at least
    source.until(lambda: sum(isinstance(batch, Table) for batch in source.batches) >= tables)
    assert open_ends() == 2
    here.send(b"x")
    assert there.recv(1) == b"x"
    there.close()
    assert here.recv(1) == b""
    here.close()

    def ends() -> dict[int, CloseReason]:
        rows = source.store.snapshot().ended_rows
        rows = rows[np.isin(rows["lport"], ports) & np.isin(rows["rport"], ports)]
        return {int(rows["lport"][at]): close_reason(rows[at : at + 1]) for at in range(len(rows))}

    source.until(lambda: len(ends()) == 2)
    assert ends() == {ports[0]: CloseReason.FIN_BY_PEER, ports[1]: CloseReason.FIN_BY_US}
