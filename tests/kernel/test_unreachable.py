"""ICMP messages about connections: they end a handshake and nothing else, and what they leave is no end's."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import NamedTuple

import pytest

from tcptop_tui.close_reasons import CloseReason
from tcptop_tui.records import CloseFlag
from tests.support.close_cases import Pair, counted, fill
from tests.support.ended_connections import close_reason, latest_ended_row, socket_error
from tests.support.running_source import Running
from tests.support.silent_link import NOBODY, Far, Wire
from tests.support.sockets import CG, CW, F2, port, reset, until_state

pytestmark = pytest.mark.host

_IP_RECVERR = 11  # include/uapi/linux/in.h
_HOST = 1
"""Code of an ICMP message: host unreachable."""


@pytest.fixture
def wire(far: Far) -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


# icmp_err_convert (net/ipv4/icmp.c): each code, by what the application is told
REASONS = {
    errno.ENETUNREACH: CloseReason.UNREACHABLE, errno.EHOSTUNREACH: CloseReason.UNREACHABLE,
    errno.EHOSTDOWN: CloseReason.UNREACHABLE,
    errno.ECONNREFUSED: CloseReason.REFUSED, errno.ENOPROTOOPT: CloseReason.ERROR, errno.EOPNOTSUPP: CloseReason.ERROR,
    errno.ENONET: CloseReason.ERROR,
}  # fmt: skip
FRAGMENTATION_NEEDED = 4


def test_every_message_during_a_handshake(source: Running, far: Far, wire: Wire) -> None:
    told = {}
    before = counted("AttemptFails")
    for code in set(range(16)) - {FRAGMENTATION_NEEDED}:
        with socket.socket() as here:
            here.setblocking(False)
            here.connect_ex((NOBODY, 80))
            lport = port(here)
            far.unreachable(wire.segment(lport), code)
            source.until(lambda lport=lport: bool(len(latest_ended_row(source, lport))))
            told[lport] = socket_error(here)
    ends = {lport: latest_ended_row(source, lport) for lport in told}
    assert {lport: int(one["err"][0]) for lport, one in ends.items()} == told
    assert {lport: close_reason(one) for lport, one in ends.items()} == {
        lport: REASONS[err] for lport, err in told.items()
    }
    assert counted("AttemptFails") - before == len(told)


def disturbed(pair: Pair, far: Far, *, told: bool, full: bool = False) -> None:
    """A message about a segment of ours; ``told``: it is for the application (IP_RECVERR); ``full``: data wait."""
    here, there = pair
    here.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, told)
    with closing(Wire()) as wire:
        if full:
            fill(here)
        else:
            here.send(b"x")
            there.recv(1)
        packet = wire.segment(port(here), without_data=full)  # a probe of the closed window has the byte before
    (seq,) = struct.unpack_from("!I", packet, 24)
    far.unreachable(packet[:24] + struct.pack("!I", (seq + 1) & 0xFFFF_FFFF) + packet[28:], _HOST)
    if told:
        poll = select.poll()
        poll.register(here, 0)
        assert poll.poll(10_000) == [(here.fileno(), select.POLLERR)]


def test_a_timeout_has_the_last_message_s_error(source: Running, far: Far) -> None:
    with far.server() as server:
        here, there = far.pair(server)
    with here, there:
        disturbed((here, there), far, told=False)
        before = counted("TCPAbortOnTimeout")
        far.silence()
        here.send(b"x")
        source.until(lambda: bool(len(latest_ended_row(source, port(here)))))
        end = latest_ended_row(source, port(here))
        assert (close_reason(end), int(end["err"][0]), socket_error(here)) == (
            CloseReason.UNREACHABLE, errno.EHOSTUNREACH, errno.EHOSTUNREACH,
        )  # fmt: skip
    assert counted("TCPAbortOnTimeout") - before == 1


def _close(here: socket.socket, _: socket.socket) -> None:
    here.close()


def _shut_and_close(here: socket.socket, _: socket.socket) -> None:
    here.shutdown(socket.SHUT_WR)
    until_state(here, F2)
    here.close()


def _after_the_peer(here: socket.socket, there: socket.socket) -> None:
    there.shutdown(socket.SHUT_WR)
    until_state(here, CW)
    here.close()


def _with_unread(here: socket.socket, there: socket.socket) -> None:
    there.send(b"unread")
    here.shutdown(socket.SHUT_WR)
    until_state(here, F2)
    here.close()


def _linger2(here: socket.socket, _: socket.socket) -> None:
    here.shutdown(socket.SHUT_WR)
    until_state(here, F2)
    here.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, -1)
    here.close()


def _late_data(here: socket.socket, there: socket.socket) -> None:
    _shut_and_close(here, there)
    there.send(b"late")


def _linger_0(here: socket.socket, _: socket.socket) -> None:
    here.shutdown(socket.SHUT_WR)
    reset(here)


def _linger_0_after_the_peer(here: socket.socket, there: socket.socket) -> None:
    there.shutdown(socket.SHUT_WR)
    until_state(here, CW)
    _linger_0(here, there)


def _linger_0_in_closing(here: socket.socket, there: socket.socket) -> None:
    here.shutdown(socket.SHUT_WR)
    there.shutdown(socket.SHUT_WR)
    until_state(here, CG)
    _linger_0(here, there)


def _peer_resets(here: socket.socket, there: socket.socket) -> None:
    here.shutdown(socket.SHUT_WR)
    reset(there)


class Case(NamedTuple):
    act: Callable[[socket.socket, socket.socket], None]
    full: bool
    reason: CloseReason


CASES = [
    Case(_close, False, CloseReason.FIN_BY_US),
    Case(_shut_and_close, False, CloseReason.FIN_BY_US),
    Case(_after_the_peer, False, CloseReason.FIN_BY_PEER),
    Case(_with_unread, False, CloseReason.RESET_SENT),
    Case(_linger2, False, CloseReason.RESET_SENT),
    Case(_late_data, False, CloseReason.RESET_SENT),
    Case(_linger_0, True, CloseReason.RESET_SENT),
    Case(_linger_0_after_the_peer, True, CloseReason.RESET_SENT),
    Case(_linger_0_in_closing, True, CloseReason.RESET_SENT),
    Case(_peer_resets, True, CloseReason.RESET_RECEIVED),
]


def test_what_a_message_left_is_no_end_s(source: Running, far: Far) -> None:
    """The application has not asked for the error, and closes."""
    before, said = counted("OutRsts"), {}
    with ExitStack() as held:
        server = held.enter_context(far.server())
        for case in CASES:
            here, there = far.pair(server)
            held.enter_context(here)
            held.enter_context(there)
            said[port(here)] = case
            disturbed((here, there), far, told=True, full=case.full)
            case.act(here, there)
        source.until(lambda: all(len(latest_ended_row(source, lport)) for lport in said))

        def wrong() -> dict[Case, CloseReason]:
            ends = {case: close_reason(latest_ended_row(source, lport)) for lport, case in said.items()}
            return {case: reason for case, reason in ends.items() if reason is not case.reason}

        with suppress(AssertionError):
            source.until(lambda: not wrong())  # TIME_WAIT tells later
        assert not wrong()
        sent = sum(bool(latest_ended_row(source, lport)["close_flags"][0] & CloseFlag.RST_SENT) for lport in said)
        assert sent == counted("OutRsts") - before
