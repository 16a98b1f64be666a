"""accept() itself tells who accepts, where the kernel can run a program at one of its functions.

No survey runs here: what a row says is the kernel side's alone.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.records import Flag, Rows
from tcptop_tui.stream.batches import Capture
from tests.support.samples import entries_of
from tests.support.scripted_process import ScriptedProcess, scripted_process
from tests.support.sockets import CW, port
from tests.support.tracer import SMALL, require_bpf

pytestmark = pytest.mark.host

NOBODY = 65534
OWN = replace(SMALL, max_connections=2049)
"""A size that no other test has: in an emulated machine theirs are used again, and before 5.13 a program that was
detached from a function cannot be attached again (``vm/compiled_once.py``)."""
MPTCP = getattr(socket, "IPPROTO_MPTCP", 262)

PREFORK = f"""
server = socket.socket(family, socket.SOCK_STREAM, protocol)
server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)); server.listen()
workers = []
for number in range(2):
    workers.append(os.fork())
    if not workers[-1]:
        rename(f"worker-{{number}}"); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        accepted = server.accept()[0]; say(os.getpid(), os.fstat(accepted.fileno()).st_uid)
        signal.pause()
say(server.getsockname()[1], *workers); wait()
"""
"""Both workers wait in accept(); who gets a connection neither reads nor writes. The user of its inode is its user."""


def prefork(
    family: int = socket.AF_INET, protocol: int = socket.IPPROTO_TCP
) -> AbstractContextManager[ScriptedProcess]:
    return scripted_process(f"family, protocol = {int(family)}, {int(protocol)}\n{PREFORK}")


def until_asleep(pid: int) -> None:
    """In accept(): the worker does nothing else that it could be interrupted in."""
    for _ in range(1000):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S":
            return
        time.sleep(0.01)
    raise TimeoutError("it does not sleep")


@pytest.fixture(scope="module")
def idle(bpf_possible: None) -> Iterator[tuple[ScriptedProcess, int]]:
    """A server whose workers sleep in accept() since before there was a tracer; and its port."""
    with prefork() as master:
        there, *workers = master.numbers()
        for worker in workers:
            until_asleep(worker)
        yield master, there


@pytest.fixture(scope="module")
def seeing(idle: tuple[ScriptedProcess, int]) -> Iterator[Program]:
    program = require_bpf(OWN)
    program.attach(Capture())
    try:
        if not program.sees_accepts:
            pytest.skip("this kernel has no hook for accept()")
        yield program
    finally:
        program.close()


def protocol_there(protocol: int) -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol).close()
    except OSError:
        return False
    return True


def row(tracer: Program, lport: int, rport: int) -> Rows:
    rows = entries_of(tracer)[1]
    (found,) = rows[(rows["lport"] == lport) & (rows["rport"] == rport)]
    return found


def half_closed(tracer: Program, lport: int) -> Rows:
    """The transition to CLOSE_WAIT."""
    for _ in range(1000):
        moved = tracer.transitions.read()
        (found,) = np.nonzero((moved["lport"] == lport) & (moved["newstate"] == CW))
        if len(found):
            return moved[found[0]]
        time.sleep(0.01)
    raise TimeoutError("no CLOSE_WAIT")


def check(tracer: Program, master: ScriptedProcess, address: tuple[str, int]) -> None:
    """Connect to both workers, one after the other."""
    for _ in range(2):
        with socket.create_connection(address) as client:
            worker, user = master.numbers()
            found = row(tracer, address[1], port(client))
            name = Path(f"/proc/{worker}/comm").read_text().strip()
            assert (int(found["pid"]), found["comm"].decode()) == (worker, name)
            assert found["flags"] & Flag.OWNER_SURE
            assert int(found["uid"]) == user == NOBODY
        assert int(half_closed(tracer, address[1])["pid"]) == worker
        os.kill(worker, signal.SIGKILL)


def test_a_worker_that_slept_in_accept_when_the_tracer_came(seeing: Program, idle: tuple[ScriptedProcess, int]) -> None:
    master, there = idle
    check(seeing, master, ("127.0.0.1", there))


# MPTCP: Go's listeners are since 1.24, and who connects with TCP gets TCP
@pytest.mark.parametrize(
    ("family", "protocol"),
    [(socket.AF_INET, socket.IPPROTO_TCP), (socket.AF_INET6, socket.IPPROTO_TCP), (socket.AF_INET, MPTCP)],
    ids=["IPv4", "IPv6", "MPTCP"],
)
def test_the_worker_that_accepts_is_the_owner_at_once(seeing: Program, family: int, protocol: int) -> None:
    if not protocol_there(protocol):
        pytest.skip("no MPTCP in this kernel")
    with prefork(family, protocol) as master:
        there, *_ = master.numbers()
        check(seeing, master, ("::1" if family == socket.AF_INET6 else "127.0.0.1", there))
