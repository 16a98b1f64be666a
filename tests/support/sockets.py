"""TCP connections whose every move is known, because the test makes it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tcptop_tui.records import Rows, State

E, SS, SR = State.ESTABLISHED, State.SYN_SENT, State.SYN_RECV
F1, F2, C, CW = State.FIN_WAIT1, State.FIN_WAIT2, State.CLOSE, State.CLOSE_WAIT
LA, LI, CG = State.LAST_ACK, State.LISTEN, State.CLOSING

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@contextmanager
def listening(family: int = socket.AF_INET, backlog: int = 128) -> Iterator[socket.socket]:
    """A listener on a free port of the loopback."""
    with socket.socket(family) as server:
        server.bind((LOOPBACK[socket.AddressFamily(family)], 0))
        server.listen(backlog)
        yield server


def pair(server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A client connected to ``server``, and its accepted end."""
    client = socket.socket(server.family)
    client.connect(server.getsockname())
    accepted, _ = server.accept()
    return client, accepted


def port(sock: socket.socket) -> int:
    """The local port."""
    return int(sock.getsockname()[1])


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN (SO_LINGER with a timeout of 0)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def until_closed(sock: socket.socket) -> None:
    """Block until the peer's FIN or RST has arrived."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass


def until_state(sock: socket.socket, state: State) -> None:
    """Wait for a state that no system call reports the arrival of (tcpi_state of TCP_INFO)."""
    deadline_s = time.monotonic() + 10
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != state:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no {state.name}")
        time.sleep(0.002)


def involving(rows: Rows, *ports: int) -> Rows:
    """Transitions with one of ``ports`` at either end."""
    return rows[np.isin(rows["lport"], ports) | np.isin(rows["rport"], ports)]


def path(rows: Rows, lport: int, rport: int | None = None) -> list[tuple[State, State]]:
    """(old, new) of the transitions with this local (and remote) port, in their order."""
    own = rows[rows["lport"] == lport]
    if rport is not None:
        own = own[own["rport"] == rport]
    return [(State(int(old)), State(int(new))) for old, new in zip(own["oldstate"], own["newstate"], strict=True)]
