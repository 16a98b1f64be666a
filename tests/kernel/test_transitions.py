"""Every transition of connections that the test makes itself, exactly once and in order."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf import program as counters
from tcptop_tui.bpf.program import Program
from tcptop_tui.records import TRANSITION, UNKNOWN_NS, Flag, Rows, State, is_ipv4
from tcptop_tui.row_copy import concat
from tcptop_tui.stream.batches import Capture
from tests.support.samples import entries_of
from tests.support.sockets import (
    CG,
    CW,
    F1,
    F2,
    LA,
    LI,
    LOOPBACK,
    SR,
    SS,
    C,
    E,
    listening,
    pair,
    path,
    port,
    reset,
    until_closed,
    until_state,
)

pytestmark = pytest.mark.host

FAMILIES = [socket.AF_INET, socket.AF_INET6]


def drained(tracer: Program) -> Rows:
    """Everything so far; the kernel writes a record before the system call that caused it returns."""
    return tracer.transitions.read()


@pytest.mark.parametrize("family", FAMILIES)
def test_client_closes_first(tracer: Program, family: int) -> None:
    with listening(family) as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        client.close()
        until_closed(accepted)
        accepted.close()
    rows = drained(tracer)
    # the port of SYN_SENT is chosen after the event: it stands in the log as 0
    syn = rows[(rows["lport"] == 0) & (rows["rport"] == there)]
    assert path(syn, 0) == [(C, SS)]
    assert path(rows, here) == [(SS, E), (E, F1), (F1, F2), (F2, C)]
    assert path(rows, there, here) == [(LI, SR), (SR, E), (E, CW), (CW, LA), (LA, C)]
    assert path(rows, there, 0) == [(C, LI), (LI, C)]


@pytest.mark.parametrize("family", FAMILIES)
def test_server_closes_first(tracer: Program, family: int) -> None:
    with listening(family) as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        accepted.close()
        until_closed(client)
        client.close()
    rows = drained(tracer)
    assert path(rows, here) == [(SS, E), (E, CW), (CW, LA), (LA, C)]
    assert path(rows, there, here) == [(LI, SR), (SR, E), (E, F1), (F1, F2), (F2, C)]


@pytest.mark.parametrize("family", FAMILIES)
def test_refused(tracer: Program, family: int) -> None:
    with listening(family) as server:
        nobody = port(server)
    with socket.socket(family) as client, pytest.raises(ConnectionRefusedError):
        client.connect((LOOPBACK[socket.AddressFamily(family)], nobody))
    rows = drained(tracer)
    ours = rows[rows["rport"] == nobody]
    assert [(State(int(r["oldstate"])), State(int(r["newstate"]))) for r in ours] == [(C, SS), (SS, C)]


@pytest.mark.parametrize("family", FAMILIES)
def test_reset(tracer: Program, family: int) -> None:
    with listening(family) as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        reset(client)
        until_closed(accepted)
        accepted.close()
    rows = drained(tracer)
    assert path(rows, here) == [(SS, E), (E, C)]
    assert path(rows, there, here) == [(LI, SR), (SR, E), (E, C)]


def test_half_closed_stays_half_closed(tracer: Program) -> None:
    with listening() as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        client.shutdown(socket.SHUT_WR)
        until_closed(accepted)
        until_state(client, F2)  # the ACK of our FIN is delayed
        rows = drained(tracer)
        assert path(rows, here) == [(SS, E), (E, F1), (F1, F2)]
        assert path(rows, there, here)[-1] == (E, CW)
        accepted.close()
        until_closed(client)
        client.close()
    assert path(drained(tracer), there, here) == [(CW, LA), (LA, C)]


def test_both_ends_close_at_once(tracer: Program) -> None:
    """CLOSING needs both FINs under way: the ends talk through a socket that only one of them reads."""
    seen = set()
    for _ in range(200):
        with listening() as server:
            client, accepted = pair(server)
            here, there = port(client), port(server)
            # each end's own address as the peer's: a self-connection sends its FIN to itself
            client.close()
            accepted.close()
        rows = drained(tracer)
        deadline_s = time.monotonic() + 10  # the last segments may be left to ksoftirqd
        while np.sum(rows["newstate"][rows["lport"] != 0] == C) < 3 and time.monotonic() < deadline_s:
            rows = concat(TRANSITION, rows, drained(tracer))
        seen.add(path(rows, here)[-1])
        assert [new for _, new in path(rows, here)].count(C) == 1
        assert [new for _, new in path(rows, there, here)].count(C) == 1
    assert seen <= {(F2, C), (LA, C), (CG, C), (F1, C)}


def test_simultaneous_close_goes_through_closing(tracer: Program) -> None:
    """A socket connected to itself (simultaneous open, RFC 9293 3.5) closes simultaneously too."""
    with socket.socket() as lonely:
        lonely.bind(("127.0.0.1", 0))
        own = port(lonely)
        lonely.connect(("127.0.0.1", own))
        lonely.sendall(b"to myself")
        assert lonely.recv(100) == b"to myself"
    assert path(drained(tracer), own) == [(C, SS), (SS, SR), (SR, E), (E, F1), (F1, CG), (CG, C)]


def test_owner_bytes_and_times(tracer: Program) -> None:
    with listening() as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        client.sendall(b"x" * 100_000)
        received = 0
        while received < 100_000:
            received += len(accepted.recv(65536))
        accepted.sendall(b"y" * 777)
        assert len(client.recv(777, socket.MSG_WAITALL)) == 777
        client.close()
        until_closed(accepted)
        accepted.close()
    rows = drained(tracer)
    last = {int(row["lport"]): row for row in rows if row["newstate"] == C and row["rport"]}
    for sock_port, sent, got in ((here, 100_000, 777), (there, 777, 100_000)):
        row = last[sock_port]
        assert (row["tx_bytes"], row["rx_bytes"]) == (sent, got)
        assert row["pid"] == os.getpid()
        assert row["comm"] == Path("/proc/self/comm").read_bytes().strip()[:15]
        assert row["flags"] & Flag.OWNER_SURE
        assert row["born_ns"] > 0
        assert row["time_in_state_ns"] < row["ts_ns"] - row["born_ns"]
    births = rows[(rows["oldstate"] == C) | (rows["oldstate"] == LI)]
    assert (births["time_in_state_ns"][births["newstate"] != C] == UNKNOWN_NS).all()
    assert is_ipv4(rows["laddr"]).all()


def test_mapped_address_is_ipv4(tracer: Program) -> None:
    with socket.socket(socket.AF_INET6) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", 0))
        server.listen()
        with socket.create_connection(("127.0.0.1", port(server))) as client:
            here = port(client)
            server.accept()[0].close()
    rows = drained(tracer)
    ends = rows[(rows["lport"] == here) | (rows["rport"] == here)]
    assert len(ends) > 5
    assert is_ipv4(ends["raddr"]).all()


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [("lport", True), ("rport", True), ("other", False)],
)
def test_port_filter_in_the_kernel(tracer: Program, wanted: str, seen: bool) -> None:
    with listening() as server:
        there = port(server)
        ports = frozenset({there if wanted != "other" else 1})
        tracer.set_capture(Capture(rports=ports) if wanted == "rport" else Capture(lports=ports))
        before = tracer.counters.read()[counters.EXCLUDED]
        client, accepted = pair(server)
        here = port(client)
        client.close()
        until_closed(accepted)
        accepted.close()
    rows = drained(tracer)
    near, far = path(rows, here), path(rows, there, here)
    if wanted == "rport":
        assert near == [(SS, E), (E, F1), (F1, F2), (F2, C)]
        assert not far
        assert path(rows[rows["rport"] == there], 0) == [(C, SS)]
    elif seen:
        assert far == [(LI, SR), (SR, E), (E, CW), (CW, LA), (LA, C)]
        assert not near
    else:
        assert not near
        assert not far
    assert tracer.counters.read()[counters.EXCLUDED] > before


@pytest.mark.parametrize("family", FAMILIES)
def test_remote_port_filter_keeps_the_birth_of_a_listeners_child(tracer: Program, family: int) -> None:
    """6.1 announces LISTEN to SYN_RECV before it has set the child's remote end."""
    with listening(family) as server, socket.socket(family) as client:
        client.bind((LOOPBACK[socket.AddressFamily(family)], 0))
        here, there = port(client), port(server)
        tracer.set_capture(Capture(rports=frozenset({here}), ip=4 if family == socket.AF_INET else 6))
        drained(tracer)  # the listener's own
        client.connect(server.getsockname())
        server.accept()[0].close()
        until_closed(client)
    rows = drained(tracer)
    far = rows[rows["lport"] == there]
    assert path(far, there, here) == [(LI, SR), (SR, E), (E, F1), (F1, F2), (F2, C)]
    assert len(far) == 5
    assert (far["raddr"] == far["raddr"][-1]).all()
    assert (far["time_in_state_ns"][1:] != UNKNOWN_NS).all()


def test_local_port_filter_keeps_the_syn(tracer: Program) -> None:
    """At SYN_SENT the local port is still 0; bcc's filter loses that event and the owner with it."""
    with listening() as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        here = port(client)
        client.close()
        tracer.set_capture(Capture(lports=frozenset(range(32768, 61000))))
        second = socket.create_connection(server.getsockname())
        here = port(second)
        second.close()
    rows = drained(tracer)
    ours = rows[rows["rport"] == port_of(rows, here)]
    assert [(State(int(r["oldstate"])), State(int(r["newstate"]))) for r in ours][:2] == [(C, SS), (SS, E)]
    assert ours["pid"][1] == os.getpid()
    assert ours["time_in_state_ns"][1] != UNKNOWN_NS


@pytest.mark.parametrize(("wanted", "told"), [(range(1024, 65536), [(C, LI), (LI, C)]), (range(1, 1024), [])])
def test_local_port_filter_and_a_listener_without_bind(
    tracer: Program, wanted: range, told: list[tuple[State, State]]
) -> None:
    """Its port is chosen after LISTEN: until it is known the line waits."""
    tracer.set_capture(Capture(lports=frozenset(wanted)))
    with socket.socket() as listener:
        listener.listen()
        chosen = port(listener)
        assert (C, LI) not in path(drained(tracer), 0)
    rows = drained(tracer)
    assert path(rows, chosen) == told
    assert (C, LI) not in path(rows, 0)


def port_of(rows: Rows, lport: int) -> int:
    """Remote port of the connection with this local port."""
    return int(rows["rport"][rows["lport"] == lport][0])


def test_family_and_pid_filters(tracer: Program) -> None:
    tracer.set_capture(Capture(ip=6))
    with listening(socket.AF_INET) as four, listening(socket.AF_INET6) as six:
        for server in (four, six):
            client, accepted = pair(server)
            client.close()
            accepted.close()
        rows = drained(tracer)
        assert len(rows[rows["rport"] == port(six)]) > 0
        assert len(rows[rows["rport"] == port(four)]) == 0
        tracer.set_capture(Capture(pids=frozenset({1})))
        client, accepted = pair(four)
        here = port(client)
        client.close()
        accepted.close()
    assert path(drained(tracer), here) == []


def test_sessions_carry_the_last_gauges(tracer: Program) -> None:
    with listening() as server:
        client, accepted = pair(server)
        here = port(client)
        client.sendall(b"z" * 4321)
        client.shutdown(socket.SHUT_WR)
        until_closed(accepted)
        accepted.close()
        until_closed(client)
        client.close()
    ended = tracer.ended.read()
    ours = ended[ended["lport"] == here]
    assert len(ours) == 1
    assert ours["tx_bytes"][0] == 4321
    keys, conns = entries_of(tracer)
    assert not np.isin(ours["skaddr"], keys).any()
    assert not (conns["lport"] == here).any()
