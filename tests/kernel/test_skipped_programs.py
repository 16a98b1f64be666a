"""What neither kernel program was run for: caught where one of them can, else counted to the unit, and mended."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf import program as counters
from tcptop_tui.bpf.program import _ATTACHMENTS, Program
from tcptop_tui.bpf.reconciler import Reconciler
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.records import Flag, Rows, State
from tcptop_tui.stream.batches import Capture
from tests.support.namespaces import cgroup, in_cgroup, in_namespace
from tests.support.running_source import Running
from tests.support.samples import entries_of
from tests.support.sockets import F2, LI, SR, SS, C, E, listening, pair, path, port, reset, until_closed, until_state
from tests.support.tracer import SMALL, require_bpf

pytestmark = pytest.mark.host

ROOMY = dataclasses.replace(SMALL, ring_bytes=2**25, session_ring_bytes=2**24)


@contextmanager
def blind(tracer: Program, programs: int = 2) -> Iterator[None]:
    """The first so many programs do not run; 2: only transitions are not seen, else nothing is."""
    links = tracer._compiled._links
    for _ in range(programs):
        os.close(links.pop(0))
    yield
    rest, links[:] = links[:], []
    for name, tracepoint in _ATTACHMENTS[:programs]:
        tracer._compiled.attach(name, tracepoint)
    links += rest


def escaped(tracer: Program) -> int:
    return int(tracer.counters.read()[counters.UNSEEN])


@pytest.mark.parametrize(("side", "least"), [("lports", 1), ("rports", 2)])
def test_a_gap_is_counted_when_the_socket_moves_on(tracer: Program, side: str, least: int) -> None:
    """The server goes to CLOSE_WAIT unseen, the client to FIN_WAIT1 and FIN_WAIT2."""
    with listening() as server:
        tracer.set_capture(Capture(**{side: frozenset({port(server)})}))
        client, accepted = pair(server)
        with blind(tracer):
            client.shutdown(1)
            until_closed(accepted)
            until_state(client, F2)  # the answer to its FIN may wait (delayed ACK)
        assert escaped(tracer) == 0  # nobody can know yet
        accepted.close()
        until_closed(client)
        client.close()
    assert escaped(tracer) == least
    assert tracer.recursion_misses() == 0  # the kernel said nothing of it


def test_an_end_that_was_not_seen_is_counted_and_leaves_its_session(tracer: Program) -> None:
    with listening() as server:
        tracer.set_capture(Capture(rports=frozenset({port(server)})))
        client, accepted = pair(server)
        here = port(client)
        client.sendall(b"12345")
        accepted.recv(5)
        with blind(tracer):
            reset(client)
            until_closed(accepted)
            accepted.close()
    assert escaped(tracer) == 1
    assert tracer.ended.read()["lport"].tolist() == [here]
    assert here not in entries_of(tracer)[1]["lport"]


def test_an_end_that_was_not_seen_is_counted_when_another_socket_has_the_address(tracer: Program) -> None:
    """The other one is not wanted, and has lived for a while: its end is not taken for the first one's."""
    with listening() as server, listening() as elsewhere, ExitStack() as stack:
        tracer.set_capture(Capture(rports=frozenset({port(server)})))
        wanted = [pair(server) for _ in range(40)]
        ports = {port(client) for client, _ in wanted}
        with blind(tracer, len(_ATTACHMENTS)):
            for client, accepted in wanted:
                reset(client)
                until_closed(accepted)
                accepted.close()
            others = [pair(elsewhere) for _ in range(40)]
        for client, accepted in others:
            stack.enter_context(accepted)
            accepted.shutdown(socket.SHUT_WR)
            until_state(client, State.CLOSE_WAIT)  # the client moves from the state that the entry has
            client.close()
        ended = tracer.ended.read()
        left = entries_of(tracer)[1]
        left = left[left["rport"] == port(server)]  # others' are from before the filter
        assert 0 < len(ended) == escaped(tracer) == 40 - len(left)
        assert set(ended["lport"].tolist()) | set(left["lport"].tolist()) == ports
        assert (ended["rport"] == port(server)).all()


def test_what_the_filter_leaves_out_does_not_count(tracer: Program) -> None:
    with listening() as server:
        tracer.set_capture(Capture(pids=frozenset({1})))
        client, accepted = pair(server)
        client.sendall(b"x")
        accepted.recv(1)  # as long as nobody was seen with it, it may be handed to whom the filter wants
        with blind(tracer):
            client.shutdown(1)
        accepted.close()
        client.close()
    assert escaped(tracer) == 0


def test_a_beginning_that_was_not_seen_is_counted_at_the_end(bpf_possible: None) -> None:
    """Between two dumps: no comparison will ever show it."""
    with listening() as server:
        source = BpfSource(dataclasses.replace(ROOMY, reconcile_s=3600), Capture(rports=frozenset({port(server)})))
        feed = Running(source, ROOMY)
        try:
            feed.until(lambda: bool(feed.store.snapshot().now_ns))
            with blind(source._require_open().program):
                client, accepted = pair(server)
            reset(client)
            until_closed(accepted)
            accepted.close()
            feed.until(lambda: feed.store.snapshot().loss.skipped > 0)
            loss = feed.store.snapshot().loss
            assert (loss.skipped, loss.lost, loss.missed) == (2, 2, 0)
        finally:
            feed.close()


def ss(rport: int) -> set[tuple[str, int]]:
    """State and local port of what ``ss`` shows at this remote port."""
    told = subprocess.run(["ss", "-tanH", f"dport = :{rport}"], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in told.splitlines()]
    return {(_STATES[state], int(local.rpartition(":")[2])) for state, _, _, local, *_ in words}


_STATES = {"ESTAB": "ESTABLISHED", "FIN-WAIT-2": "FIN_WAIT2", "TIME-WAIT": "TIME_WAIT"}


def test_one_from_before_that_was_met_before_the_first_dump_is_no_loss(bpf_possible: None) -> None:
    """Its entry was made when no dump had given it a cookie yet, and its first transition is its last."""
    with listening() as server:
        client, accepted = pair(server)

        def talk() -> None:
            client.sendall(b"x")
            accepted.recv(1)
            accepted.sendall(b"y")
            client.recv(1)

        feed = Running(BpfSource(SMALL, Capture()), SMALL, talk)
        try:
            feed.until(lambda: bool(feed.store.snapshot().now_ns))
            here = port(client)
            reset(client)
            accepted.close()
            feed.until(lambda: path(feed.store.snapshot().log, here) == [(E, C)])
            for _ in range(2):  # what was lost comes after the table
                now_ns = time.monotonic_ns()
                feed.until(lambda now_ns=now_ns: feed.store.snapshot().now_ns > now_ns)
            assert feed.store.snapshot().loss.lost == 0
        finally:
            feed.close()


def test_after_a_loss_the_table_is_that_of_ss_within_one_period(
    bpf_possible: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections end, begin and move while nothing is traced; then two dumps put it right, the second at once."""
    with listening() as server, ExitStack() as stack:
        there = port(server)
        source = BpfSource(ROOMY, Capture(rports=frozenset({there})))
        dumps: list[None] = []
        compare = Reconciler.compare
        monkeypatch.setattr(Reconciler, "compare", lambda self, inputs: dumps.append(compare(self, inputs)))
        feed = Running(source, ROOMY)
        stack.callback(feed.close)

        def table() -> set[tuple[str, int]]:
            rows = feed.store.snapshot().rows
            return {(State(row["state"]).name, int(row["lport"])) for row in rows[rows["rport"] == there]}

        pairs = [pair(server) for _ in range(60)]
        feed.until(lambda: len(table()) == 60)
        with blind(source._require_open().program, len(_ATTACHMENTS)):
            for client, accepted in pairs[:20]:
                reset(client)
                until_closed(accepted)
                accepted.close()
            for client, accepted in pairs[20:40]:
                client.shutdown(1)
                until_closed(accepted)
                until_state(client, F2)  # the answer to its FIN may wait (delayed ACK), and would be seen then
            pairs = pairs[20:] + [pair(server) for _ in range(20)]
        for each in pairs:
            for sock in each:
                stack.enter_context(sock)
        before = len(dumps)
        truth = ss(there)
        assert len(truth) == 60
        feed.until(lambda: table() == truth)
        # one may have been under way; one doubts, one confirms
        assert len(dumps) - before <= 3
        ends, halves, beginnings = 20, 20 * 2, 20 * 2
        feed.until(lambda: feed.store.snapshot().loss.skipped == ends + halves + beginnings)
        seen = len(dumps)
        feed.until(lambda: len(dumps) > seen)
        assert not source._joiner.has_unconfirmed  # what was mended is not missed in its turn
        assert feed.store.snapshot().loss.missed == 20


# -- the real thing: softirqs in the middle of a program ------------------------------------------

_PATHS = {(C, SS): [(C, SS), (SS, E), (E, C)], (LI, SR): [(LI, SR), (SR, E), (E, C)]}
"""Of a connection that is opened, and reset by its client before the server closes."""

_GENERATOR = """
import socket, struct, sys
with socket.socket() as server:
    server.bind(("127.0.0.1", 0)); server.listen(128)
    for _ in range(int(sys.argv[1])):
        client = socket.create_connection(server.getsockname()); accepted, _ = server.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); client.close()
        try: accepted.recv(1)
        except ConnectionResetError: pass
        accepted.close()
"""


def lives(rows: Rows) -> Iterator[list[tuple[State, State]]]:
    """The moves of each socket from its birth, or from where it was met, to its end."""
    rows = rows[np.lexsort((rows["ts_ns"], rows["skaddr"]))]
    life: list[tuple[State, State]] = []
    before = 0
    for skaddr, old, new in zip(*(rows[name].tolist() for name in ("skaddr", "oldstate", "newstate")), strict=True):
        move = (State(old), State(new))
        if life and (skaddr != before or move in _PATHS or life[-1][1] == C):
            yield life
            life = []
        life.append(move)
        before = skaddr
    yield life


def unseen(life: list[tuple[State, State]]) -> tuple[int, int]:
    """How many of its moves are missing before the first that is there, and after it; fails on one that comes twice."""
    path = next(path for path in _PATHS.values() if set(life) <= set(path))
    assert life == [move for move in path if move in life]
    return path.index(life[0]), len(path) - path.index(life[0]) - len(life)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="nobody else to interrupt")
def test_what_the_kernel_skips_is_caught_and_nothing_comes_twice(bpf_possible: None) -> None:
    """Packets handed from CPU to CPU (RPS) come in the middle of whatever runs there: of our programs too."""
    tracer = require_bpf(ROOMY)
    if "recursion_misses:" not in Path(f"/proc/self/fdinfo/{tracer._compiled.functions['set_state']}").read_text():
        tracer.close()
        pytest.skip("this kernel does not count what it skips (5.12 on)")
    with in_namespace() as (inside, _), cgroup() as group:
        rps = "echo 3 > /sys/class/net/lo/queues/rx-0/rps_cpus"
        subprocess.run([*inside, "sh", "-c", rps], check=True)
        # of nobody else: the counters are the host's
        tracer.attach(Capture(cgroups=frozenset({group.stat().st_ino})))
        generator = in_cgroup(group, *inside, sys.executable, "-c", _GENERATOR, "2000")
        parts: list[Rows] = []
        try:
            for _ in range(10):
                running = [subprocess.Popen(generator) for _ in range(2)]
                while None in [one.poll() for one in running]:
                    parts.append(tracer.transitions.read())
                    tracer.ended.read()
                if tracer.recursion_misses() > 20:
                    break
            parts.append(tracer.transitions.read())
            rows = np.concatenate(parts)
            counts, misses = tracer.counters.read(), tracer.recursion_misses()
            left = entries_of(tracer)[1]
        finally:
            tracer.close()
    assert misses > 20
    assert counts[counters.RING_FULL] == 0
    assert counts[counters.CAUGHT] == (rows["flags"] & Flag.DELAYED != 0).sum()
    assert counts[counters.CAUGHT] <= misses
    listeners = (rows["newstate"] == LI) | (rows["oldstate"] == LI) & (rows["newstate"] == C)
    before, after = map(sum, zip(*map(unseen, lives(rows[~listeners])), strict=True))
    # an end that nobody was told of shows when the address is used again, or to sock_diag; and a beginning
    # only where the entry of the address's last socket is still there
    assert after <= counts[counters.UNSEEN] + len(left) <= before + after
    assert before + after >= misses - counts[counters.CAUGHT]
