"""Resets and FINs out of every state a socket can end in: what is said of both ends, and the kernel's counters."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.close_reasons import CloseReason
from tcptop_tui.records import CloseFlag, Rows, State
from tcptop_tui.stream.batches import Capture
from tests.support.close_cases import STATES, WAYS, counted, made, own_namespace, until_quiet
from tests.support.ended_connections import close_reason, contradicts, ended_pair, ended_rows
from tests.support.running_source import Running
from tests.support.socket_mix import MIX_ROUNDS, SocketMix
from tests.support.sockets import CG, CW, F2, LA, E, listening, port
from tests.support.tracer import WATCHING

pytestmark = pytest.mark.host

TELLING = ("close_flags", "reset_in", "err", "end_ns", "skaddr")
MOST_LIKELY = 20
"""Pairs that chance makes at least."""


class Case(NamedTuple):
    state: State
    way: str
    unread: bool


CASES = [Case(state, way, unread) for state in STATES for way in WAYS for unread in (False, True)]
ABORTS = ("TCPAbortOnData", "TCPAbortOnClose", "TCPAbortOnLinger", "TCPAbortOnMemory", "TCPAbortOnTimeout")
"""Counters of what the kernel gives up by itself (Documentation/networking/snmp_counter.rst)."""
UNCOUNTED = {"dissolve", "ss -K"}
"""Ways that a process asks for; tcp_disconnect() and tcp_abort() count none of them."""
BY_TIME_WAIT = Case(F2, "late data", unread=False)
BY_NOBODY = {(LA, "ss -K"), (CG, "ss -K")}
"""tcp_abort() sends none from there, and what the peer sends later finds no socket: that reset is nobody's."""


@pytest.fixture
def source(bpf_possible: None) -> Iterator[Running]:
    """In a network namespace of its own, whose counters nobody else moves."""
    with own_namespace():
        running = Running(BpfSource(WATCHING, Capture()), WATCHING)
        yield running
        running.close()


def play(server: socket.socket, case: Case) -> tuple[int, int]:
    """Make a connection, end it, and end what is left of it; its ports."""
    here, there = made(server, case.state, 20_000 + CASES.index(case), unread=case.unread)
    ports = port(here), port(there)
    WAYS[case.way](here, there)
    for one in (there, here):
        with suppress(OSError):
            one.setblocking(False)
            while one.recv(1 << 20):
                pass
        one.close()
    return ports


def expected(case: Case) -> CloseReason | None:
    """Of the first end, by __tcp_close(), tcp_disconnect() and tcp_rcv_state_process(); None: it is not one only."""
    if case.way in {"linger 0", "dissolve"} or (case.unread and case.way in {"close", "linger2 -1", "late data"}):
        return CloseReason.RESET_SENT
    if case.way in {"ss -K", "peer resets"}:
        return CloseReason.ABORTED if case.way == "ss -K" else CloseReason.RESET_RECEIVED
    if case.way in {"linger2 -1", "late data", "shutdown, late data"} and case.state in {E, F2}:
        return CloseReason.RESET_SENT
    if case.way.startswith("repair"):
        by = {
            CW: CloseReason.FIN_BY_PEER,
            LA: CloseReason.FIN_BY_PEER,
            CG: CloseReason.FIN_BY_PEER,
            F2: CloseReason.FIN_BY_US,
        }
        return by.get(case.state, CloseReason.SILENT)
    if case.way == "close" and case.state in {E, F2}:
        return CloseReason.FIN_BY_US
    return None


def aborts_of(resets: int, case: Case) -> int:
    """How many of its resets the kernel counts as such."""
    return 0 if case.way in UNCOUNTED or case == BY_TIME_WAIT else resets


def test_every_way_out_of_every_state(source: Running) -> None:
    ports, resets, aborts = {}, {}, {}
    with listening() as server:
        for case in CASES:
            before, gone = counted("OutRsts"), sum(map(counted, ABORTS))
            ports[case] = play(server, case)
            until_quiet()
            resets[case], aborts[case] = counted("OutRsts") - before, sum(map(counted, ABORTS)) - gone
    source.until(lambda: all(len(one) for given in ports.values() for one in ended_pair(source, given)))

    def miscounted() -> dict[Case, list[object]]:
        """Those with another number of resets than the kernel counts."""
        said = {case: ended_pair(source, given) for case, given in ports.items() if case[:2] not in BY_NOBODY}
        return {
            case: [resets[case], *(one[["close_flags", "reset_in", "err"]] for one in pair)]
            for case, pair in said.items()
            if sum(bool(one["close_flags"][0] & CloseFlag.RST_SENT) for one in pair) != resets[case]
        }

    with suppress(AssertionError):
        source.until(lambda: not miscounted())  # TIME_WAIT tells later
    assert not miscounted()
    assert aborts == {case: aborts_of(count, case) for case, count in resets.items()}
    said = {case: ended_pair(source, given) for case, given in ports.items()}
    wrong = {
        case: close_reason(ours) for case, (ours, _) in said.items() if expected(case) not in {None, close_reason(ours)}
    }
    assert not wrong
    contradictory = {
        case: (close_reason(ours), close_reason(theirs))
        for case, (ours, theirs) in said.items()
        if not case.way.startswith("repair") and case[:2] not in BY_NOBODY
        if contradicts(ours, theirs) or contradicts(theirs, ours)
    }
    assert not contradictory


def of_both_ends(source: Running) -> list[tuple[Rows, Rows]]:
    """Pairs of sessions, one by its other end's addresses and ports; of such that were used once."""
    rows = ended_rows(source)
    rows = rows[(rows["established_ns"] != 0) & (rows["state"] == State.CLOSE)]  # else nobody saw how it ended
    columns = (rows[name].tolist() for name in ("laddr", "lport", "raddr", "rport"))
    ends = [((*laddr, lport), (*raddr, rport)) for laddr, lport, raddr, rport in zip(*columns, strict=True)]
    once, place = Counter(ends), {pair: at for at, pair in enumerate(ends)}
    found = [pair for pair, count in once.items() if count == 1 == once[pair[::-1]] and pair < pair[::-1]]
    at = [(place[pair], place[pair[::-1]]) for pair in found]
    return [(rows[one : one + 1], rows[other : other + 1]) for one, other in at]


def crossed(source: Running, pair: tuple[Rows, Rows]) -> bool:
    """Each FIN was on its way when the other one came (RFC 9293, 3.6, simultaneous close)."""
    log = source.store.snapshot().log
    closing = log["skaddr"][log["newstate"] == State.CLOSING]
    return all(bool(np.isin(one["skaddr"], closing).all()) for one in pair)


@pytest.mark.parametrize("seed", range(3))
def test_the_two_ends_of_a_connection_never_contradict_each_other(source: Running, seed: int) -> None:
    mix = SocketMix(seed)
    for _ in range(MIX_ROUNDS):
        mix.go()
    mix.close()

    def contradictory() -> list[tuple[CloseReason, CloseReason, str]]:
        pairs = of_both_ends(source)
        return [
            (close_reason(one), close_reason(other), " ".join(f"{one[name][0]} {other[name][0]}" for name in TELLING))
            for one, other in pairs
            if (contradicts(one, other) or contradicts(other, one)) and not crossed(source, (one, other))
        ]

    source.until(lambda: len(of_both_ends(source)) >= MOST_LIKELY)
    with suppress(AssertionError):
        source.until(lambda: not contradictory())  # TIME_WAIT and the peer tell later
    assert not contradictory()
