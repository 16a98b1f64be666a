"""The guard program records what the first one was skipped for: here because it is not attached at all."""

from __future__ import annotations

import os

import pytest

from tcptop_tui.bpf import program as counters
from tcptop_tui.bpf.program import Program
from tcptop_tui.records import Flag
from tests.support.sockets import CW, F1, F2, LA, LI, SR, SS, C, E, listening, pair, path, port, until_closed

pytestmark = pytest.mark.host


def skip_first(tracer: Program) -> None:
    """From here on set_state does not run; its link comes first."""
    os.close(tracer._compiled._links.pop(0))


def test_a_whole_life_without_the_first_program(tracer: Program) -> None:
    skip_first(tracer)
    with listening() as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        client.sendall(b"x" * 99)
        accepted.recv(99)
        client.close()
        until_closed(accepted)
        accepted.close()
    rows = tracer.transitions.read()
    assert path(rows[rows["rport"] == there], 0) == [(C, SS)]
    assert path(rows, here) == [(SS, E), (E, F1), (F1, F2), (F2, C)]
    assert path(rows, there, here) == [(LI, SR), (SR, E), (E, CW), (CW, LA), (LA, C)]
    ours = rows[(rows["lport"] == here) | (rows["rport"] == here) | (rows["rport"] == there)]
    assert (ours["flags"] & Flag.DELAYED).all()
    assert tracer.counters.read()[counters.CAUGHT] >= len(ours)
    ended = tracer.ended.read()
    assert ended["tx_bytes"][ended["lport"] == here].tolist() == [99]


def test_skipped_in_the_middle_of_a_life(tracer: Program) -> None:
    with listening() as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        skip_first(tracer)
        client.close()
        until_closed(accepted)
        accepted.close()
    rows = tracer.transitions.read()
    assert path(rows, here) == [(SS, E), (E, F1), (F1, F2), (F2, C)]
    assert path(rows, there, here) == [(LI, SR), (SR, E), (E, CW), (CW, LA), (LA, C)]
    mine = rows[rows["lport"] == here]
    assert [bool(flags & Flag.DELAYED) for flags in mine["flags"]] == [False, True, True, True]


def test_nothing_is_caught_when_nothing_was_skipped(tracer: Program) -> None:
    with listening() as server:
        for _ in range(200):
            client, accepted = pair(server)
            client.close()
            until_closed(accepted)
            accepted.close()
    rows = tracer.transitions.read()
    delayed = int((rows["flags"] & Flag.DELAYED != 0).sum())
    assert delayed == tracer.counters.read()[counters.CAUGHT] <= tracer.recursion_misses()
