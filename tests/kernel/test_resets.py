"""Resets and FINs out of every state a socket can end in: what is said of both ends, and the kernel's counters."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.close_reasons import CloseReason, close_reasons
from tcptop_tui.records import CloseFlag, Flag, Rows, State
from tcptop_tui.stream.batches import Capture
from tests.support.close_cases import STATES, WAYS, counted, made, own_namespace, until_quiet
from tests.support.running_source import Running
from tests.support.sockets import CG, CW, F2, LA, E, listening, port
from tests.support.tracer import WATCHING
from tests.truth.test_like_ss import ROUNDS, Mix

pytestmark = pytest.mark.host

TELLING = ("close_flags", "reset_in", "err", "end_ns", "skaddr")
MOST_LIKELY = 20
"""Pairs that chance makes at least."""
RESET = CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED


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


def sessions(source: Running) -> Rows:
    """Of this thread's network namespace, without listeners."""
    rows = source.store.snapshot().ended_rows
    netns = Path("/proc/thread-self/ns/net").stat().st_ino
    return rows[((rows["flags"] & Flag.LISTENER) == 0) & (rows["netns"] == netns)]


def ended(source: Running, *ports: int) -> Rows:
    """The latest session with these ports, local and remote one; none where it has not come yet."""
    rows = sessions(source)
    return rows[(rows["lport"] == ports[0]) & (rows["rport"] == ports[1])][-1:]


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


def pair_of(source: Running, ports: tuple[int, int]) -> tuple[Rows, Rows]:
    return ended(source, *ports), ended(source, *ports[::-1])


def contradict(one: Rows, other: Rows) -> bool:
    """Reset received by one end and not sent by the other, or the first FIN of both, or of neither."""
    ends, others = int(one["close_flags"][0]), int(other["close_flags"][0])
    if (ends | others) & RESET:
        return bool(ends & CloseFlag.RST_RECEIVED) != bool(others & CloseFlag.RST_SENT)
    first = {CloseReason.FIN_BY_US: CloseReason.FIN_BY_PEER, CloseReason.FIN_BY_PEER: CloseReason.FIN_BY_US}
    return first.get(why(one)) != why(other)


def aborts_of(resets: int, case: Case) -> int:
    """How many of its resets the kernel counts as such."""
    return 0 if case.way in UNCOUNTED or case == BY_TIME_WAIT else resets


def why(rows: Rows) -> CloseReason:
    return CloseReason(int(close_reasons(rows)[0]))


def test_every_way_out_of_every_state(source: Running) -> None:
    ports, resets, aborts = {}, {}, {}
    with listening() as server:
        for case in CASES:
            before, gone = counted("OutRsts"), sum(map(counted, ABORTS))
            ports[case] = play(server, case)
            until_quiet()
            resets[case], aborts[case] = counted("OutRsts") - before, sum(map(counted, ABORTS)) - gone
    source.until(lambda: all(len(one) for given in ports.values() for one in pair_of(source, given)))

    def miscounted() -> dict[Case, list[object]]:
        """Those with another number of resets than the kernel counts."""
        said = {case: pair_of(source, given) for case, given in ports.items() if case[:2] not in BY_NOBODY}
        return {
            case: [resets[case], *(one[["close_flags", "reset_in", "err"]] for one in pair)]
            for case, pair in said.items()
            if sum(bool(one["close_flags"][0] & CloseFlag.RST_SENT) for one in pair) != resets[case]
        }

    with suppress(AssertionError):
        source.until(lambda: not miscounted())  # TIME_WAIT tells later
    assert not miscounted()
    assert aborts == {case: aborts_of(count, case) for case, count in resets.items()}
    said = {case: pair_of(source, given) for case, given in ports.items()}
    wrong = {case: why(ours) for case, (ours, _) in said.items() if expected(case) not in {None, why(ours)}}
    assert not wrong
    contradictory = {
        case: (why(ours), why(theirs))
        for case, (ours, theirs) in said.items()
        if not case.way.startswith("repair") and case[:2] not in BY_NOBODY
        if contradict(ours, theirs) or contradict(theirs, ours)
    }
    assert not contradictory


def of_both_ends(source: Running) -> list[tuple[Rows, Rows]]:
    """Pairs of sessions, one by its other end's addresses and ports; of such that were used once."""
    rows = sessions(source)
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
    mix = Mix(seed)
    for _ in range(ROUNDS):
        mix.go()
    mix.close()

    def contradictory() -> list[tuple[CloseReason, CloseReason, str]]:
        pairs = of_both_ends(source)
        return [
            (why(one), why(other), " ".join(f"{one[name][0]} {other[name][0]}" for name in TELLING))
            for one, other in pairs
            if (contradict(one, other) or contradict(other, one)) and not crossed(source, (one, other))
        ]

    source.until(lambda: len(of_both_ends(source)) >= MOST_LIKELY)
    with suppress(AssertionError):
        source.until(lambda: not contradictory())  # TIME_WAIT and the peer tell later
    assert not contradictory()
