"""The paths of an MPTCP connection are one process's, whoever makes the kernel open them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.records import TRANSITION, Flag, Rows, State
from tcptop_tui.row_copy import concat
from tests.support.close_cases import own_namespace
from tests.support.sockets import port

pytestmark = pytest.mark.host

MPTCP = getattr(socket, "IPPROTO_MPTCP", 262)
FIRST, ANNOUNCED, SECOND = "10.66.0.1", "10.66.1.1", "10.66.2.1"
_SETUP = f"""
set -e
sysctl -qw net.mptcp.enabled=1
ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up
for address in {FIRST} {ANNOUNCED} {SECOND}; do ip addr add $address/24 dev d0; done
ip mptcp limits set subflow 8 add_addr_accepted 8
ip mptcp endpoint add {ANNOUNCED} dev d0 signal
"""


def socket_of_mptcp() -> socket.socket:
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
    except OSError:
        pytest.skip("no MPTCP in this kernel")


class Opened:
    """Connects to a port, as they come."""

    def __init__(self, tracer: Program, rport: int) -> None:
        self._tracer, self._rport = tracer, rport
        self._rows: Rows = np.zeros(0, TRANSITION)

    def until(self, count: int) -> Rows:
        """Dtype TRANSITION: so many, in their order."""
        self._wait(lambda: len(self._rows) >= count)
        return self._rows

    def _wait(self, happened: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 60
        while not happened():
            assert time.monotonic() < deadline_s, f"{len(self._rows)} connects"
            time.sleep(0.02)
            new = self._tracer.transitions.read("ts_ns")
            new = new[(new["newstate"] == State.SYN_SENT) & (new["rport"] == self._rport)]
            self._rows = concat(TRANSITION, self._rows, new)


def test_who_has_the_first_path_has_the_others(tracer: Program) -> None:
    """A worker of the kernel connects to an address that the peer announces; ``ip mptcp`` makes another path itself."""
    with own_namespace(), ExitStack() as stack:
        made = subprocess.run(["sh", "-c", _SETUP], check=False, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no paths can be made here: {made.stderr}")
        # not before: a socket has the limits of its beginning
        server, client = (stack.enter_context(socket_of_mptcp()) for _ in range(2))
        server.bind(("0.0.0.0", 0))  # noqa: S104  in a namespace of its own
        server.listen()
        client.connect((FIRST, port(server)))
        accepted = stack.enter_context(server.accept()[0])
        for one, other in ((client, accepted), (accepted, client)):  # until both know that the other speaks MPTCP
            one.sendall(b"x")
            assert other.recv(1) == b"x"
        opened = Opened(tracer, port(server))
        opened.until(2)
        subprocess.run(["ip", "mptcp", "endpoint", "add", SECOND, "dev", "d0", "subflow"], check=True)
        paths = opened.until(3)
    assert paths["pid"].tolist() == [os.getpid()] * 3
    assert len(np.unique(paths["comm"])) == len(np.unique(paths["start_ticks"])) == 1
    assert (paths["flags"] & Flag.OWNER_SURE).all()
