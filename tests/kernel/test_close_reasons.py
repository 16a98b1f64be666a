"""How connections end, as the kernel told it: each end is made on purpose."""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.close_reasons import CloseReason, close_reason_text, close_reasons
from tcptop_tui.records import CloseFlag, Flag, Rows
from tests.support.close_cases import dissolve, own_namespace
from tests.support.sockets import (
    CW,
    F1,
    LOOPBACK,
    SR,
    SS,
    C,
    E,
    listening,
    pair,
    port,
    reset,
    until_closed,
    until_state,
)

pytestmark = pytest.mark.host

_TCP_FASTOPEN_CONNECT = 30  # include/uapi/linux/tcp.h
_IP_LOCAL_PORT_RANGE = 51  # include/uapi/linux/in.h, from Linux 6.3 on

FAMILIES = [socket.AF_INET, socket.AF_INET6]


def ended(tracer: Program, lport: int) -> Rows:
    """The session of the only connection with this local port."""
    found = tracer.ended.read()
    found = found[(found["lport"] == lport) & ((found["flags"] & Flag.LISTENER) == 0)]
    assert len(found) == 1
    return found


def reason(rows: Rows) -> CloseReason:
    (code,) = close_reasons(rows)
    return CloseReason(int(code))


@pytest.fixture
def both(tracer: Program):
    with listening() as server:
        yield pair(server)


def test_each_side_knows_whose_fin_was_first(tracer: Program, both: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = both
    here, there = port(client), port(accepted)
    client.close()
    until_closed(accepted)
    accepted.close()
    sessions = tracer.ended.read()
    ours, theirs = sessions[sessions["lport"] == here], sessions[(sessions["lport"] == there)]
    assert (reason(ours), reason(theirs)) == (CloseReason.FIN_BY_US, CloseReason.FIN_BY_PEER)
    # TIME_WAIT may have taken over before the peer's FIN came
    assert ours["close_flags"][0] & ~np.uint8(CloseFlag.FIN_RECEIVED) == CloseFlag.FIN_SENT
    assert theirs["close_flags"][0] == CloseFlag.FIN_SENT | CloseFlag.FIN_RECEIVED | CloseFlag.PEER_FIRST
    assert ours["flags"][0] & Flag.ACTIVE
    assert theirs["flags"][0] & Flag.PASSIVE
    assert int(ours["established_ns"][0]) > int(ours["born_ns"][0]) > 0


def test_reset_is_sent_by_one_and_received_by_the_other(
    tracer: Program, both: tuple[socket.socket, socket.socket]
) -> None:
    client, accepted = both
    here, there = port(client), port(accepted)
    reset(client)
    until_closed(accepted)
    accepted.close()
    sessions = tracer.ended.read()
    ours, theirs = sessions[sessions["lport"] == here], sessions[(sessions["lport"] == there)]
    assert (reason(ours), reason(theirs)) == (CloseReason.RESET_SENT, CloseReason.RESET_RECEIVED)
    assert (ours["reset_in"][0], theirs["reset_in"][0]) == (E, E)
    assert theirs["err"][0] == errno.ECONNRESET


def test_closing_with_unread_data_is_a_reset(tracer: Program, both: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = both
    there = port(accepted)
    client.sendall(b"nobody reads this")
    client.shutdown(socket.SHUT_WR)
    until_state(accepted, CW)
    accepted.close()
    until_closed(client)
    sessions = tracer.ended.read()
    theirs = sessions[sessions["lport"] == there]
    assert (reason(theirs), theirs["reset_in"][0]) == (CloseReason.RESET_SENT, CW)


def test_reset_answers_data_for_a_closed_socket(tracer: Program, both: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = both
    here = port(client)
    accepted.close()  # FIN: the client is in CLOSE_WAIT and still sends
    until_state(client, CW)
    client.sendall(b"too late")
    until_closed(client)
    until_state(client, C)
    client.close()
    session = ended(tracer, here)
    assert (reason(session), session["reset_in"][0]) == (CloseReason.RESET_RECEIVED, CW)


@pytest.mark.parametrize("family", FAMILIES)
def test_refused(tracer: Program, family: int) -> None:
    with listening(family) as server:
        free = port(server)
    client = socket.socket(family)
    client.bind((LOOPBACK[socket.AddressFamily(family)], 0))
    here = port(client)
    with pytest.raises(ConnectionRefusedError):
        client.connect((LOOPBACK[socket.AddressFamily(family)], free))
    session = ended(tracer, here)
    assert (reason(session), session["reset_in"][0], session["err"][0]) == (CloseReason.REFUSED, SS, errno.ECONNREFUSED)
    moved = tracer.transitions.read()
    last = moved[(moved["lport"] == here) & (moved["newstate"] == C)]
    assert close_reasons(last).tolist() == [CloseReason.REFUSED]
    assert close_reason_text(CloseReason.REFUSED, errno.ECONNREFUSED) == "refused"


def unanswered(server: socket.socket) -> socket.socket:
    """A socket whose SYN nobody answers: the accept queue of ``server`` is full."""
    client = socket.socket(server.family)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
    client.setblocking(False)
    client.connect_ex(server.getsockname())
    return client


@pytest.fixture
def silent():
    with listening(backlog=0) as server:
        filler = socket.create_connection(server.getsockname())
        yield server
        filler.close()


def test_timed_out_and_retransmitted_in_syn_sent(tracer: Program, silent: socket.socket) -> None:
    client = unanswered(silent)
    here = port(client)
    client.setblocking(True)
    with pytest.raises(TimeoutError):
        client.recv(1)
    session = ended(tracer, here)
    assert (reason(session), session["err"][0]) == (CloseReason.TIMED_OUT, errno.ETIMEDOUT)
    counts = session["retrans_in"][0]
    # the tracepoint's count beside the kernel's own (tcp_sock.total_retrans)
    skipped = tracer.recursion_misses_of("retransmit")
    assert counts[SS] + skipped == session["retrans"][0] >= 1
    assert counts[SS] == counts.sum()


def test_given_up_before_an_answer(tracer: Program, silent: socket.socket) -> None:
    client = unanswered(silent)
    here = port(client)
    client.close()
    session = ended(tracer, here)
    assert (reason(session), session["err"][0]) == (CloseReason.GIVEN_UP, 0)


def test_no_local_port_left(tracer: Program) -> None:
    with listening() as server, listening() as taken:
        client = socket.socket()
        only = struct.pack("=HH", port(taken), port(taken))
        try:
            client.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, only)
        except OSError as error:
            pytest.skip(f"no IP_LOCAL_PORT_RANGE in this kernel: {error.strerror}")
        there = server.getsockname()
        with pytest.raises(OSError, match="Cannot assign") as raised:
            client.connect(there)
    assert raised.value.errno == errno.EADDRNOTAVAIL
    sessions = tracer.ended.read()
    mine = sessions[sessions["rport"] == there[1]]
    assert close_reasons(mine).tolist() == [CloseReason.NO_PORT]
    assert (mine["lport"].tolist(), mine["err"].tolist()) == ([0], [errno.EADDRNOTAVAIL])
    assert close_reason_text(CloseReason.NO_PORT, errno.EADDRNOTAVAIL) == "no local port (EADDRNOTAVAIL)"


def test_a_bound_port_that_is_in_use_for_that_destination(tracer: Program) -> None:
    with listening() as server, socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        second.bind(first.getsockname())
        first.connect(server.getsockname())
        with pytest.raises(OSError, match="Cannot assign"):
            second.connect(server.getsockname())
        session = ended(tracer, port(first))
    assert (reason(session), session["err"][0]) == (CloseReason.NO_PORT, errno.EADDRNOTAVAIL)


def test_a_socket_that_was_connected_before_has_neither_its_old_port_nor_its_old_error(tracer: Program) -> None:
    with listening() as server, listening() as taken, socket.socket() as client:
        client.connect(server.getsockname())
        there, before = port(server), port(client)
        dissolve(client)  # which leaves ECONNRESET in sk_err
        only = struct.pack("=HH", port(taken), port(taken))
        try:
            client.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, only)
        except OSError as error:
            pytest.skip(f"no IP_LOCAL_PORT_RANGE in this kernel: {error.strerror}")
        with pytest.raises(OSError, match="Cannot assign"):
            client.connect(server.getsockname())
        sessions = tracer.ended.read()
        mine = sessions[(sessions["rport"] == there) & ((sessions["flags"] & Flag.ACTIVE) != 0)]
    assert mine["lport"].tolist() == [before, 0]
    assert close_reasons(mine).tolist() == [CloseReason.RESET_SENT, CloseReason.NO_PORT]


def test_a_connect_that_waits_for_its_first_data_was_not_without_a_port(tracer: Program) -> None:
    """TCP_FASTOPEN_CONNECT with a cookie: no SYN is sent, either."""
    with own_namespace(), listening() as server, socket.socket() as client:
        Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("3")
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        with socket.socket() as first:
            first.sendto(b"x", socket.MSG_FASTOPEN, server.getsockname())
        client.setsockopt(socket.IPPROTO_TCP, _TCP_FASTOPEN_CONNECT, 1)
        client.connect(server.getsockname())
        here = port(client)
        client.close()
        session = ended(tracer, here)
    assert reason(session) == CloseReason.GIVEN_UP


def test_listeners_do_not_end_for_a_reason(tracer: Program) -> None:
    with listening() as server:
        there = port(server)
    sessions = tracer.ended.read()
    mine = sessions[sessions["lport"] == there]
    assert mine["flags"][0] & Flag.LISTENER
    assert close_reasons(mine).tolist() == [CloseReason.NONE]


def test_transitions_before_the_close_have_no_reason(
    tracer: Program, both: tuple[socket.socket, socket.socket]
) -> None:
    client, accepted = both
    here = port(client)
    client.shutdown(socket.SHUT_WR)
    until_closed(accepted)
    accepted.close()
    until_closed(client)
    client.close()
    moved = tracer.transitions.read()
    mine = moved[moved["lport"] == here]
    assert np.flatnonzero(close_reasons(mine)).tolist() == [len(mine) - 1]
    assert F1 in mine["newstate"]
    assert SR in moved["newstate"]
