"""What ``trace connect`` says of each way to fail, beside the errno that the socket got."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.fields.connect_results import result_codes, result_text
from tcptop_tui.model.connect_attempts import connect_outcomes
from tcptop_tui.stream.batches import Capture
from tests.support.close_cases import dissolve
from tests.support.own_network import MSG_FASTOPEN, run_in_own_network
from tests.support.sockets import LI, SS, C, listening, path, port, until_state
from tests.support.tracer import SMALL

pytestmark = [pytest.mark.host, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]
WITH_CONNECTS = Capture(connects=True)

Attempt = Callable[[socket.socket, tuple[str, int]], object]
Seen = list[tuple[str, int]]
"""Result in words and errno, in order."""


@pytest.fixture(scope="module")
def watching(bpf_possible: None) -> Iterator[Program]:
    program = Program(SMALL, WITH_CONNECTS)
    program.attach(WITH_CONNECTS)
    yield program
    program.close()


def seen(watching: Program, rport: int) -> Seen:
    rows = connect_outcomes(watching.transitions.read("ts_ns"))
    rows = rows[rows["rport"] == rport]
    return [
        (result_text(int(code), int(row["err"])), int(row["err"]))
        for code, row in zip(result_codes(rows), rows, strict=True)
    ]


@contextmanager
def only(watching: Program, **ports: frozenset[int]) -> Iterator[None]:
    """Look at these alone for a while: what takes a second is not pushed out of the ring by others."""
    watching.set_capture(replace(WITH_CONNECTS, **ports))
    try:
        yield
    finally:
        watching.set_capture(WITH_CONNECTS)


def by_sendmsg(sock: socket.socket, to: tuple[str, int]) -> object:
    return sock.sendmsg([b"x"], [], MSG_FASTOPEN, to)


def by_non_blocking(sock: socket.socket, to: tuple[str, int]) -> object:
    sock.setblocking(False)
    return sock.connect(to)


WAYS: dict[str, Attempt] = {
    "connect": lambda sock, to: sock.connect(to),
    "non-blocking": by_non_blocking,
    "sendto": lambda sock, to: sock.sendto(b"x", MSG_FASTOPEN, to),
    "sendmsg": by_sendmsg,
}
ROUTES = {
    "prohibit": ("permission denied", errno.EACCES),
    "unreachable": ("unreachable", errno.EHOSTUNREACH),
    "throw": ("unreachable", errno.ENETUNREACH),
    "blackhole": ("invalid argument", errno.EINVAL),
}


@pytest.mark.parametrize("way", [*WAYS, "inline", "worker", "sqpoll"])
def test_no_route(watching: Program, way: str) -> None:
    """No SYN leaves, no state changes, and there is one line for each attempt all the same."""

    def body(_diag: object) -> None:
        for number, (route, expected) in enumerate(ROUTES.items(), 1):
            subprocess.run(["ip", "route", "add", route, f"10.7.{number}.0/24"], check=True)
            to = (f"10.7.{number}.1", 20_000 + number)
            assert attempted(way, to) == expected[1]
            assert seen(watching, to[1]) == [expected]

    run_in_own_network(body)


def attempted(way: str, to: tuple[str, int]) -> int:
    """The errno that the process got."""
    if way not in WAYS:
        told = subprocess.run(
            [sys.executable, "tests/support/io_uring.py", way, to[0], str(to[1])],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode:
            pytest.skip(f"no io_uring: {told.stderr.splitlines()[-1]}")
        return -int(told.stdout)
    with socket.socket() as sock:
        try:
            WAYS[way](sock, to)
        except OSError as error:
            return error.errno or 0
    return 0


@pytest.mark.parametrize("way", ["connect", "non-blocking", "sendto", "inline", "worker", "sqpoll"])
def test_what_has_sent_a_syn_has_one_line(watching: Program, way: str) -> None:
    def body(_diag: object) -> None:
        with listening() as server:
            free = port(server)
        got = attempted(way, ("127.0.0.1", free))
        # io_uring and connect() wait for the answer; the others are told with the next call
        assert got in {errno.ECONNREFUSED, errno.EINPROGRESS}
        assert seen(watching, free) == [("refused", errno.ECONNREFUSED)]

    run_in_own_network(body)


def test_an_error_that_is_told_later_is_no_second_attempt(watching: Program) -> None:
    """A non-blocking connect() and the next one on the same socket: the second one only tells how the first ended."""

    def body(_diag: object) -> None:
        with listening() as server:
            free = port(server)
        with socket.socket() as sock:
            sock.setblocking(False)
            assert sock.connect_ex(("127.0.0.1", free)) in {errno.EINPROGRESS, errno.ECONNREFUSED}
            sock.connect_ex(("127.0.0.1", free))
        expected = ("refused", errno.ECONNREFUSED)
        assert seen(watching, free) in ([expected], [expected, expected])

    run_in_own_network(body)


def test_a_socket_that_was_connected_and_fails_early_later(watching: Program) -> None:
    """connect(AF_UNSPEC) dissolves a connection; the same socket's next attempt finds no route."""

    def body(_diag: object) -> None:
        subprocess.run(["ip", "route", "add", "prohibit", "10.7.1.0/24"], check=True)
        with listening() as server, socket.socket() as sock:
            sock.connect(server.getsockname())
            dissolve(sock)
            with suppress(OSError):
                sock.connect(("10.7.1.1", 20_001))
        assert seen(watching, 20_001) == [("permission denied", errno.EACCES)]

    run_in_own_network(body)


def silent_server() -> tuple[socket.socket, socket.socket]:
    """Its accept queue is full: nobody answers a SYN."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    return server, socket.create_connection(server.getsockname())


def test_no_neighbour(watching: Program) -> None:
    """A SYN for which there is no link-layer address: the kernel's own ICMP says so, later."""

    def body(_diag: object) -> None:
        for command in (
            "ip link add v0 type veth peer name v1", "ip addr add 10.9.0.1/24 dev v0", "ip link set v0 up",
            "ip link set v1 up", "sysctl -qw net.ipv4.neigh.v0.mcast_solicit=1",
            "sysctl -qw net.ipv4.neigh.v0.retrans_time_ms=100",
        ):  # fmt: skip
            subprocess.run(command.split(), check=True)
        assert attempted("connect", ("10.9.0.2", 20_001)) == errno.EHOSTUNREACH
        assert seen(watching, 20_001) == [("unreachable", errno.EHOSTUNREACH)]

    run_in_own_network(body)


def test_a_signal_does_not_end_an_attempt_and_close_does(watching: Program) -> None:
    """EINTR leaves the socket in SYN_SENT; so does EINPROGRESS. What comes of it is one line."""

    def body(_diag: object) -> None:
        server, filler = silent_server()
        with server, filler, socket.socket() as sock:
            sock.settimeout(0.05)  # select() waits, not connect(): the kernel's part is the same
            with pytest.raises(TimeoutError):
                sock.connect(server.getsockname())
            assert seen(watching, port(server)) == [("connected", 0)]  # the filler
            sock.close()
            assert seen(watching, port(server)) == [("given up", 0)]

    run_in_own_network(body)


def test_the_descriptor_is_another_sockets_when_connect_returns(watching: Program) -> None:
    """A second thread closes it while connect() waits, and the number is given again (falcosecurity/libs#3079)."""

    def body(_diag: object) -> None:
        server, filler = silent_server()
        there, told = server.getsockname(), []
        with only(watching, rports=frozenset({there[1]})), socket.socket() as sock, filler:
            waits = threading.Thread(target=lambda: told.append(sock.connect_ex(there)))
            waits.start()
            until_state(sock, SS)
            with socket.socket() as other:
                os.dup2(other.fileno(), sock.fileno())
            server.close()  # the next SYN is refused
            waits.join()
            assert told == [errno.ECONNREFUSED]
            assert seen(watching, there[1])[-2:] == [("connected", 0), ("refused", errno.ECONNREFUSED)]

    run_in_own_network(body)


def test_a_listener_that_somebody_else_closes_is_no_attempt(watching: Program) -> None:
    """SOCK_DESTROY announces CLOSE twice: LISTEN -> CLOSE -> CLOSE."""

    def body(_diag: object) -> None:
        with socket.socket() as server, only(watching, lports=frozenset({20_002})):
            server.bind(("127.0.0.1", 20_002))
            server.listen()
            subprocess.run(["ss", "-K", "state", "listening", "sport", "=", ":20002"], check=True)
            rows = watching.transitions.read("ts_ns")
        assert path(rows, 20_002)[-2:] == [(LI, C), (C, C)]
        assert not len(connect_outcomes(rows))

    run_in_own_network(body)


def test_an_attempt_that_succeeds_later(watching: Program) -> None:
    def body(_diag: object) -> None:
        server, filler = silent_server()
        with server, filler, socket.socket() as sock:
            sock.setblocking(False)
            assert sock.connect_ex(server.getsockname()) == errno.EINPROGRESS
            server.accept()[0].close()
            sock.setblocking(True)
            assert sock.send(b"x") == 1  # waits for the second SYN's answer
            assert seen(watching, port(server)) == [("connected", 0), ("connected", 0)]

    run_in_own_network(body)
