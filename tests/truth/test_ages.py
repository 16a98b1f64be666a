"""How long sockets are in their state, and how old they are: by the clock of the test that moved them."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.dump import Dump
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.reconcile.entry_digests import ENTRY_DIGEST
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.records import DUMP_ROW, Rows, State
from tcptop_tui.stream.batches import Capture
from tests.support.running_source import Running
from tests.support.samples import entries, whole
from tests.support.sockets import F2, listening, pair, port, until_state
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

SETTINGS = dataclasses.replace(SMALL, refresh_s=0.1, reconcile_s=0.3)
TCP_LINGER2 = 8
S = 10**9
SLACK_NS = 2 * S
"""A timer's grain, a dump's length, on a busy machine. A wrong timer is 55 s off."""


@pytest.fixture(params=[BpfSource, DiagSource])
def source(request: pytest.FixtureRequest, bpf_possible: None) -> Iterator[Running]:
    running = Running(request.param(SETTINGS, Capture()), SETTINGS)
    running.until(lambda: running.store.snapshot().now_ns > 0)
    yield running
    running.close()


def row_in(source: Running, state: State, lport: int, rport: int) -> tuple[Rows, int]:
    """The row once it is in that state, and the table's time."""
    source.until(lambda: source.rows(lport, rport)["state"].tolist() == [state])
    return source.rows(lport, rport)[0], source.store.snapshot().now_ns


@pytest.mark.parametrize("linger2_s", [0, 5])
def test_time_wait_and_what_its_process_left_behind(source: Running, linger2_s: int) -> None:
    """FIN_WAIT2 of a socket that was closed, then TIME_WAIT: neither began before it did, nor before the connection."""
    with listening() as server:
        born_ns = time.monotonic_ns()
        client, accepted = pair(server)
        here, there = port(client), port(server)
        if linger2_s:
            client.setsockopt(socket.IPPROTO_TCP, TCP_LINGER2, linger2_s)
        source.until(lambda: len(source.rows(here, there)) == 1)
        closed_ns = time.monotonic_ns()
        client.close()
        row, now_ns = row_in(source, State.FIN_WAIT2, here, there)
        assert closed_ns - SLACK_NS <= row["state_ns"] <= now_ns
        assert born_ns - SLACK_NS <= row["born_ns"] <= row["state_ns"]
        done_ns = time.monotonic_ns()
        accepted.close()
        row, now_ns = row_in(source, State.TIME_WAIT, here, there)
        assert done_ns - SLACK_NS <= row["state_ns"] <= now_ns + SLACK_NS
        assert born_ns - SLACK_NS <= row["born_ns"] <= row["state_ns"]


def test_fin_wait2_began_before_its_process_closed_it(source: Running) -> None:
    with listening() as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        source.until(lambda: len(source.rows(here, there)) == 1)
        client.shutdown(socket.SHUT_WR)
        until_state(client, F2)
        row, _ = row_in(source, State.FIN_WAIT2, here, there)
        time.sleep(1)  # what began with close() is not taken for what began before it
        client.close()
        closed_ns = time.monotonic_ns()

        def left_behind() -> bool:
            """Without an entry of the kernel side, in a table that was made since."""
            left, now_ns = source.rows(here, there), source.store.snapshot().now_ns
            return now_ns > closed_ns and left[["state", "skaddr"]].tolist() == [(State.FIN_WAIT2, 0)]

        source.until(left_behind)
        assert abs(int(source.rows(here, there)["state_ns"][0]) - int(row["state_ns"])) < S // 10
        accepted.close()


def at(second: float, *rows: dict[str, object]) -> Dump:
    made = np.zeros(len(rows), DUMP_ROW)
    for row, given in zip(made, rows, strict=True):
        for name, value in {"netns": 1, "lport": 80, "rport": 9, "cookie": 7, **given}.items():
            row[name] = value
    return Dump(made, np.zeros(len(rows), np.uint32), int(second * S), frozenset({1}))


WAITS = {"state": State.TIME_WAIT}


def test_a_time_wait_that_is_over_is_gone_however_old_the_dump_is() -> None:
    joiner = Joiner()
    joiner.reconcile(at(100, {**WAITS, "state_ns": 50 * S}), no_entries())
    nothing = whole(*entries())
    shown = [len(joiner.make_table(nothing, now_ns=int(now_s * S))) for now_s in (100, 110, 114, 115, 160)]
    assert shown == [1, 1, 1, 0, 0]


def test_a_timer_that_is_started_anew_starts_the_state_anew_and_jitter_does_not() -> None:
    joiner, nothing = Joiner(), whole(*entries())
    joiner.reconcile(at(100, {**WAITS, "state_ns": 50 * S}), no_entries())
    for second, said_s, starts_s in ((101, 50.004, 50), (102, 49.9, 50), (103, 102.5, 102.5)):
        joiner.reconcile(at(second, {**WAITS, "state_ns": int(said_s * S)}), no_entries())
        assert joiner.make_table(nothing)["state_ns"].tolist() == [int(starts_s * S)]


def test_what_was_not_there_before_is_younger_than_the_dump_before() -> None:
    """A short TCP_LINGER2 makes FIN_WAIT2 look old by its timer."""
    joiner, nothing = Joiner(), whole(*entries())
    joiner.reconcile(at(100), no_entries())
    joiner.reconcile(at(103, {"state": State.FIN_WAIT2, "state_ns": 50 * S}), no_entries())
    assert joiner.make_table(nothing)["state_ns"].tolist() == [100 * S]


def no_entries() -> Rows:
    return np.zeros(0, ENTRY_DIGEST)
