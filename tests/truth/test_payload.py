"""``tx_bytes`` is the payload that has left: in every state of a socket, in both sources, as the sockets say."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.records import Rows, State, SynSent
from tcptop_tui.stream.batches import Capture
from tests.support.own_network import MSG_FASTOPEN, run_in_own_network
from tests.support.running_source import Running
from tests.support.samples import entries_of
from tests.support.sockets import CW, F1, F2, E, listening, pair, port, reset, until_closed, until_state
from tests.support.tracer import SMALL, require_bpf

pytestmark = [pytest.mark.host, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]

SETTINGS = dataclasses.replace(SMALL, refresh_s=0.1, reconcile_s=0.3)
TCP_FASTOPEN, TCP_FASTOPEN_CONNECT = 23, 30
SIOCOUTQNSD = 0x894B
"""Bytes that were written and have not been sent (include/uapi/linux/sockios.h)."""


@pytest.fixture
def tracer(bpf_possible: None) -> Iterator[Program]:
    """With room for the ends of all that the host does until a test asks for its own."""
    program = require_bpf(dataclasses.replace(SMALL, session_ring_bytes=2**25))
    program.attach(Capture())
    yield program
    program.close()


def lo_refuses() -> None:
    """Whatever is sent from now on is refused inside this host (``NET_XMIT_DROP``), acknowledgements too."""
    subprocess.run(["tc", "qdisc", "replace", "dev", "lo", "root", "bfifo", "limit", "1"], check=True)


def lo_works() -> None:
    subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)


def unsent(sock: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock, SIOCOUTQNSD, bytes(4)))[0])


def info(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)


def until(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not happened():
        if time.monotonic() > deadline_s:
            raise TimeoutError
        time.sleep(0.005)


def tried(sock: socket.socket) -> int:
    """What ``bytes_sent`` - ``bytes_retrans`` would say."""
    sent, again = struct.unpack_from("<QQ", info(sock), 200)
    return int(sent) - int(again)


def told(diag: SockDiag, lport: int, rport: int) -> int:
    """``tx_bytes`` by sock_diag."""
    rows = diag.dump().rows
    (row,) = rows[(rows["lport"] == lport) & (rows["rport"] == rport)]
    return int(row["tx_bytes"])


def in_map(tracer: Program, lport: int, rport: int) -> int:
    """``tx_bytes`` of the kernel program's entry, as of the last thing that happened."""
    _, conns = entries_of(tracer)
    (conn,) = conns[(conns["lport"] == lport) & (conns["rport"] == rport)]
    return int(conn["tx_bytes"])


def at_end(tracer: Program, *ends: tuple[int, int]) -> list[int]:
    """``tx_bytes`` of the sessions with these ports, local and remote one, once all have ended."""
    found: dict[tuple[int, int], list[int]] = {one: [] for one in ends}

    def ended() -> bool:  # a socket is taken out of the tables before its CLOSE is announced
        for one in tracer.ended.read():
            found.get((int(one["lport"]), int(one["rport"])), []).append(int(one["tx_bytes"]))
        return all(found.values())

    try:
        until(ended)
    except TimeoutError as error:
        raise TimeoutError(f"{found}, counters {tracer.counters.read().tolist()}") from error
    return [tx_bytes for one in ends for tx_bytes in found[one]]


def ports(sock: socket.socket) -> tuple[int, int]:
    return port(sock), int(sock.getpeername()[1])


def test_fresh_and_half_closed_and_closed(tracer: Program) -> None:
    """Either end, with and without data, at each step of a close: our FIN is no payload, nor is the SYN."""

    def body(diag: SockDiag) -> None:
        for sent, answered in ((0, 0), (1, 0), (0, 1), (5, 3)):
            with listening() as server:
                client, accepted = pair(server)
                near, far = ports(client), ports(accepted)
                assert (told(diag, *near), told(diag, *far)) == (0, 0)
                client.sendall(bytes(sent))
                accepted.sendall(bytes(answered))
                client.shutdown(socket.SHUT_WR)
                until_state(accepted, CW)
                until_state(client, F2)
                assert (told(diag, *near), told(diag, *far)) == (sent, answered)
                assert in_map(tracer, *near) == sent
                until_closed(accepted)
                accepted.close()
                until_closed(client)
                client.close()
                assert at_end(tracer, near, far) == [sent, answered]

    run_in_own_network(body)


@pytest.mark.parametrize("opened", ["connect", "accept"])
@pytest.mark.parametrize("in_flight", [0, 7])
def test_what_is_refused_inside_this_host_counts_once(tracer: Program, opened: str, in_flight: int) -> None:
    """Each try adds to ``bytes_sent`` and none is a retransmission, until it gets out."""

    def body(diag: SockDiag) -> None:
        with listening() as server:
            client, accepted = pair(server)
            one, other = (client, accepted) if opened == "connect" else (accepted, client)
            here = ports(one)
            one.sendall(bytes(10))
            other.recv(10)
            until(lambda: not struct.unpack_from("<I", info(one), 24)[0])
            lo_refuses()
            if in_flight:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.sendall(bytes(50))
            one.sendall(bytes(50))
            until(lambda: tried(one) > 110)
            assert told(diag, *here) == 110 - unsent(one)
            lo_works()
            until(lambda: not struct.unpack_from("<I", info(one), 24)[0] and not unsent(one))
            assert tried(one) > 110
            assert told(diag, *here) == 110
            assert in_map(tracer, *here) == 110
            one.close()
            until_state(other, CW)
            other.recv(1000)
            other.close()
            assert at_end(tracer, here) == [110]

    run_in_own_network(body)


def test_data_in_a_syn_counts_and_the_syn_does_not(tracer: Program) -> None:
    """TCP Fast Open: first without a cookie, then with data in the SYN, then into a queue that is full."""

    def body(diag: SockDiag) -> None:
        with listening(backlog=1) as server, ExitStack() as stack:
            server.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 5)
            for count in (10, 20):
                client = stack.enter_context(socket.socket())
                assert client.sendto(bytes(count), MSG_FASTOPEN, server.getsockname()) == count
                accepted = stack.enter_context(server.accept()[0])
                assert len(accepted.recv(100)) == count
                accepted.sendall(bytes(3))
                client.recv(3)
                assert (told(diag, *ports(client)), told(diag, *ports(accepted))) == (count, 3)
                assert in_map(tracer, *ports(client)) == count
            fillers = [stack.enter_context(socket.socket()) for _ in range(2)]
            for filler in fillers:
                filler.connect(server.getsockname())
            late = stack.enter_context(socket.socket())
            late.setblocking(False)
            late.sendto(bytes(30), MSG_FASTOPEN, server.getsockname())
            row = found(diag, port(late))
            # what the SYN carries has left; the rest waits for the answer
            assert (row["state"], row["syn_sent"], row["tx_bytes"]) == (State.SYN_SENT, SynSent.OUT, 30 - unsent(late))

    run_in_own_network(body)


def found(diag: SockDiag, lport: int) -> Rows:
    rows = diag.dump().rows
    (row,) = rows[(rows["lport"] == lport) & (rows["rport"] != 0)]
    return row


def test_a_deferred_connect_has_sent_no_syn(tracer: Program) -> None:
    """TCP_FASTOPEN_CONNECT: connect() returns in SYN_SENT and the SYN goes with the first write."""

    def body(diag: SockDiag) -> None:
        with listening() as server, ExitStack() as stack:
            server.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 5)
            first = stack.enter_context(socket.socket())
            first.sendto(b"cookie", MSG_FASTOPEN, server.getsockname())
            stack.enter_context(server.accept()[0])
            late = stack.enter_context(socket.socket())
            late.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            late.connect(server.getsockname())
            row = found(diag, port(late))
            assert (row["state"], row["syn_sent"], row["tx_bytes"]) == (State.SYN_SENT, SynSent.NONE, 0)
            late.sendall(bytes(9))
            accepted = stack.enter_context(server.accept()[0])
            assert len(accepted.recv(100)) == 9
            until_state(late, E)  # the data came with the SYN, before the answer was back
            row = found(diag, port(late))
            assert (row["state"], row["tx_bytes"]) == (E, 9)
            assert in_map(tracer, *ports(late)) == 9
            late.close()
            until_closed(accepted)
            accepted.close()
            assert at_end(tracer, (int(row["lport"]), int(row["rport"]))) == [9]

    run_in_own_network(body)


@pytest.mark.parametrize("how", ["close", "reset", "read"])
def test_a_window_that_is_shut(tracer: Program, how: str) -> None:
    """What does not fit into the window is not sent; nor is the FIN behind it; a probe carries nothing."""

    def body(diag: SockDiag) -> None:
        with listening() as server:
            client, accepted = pair(server)
            here = ports(client)
            client.setblocking(False)
            written = 0
            with suppress(BlockingIOError):
                while True:
                    written += client.send(bytes(65536))
            until(lambda: info(client)[3] > 0)  # tcpi_probes
            assert unsent(client) > 0
            assert told(diag, *here) == written - unsent(client)
            sent = told(diag, *here)
            if how == "reset":
                reset(client)
            elif how == "close":
                client.close()
                row = found(diag, here[0])
                assert (row["state"], row["tx_bytes"]) == (F1, sent)
                reset(accepted)  # nobody reads the rest
            else:
                client.setblocking(True)
                client.shutdown(socket.SHUT_WR)
                sent = written
                received = 0
                while more := accepted.recv(1 << 20):
                    received += len(more)
                assert received == written
                until_state(client, F2)
                assert told(diag, *here) == written
                client.close()
                accepted.close()
            until(lambda: not any(found_rows(diag, here[0])))
            assert at_end(tracer, here) == [sent]
            accepted.close()

    run_in_own_network(body)


def found_rows(diag: SockDiag, lport: int) -> list[int]:
    rows = diag.dump().rows
    return [int(state) for state in rows["state"][rows["lport"] == lport] if state != State.TIME_WAIT]


@pytest.mark.parametrize("kind", [BpfSource, DiagSource])
@pytest.mark.parametrize("opened", ["connect", "accept"])
def test_the_table_counts_what_is_refused_once(
    tracer: Program, kind: type[BpfSource | DiagSource], opened: str
) -> None:
    """The map, sock_diag and their join: one number, while nothing gets out and when it has."""

    def body(_diag: SockDiag) -> None:
        running = Running(kind(SETTINGS, Capture()), SETTINGS)
        try:
            running.until(lambda: running.store.snapshot().has_table)
            with listening() as server:
                client, accepted = pair(server)
                one, other = (client, accepted) if opened == "connect" else (accepted, client)
                here = ports(one)
                one.sendall(bytes(10))
                other.recv(10)
                running.until(lambda: running.rows(*here)["tx_bytes"].tolist() == [10])
                lo_refuses()
                one.sendall(bytes(50))
                until(lambda: tried(one) > 60)
                assert unsent(one) == 50
                until_next_survey(running)
                assert running.rows(*here)["tx_bytes"].tolist() == [10]
                lo_works()
                running.until(lambda: running.rows(*here)["tx_bytes"].tolist() == [60])
                until_next_survey(running)
                assert running.rows(*here)["tx_bytes"].tolist() == [60]
                reset(client)
                accepted.close()
        finally:
            running.close()

    run_in_own_network(body)


def until_next_survey(running: Running) -> None:
    """A dump that was begun after this call is in the table."""
    begun_ns = running.store.snapshot().now_ns
    running.until(lambda: running.store.snapshot().now_ns > begun_ns + 1_000_000_000)
