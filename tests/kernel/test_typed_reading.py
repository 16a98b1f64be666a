"""Both ways to read a socket, with the types of its tracepoint's arguments and without, tell the same."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf import program
from tcptop_tui.bpf.load.btf import KernelTypes
from tcptop_tui.bpf.load.headers import kernel_header
from tcptop_tui.bpf.program import Program
from tcptop_tui.host.socket_owners import proc_holders, start_of
from tcptop_tui.records import RTT_SLOTS, Rows
from tcptop_tui.stream.batches import Capture
from tests.support.samples import entries_of
from tests.support.sockets import listening, pair, port, until_closed
from tests.support.tracer import SMALL, require_bpf

pytestmark = pytest.mark.host

_ENDS = ("lport", "rport", "laddr", "raddr", "dev", "netns", "uid", "cgroup")
_READ = (*_ENDS, "cookie", "tx_bytes", "rx_bytes", "retrans", "close_flags", "pid", "start_ticks", "comm", "holders")


@pytest.fixture
def both(tracer: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Program, Program]]:
    """Two tracers of the same events; the second one asks a helper for each member."""
    monkeypatch.setattr(program, "_READ_TRACEPOINTS", ())
    asking = require_bpf(dataclasses.replace(SMALL, ring_bytes=2**19))
    asking.attach(Capture())
    yield tracer, asking
    asking.close()


def test_the_dear_way_is_not_gone_without_need(tracer: Program) -> None:
    """Every kernel that this was tested on knows the types: a program that the verifier refuses is a mistake."""
    assert tracer._compiled.typed == {*program._READ_TRACEPOINTS, *program._FUNCTIONS, *program._ITERATORS}
    assert tracer.read_holders is not proc_holders


def test_nor_when_every_connect_is_asked_for(bpf_possible: None) -> None:
    tracer = Program(SMALL, Capture(connects=True))
    typed, holders = tracer._compiled.typed, tracer.read_holders
    tracer.close()
    assert typed == {*program._READ_TRACEPOINTS, *program._FUNCTIONS, *program._ITERATORS}
    assert holders is not proc_holders


def test_the_current_task_has_a_type_where_the_kernel_tells_it() -> None:
    types = KernelTypes()
    told = "#define HAVE_TYPED_TASK 1\n" in kernel_header(types)
    types.close()
    assert told == (" bpf_get_current_task_btf\n" in Path("/proc/kallsyms").read_text())


@pytest.mark.parametrize("name", [b"a", b"seven77", b"eight888", b"nine99999", b"fifteen55555555"])
def test_they_agree_on_who_it_was(both: tuple[Program, Program], server: socket.socket, name: bytes) -> None:
    """A name may end in either word that is loaded of it, or fill both but for the end."""
    comm = Path("/proc/self/comm")
    before = comm.read_bytes().removesuffix(b"\n")
    comm.write_bytes(name)
    try:
        client = socket.create_connection(server.getsockname())
        here = port(client)
        client.close()
    finally:
        comm.write_bytes(before)
    for tracer in both:
        told = tracer.transitions.read()
        told = told[told["lport"] == here]
        assert set(told["comm"].tolist()) == {name}
        assert set(told["pid"].tolist()) == {os.getpid()}
        assert set(told["start_ticks"].tolist()) == {start_of(os.getpid())}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_they_agree(both: tuple[Program, Program], family: int) -> None:
    assert [bool(tracer._compiled.typed) for tracer in both] == [True, False]
    with listening(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        client, accepted = pair(server)
        here, there = port(client), port(server)
        for _ in range(20):
            client.sendall(b"x" * 100)
            accepted.recv(100, socket.MSG_WAITALL)
            accepted.sendall(b"y")
            client.recv(1)
        tables = [entries_of(tracer)[1] for tracer in both]
        client.close()
        until_closed(accepted)
        accepted.close()

    def mine(rows: Rows) -> Rows:
        found = rows[((rows["lport"] == here) | (rows["rport"] == here)) & (rows["lport"] != 0)]
        return found[np.argsort(found["lport"], kind="stable")]

    loading, asking = (mine(table) for table in tables)
    assert set(loading["lport"].tolist()) == {here, there}
    for name in (*_READ, "rtt_sum_us", "rtt_hist"):
        assert (loading[name] == asking[name]).all(), name
    assert loading["rtt_hist"].shape == (2, RTT_SLOTS)
    assert loading["rx_bytes"].sum() == 20 * 101
    loading, asking = (mine(tracer.ended.read()) for tracer in both)
    for name in _READ:
        assert (loading[name] == asking[name]).all(), name
    loading, asking = (mine(tracer.transitions.read()) for tracer in both)
    assert len(loading) >= 8
    for name in (*_ENDS, "oldstate", "newstate", "tx_bytes", "rx_bytes", "close_flags"):
        assert (loading[name] == asking[name]).all(), name
