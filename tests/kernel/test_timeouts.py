"""Connections whose peer has fallen silent: what ends them, and the kernel's counters of that."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tcptop_tui.close_reasons import CloseReason
from tcptop_tui.records import CloseFlag, State
from tests.support.close_cases import STATES, counted, fill
from tests.support.ended_connections import close_reason, ended_rows, latest_ended_row, socket_error
from tests.support.running_source import Running
from tests.support.silent_link import HERE, NOBODY, Far, Wire, severable
from tests.support.sockets import CG, CW, F1, F2, LA, E, port, reset, until_state

pytestmark = pytest.mark.host

_FASTOPEN = 0x1 | 0x2 | 0x4 | 0x200  # both sides, without cookies (Documentation/networking/ip-sysctl.rst)


class Unended(Exception):
    """Whose end nobody has told."""


def until_ended(source: Running, ports: Mapping[object, int]) -> None:
    """Until each has an end; says which have none, and what the tracer counts as lost.

    Raises:
        Unended: some have none after a minute.
    """

    def missing() -> list[object]:
        return [case for case, lport in ports.items() if not len(latest_ended_row(source, lport))]

    try:
        source.until(lambda: not missing())
    except AssertionError:
        raise Unended(f"without an end: {missing()}; {source.store.snapshot().loss}") from None


def keep_alive(here: socket.socket) -> None:
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
        here.setsockopt(socket.IPPROTO_TCP, option, 1)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def limit(here: socket.socket) -> None:
    here.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)
    here.send(b"x")


def send(here: socket.socket) -> None:
    here.send(b"x")


def shut(here: socket.socket) -> None:
    here.shutdown(socket.SHUT_WR)


def fill_and_close(here: socket.socket) -> None:
    fill(here)
    here.close()


def wait(here: socket.socket) -> None:
    """What it has to send goes on being sent."""


class Case(NamedTuple):
    state: State
    act: Callable[[socket.socket], None]
    """When the peer is silent."""


IDLE = [Case(state, act) for state in (E, CW, F2) for act in (keep_alive,)]
SENDING = [Case(state, act) for state in (E, CW) for act in (send, limit, shut, socket.socket.close, fill_and_close)]
SENT = [Case(state, act) for state in (F1, LA, CG) for act in (wait, socket.socket.close)]


@pytest.mark.timeout(200)
def test_a_silent_peer_in_every_state(source: Running) -> None:
    """Keepalive, TCP_USER_TIMEOUT, retransmits, probes of a closed window, and SYNs.

    Once more where an end is missing: the kernels of some machines run no program at all for some milliseconds now and
    then (docs/decisions/kernel-program.md, 35), and this happens in a timer.
    """
    for retries in (1, 0):
        with severable() as far, ExitStack() as held:
            try:
                silent_peers(source, far, held)
            except Unended:
                if not retries:
                    raise
            else:
                break


def silent_peers(source: Running, far: Far, held: ExitStack) -> None:
    server, made = held.enter_context(far.server()), {}
    for case in IDLE + SENDING + SENT:
        made[case] = far.pair(server)
        STATES[case.state](*made[case])
    wire, before = Wire(), {name: counted(name) for name in ("TCPAbortOnTimeout", "OutRsts", "EstabResets")}
    held.callback(wire.close)
    far.silence()
    ports = {case: port(here) for case, (here, _) in made.items()}
    for case, (here, _) in made.items():
        case.act(here)
    given_up = [held.enter_context(socket.socket()) for _ in range(2)]
    given_up[1].setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)
    for here in given_up:
        here.setblocking(False)
        here.connect_ex((NOBODY, 80))
    lports = [*ports.values(), *map(port, given_up)]
    until_ended(source, {**ports, "given up": lports[-2], "given up by its limit": lports[-1]})
    ends = [latest_ended_row(source, lport) for lport in lports]
    assert {close_reason(one) for one in ends} == {CloseReason.TIMED_OUT}
    told = {socket_error(here) for here in (*given_up, *(here for here, _ in made.values())) if here.fileno() >= 0}
    assert told == {int(one["err"][0]) for one in ends} == {errno.ETIMEDOUT}
    resets = sum(bool(one["close_flags"][0] & CloseFlag.RST_SENT) for one in ends)
    assert wire.resets() == counted("OutRsts") - before["OutRsts"] == resets == len(IDLE)
    assert counted("TCPAbortOnTimeout") - before["TCPAbortOnTimeout"] == len(ends)
    open_ones = [case for case in ports if case.state in {E, CW} and case.act in {keep_alive, send, limit}]
    assert counted("EstabResets") - before["EstabResets"] == len(open_ones)
    for here, there in made.values():
        here.close()
        there.close()


def test_closed_in_fin_wait2(source: Running, far: Far, held: ExitStack) -> None:
    """TIME_WAIT takes over; else a timer does so later, or sends a reset if the wait has become shorter."""
    server, seconds = held.enter_context(far.server()), Path("/proc/sys/net/ipv4/tcp_fin_timeout")
    made = [far.pair(server) for _ in range(2)]
    before = counted("OutRsts")
    lports = [port(here) for here, _ in made]
    for (here, there), timeout_s in zip(made, (60, 61), strict=True):
        held.enter_context(there)
        shut(here)
        until_state(here, F2)
        seconds.write_text(str(timeout_s))
        here.close()
    seconds.write_text("30")
    source.until(lambda: all(len(latest_ended_row(source, lport)) for lport in lports))
    ends = [latest_ended_row(source, lport) for lport in lports]
    said = [close_reason(one) for one in ends]
    assert said == [CloseReason.FIN_BY_US, CloseReason.RESET_SENT]
    assert counted("OutRsts") - before == said.count(CloseReason.RESET_SENT)


def test_syn_acks_that_nobody_answers(source: Running, far: Far, held: ExitStack) -> None:
    """A request is no connection and has no end; what came by TCP Fast Open is one already."""
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text(str(_FASTOPEN))
    far.make(lambda: Path("/proc/sys/net/ipv4/tcp_fastopen").write_text(str(_FASTOPEN)))
    server = held.enter_context(socket.socket())
    server.bind((HERE, 0))
    server.listen()
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
    before = counted("TCPAbortOnTimeout")
    plain = held.enter_context(far.stranger())
    plain.connect_ex(server.getsockname())
    accepted, rports = [], []
    for _ in range(3):
        fast = held.enter_context(far.stranger())
        with suppress(BlockingIOError):
            fast.sendto(b"x", socket.MSG_FASTOPEN, server.getsockname())
        accepted.append(held.enter_context(server.accept()[0]))
        rports.append(port(fast))
    accepted[1].recv(1)
    accepted[1].close()
    accepted[2].close()

    def ends() -> dict[int, CloseReason]:
        rows = ended_rows(source)
        rows = rows[rows["lport"] == port(server)]
        return {int(row["rport"][0]): close_reason(row) for row in (rows[at : at + 1] for at in range(len(rows)))}

    source.until(lambda: set(rports) <= set(ends()))
    assert ends() == dict(
        zip(rports, (CloseReason.TIMED_OUT, CloseReason.TIMED_OUT, CloseReason.RESET_SENT), strict=True)
    )
    assert socket_error(accepted[0]) == errno.ETIMEDOUT
    assert counted("TCPAbortOnTimeout") - before == 2


def test_the_link_is_removed(source: Running, far: Far, held: ExitStack) -> None:
    """Nothing leaves any more, which the kernel counts as sent, resets included."""
    server = held.enter_context(far.server())
    acts = (send, shut, socket.socket.close, reset, socket.socket.close)
    made = [far.pair(server) for _ in acts]
    held.enter_context(made[0][0])
    held.enter_context(made[1][0])
    made[-1][1].send(b"unread")
    made[-1][0].recv(1, socket.MSG_PEEK)
    names = ("TCPAbortOnTimeout", "TCPAbortOnData", "TCPAbortOnClose", "OutRsts", "TCPAbortFailed")
    before = {name: counted(name) for name in names}
    lports = [port(here) for here, _ in made]
    subprocess.run(["ip", "link", "del", "va"], check=True)
    for (here, _), act in zip(made, acts, strict=True):
        act(here)
    source.until(lambda: all(len(latest_ended_row(source, lport)) for lport in lports))
    assert [close_reason(latest_ended_row(source, lport)) for lport in lports] == [CloseReason.TIMED_OUT] * 3 + [
        CloseReason.RESET_SENT
    ] * 2
    assert [socket_error(here) for here, _ in made[:2]] == [errno.ETIMEDOUT] * 2
    counts = {name: counted(name) - count for name, count in before.items()}
    assert counts == dict(zip(names, (3, 1, 1, 2, 2), strict=True))
