"""The polled source: real connections between polls, and made-up dumps where the kernel is too quick."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import numpy as np
import pytest

from tcptop_tui.diag.source import DiagSource
from tcptop_tui.host.socket_holders import OWNER
from tcptop_tui.records import ENDED, TRANSITION, UNKNOWN_NS, Flag, Rows, State
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Capture, EndedConnections, Loss, Names, Status, Table, Transitions
from tcptop_tui.stream.identity import tuple_hash
from tests.support.samples import SECOND
from tests.support.sockets import listening, pair, port, reset, until_closed, until_state

pytestmark = pytest.mark.host

FAST = Settings(refresh_s=0.0)
E, CW, TW, F1, F2 = State.ESTABLISHED, State.CLOSE_WAIT, State.TIME_WAIT, State.FIN_WAIT1, State.FIN_WAIT2
GONE, NEW = State.CLOSE, State.CLOSE


class Steps:
    """A sink, and the pauses between polls: in each one of ``actions`` is done, then one last poll."""

    def __init__(self, *actions: Callable[[], object], refuse: tuple[type, ...] = ()) -> None:
        self.actions = list(actions)
        self.refuse = refuse
        self.batches: list[Batch] = []

    def offer(self, batch: Batch) -> bool:
        if isinstance(batch, self.refuse):
            return False
        self.batches.append(batch)
        return True

    def stopped(self, _seconds: float) -> bool:
        if not self.actions:
            return True
        self.actions.pop(0)()
        return False

    def every(self, kind: type[Transitions | EndedConnections]) -> Rows:
        rows = [batch.rows for batch in self.batches if isinstance(batch, kind)]  # type: ignore[attr-defined]
        return np.concatenate([np.zeros(0, TRANSITION if kind is Transitions else ENDED), *rows])

    def tables(self) -> list[Rows]:
        return [batch.rows for batch in self.batches if isinstance(batch, Table)]

    def run(self, settings: Settings = FAST, capture: Capture | None = None) -> None:
        source = DiagSource(settings, capture or Capture(), "a reason")
        source.open()
        try:
            source.run(self, self.stopped)
        finally:
            source.close()
            source.close()


def moves(rows: Rows) -> list[tuple[State, State]]:
    return [(State(int(row["oldstate"])), State(int(row["newstate"]))) for row in rows]


def of(rows: Rows, lport: int, rport: int) -> Rows:
    return rows[(rows["lport"] == lport) & (rows["rport"] == rport)]


def nothing() -> None:
    """Let a poll pass."""


def only(*ports: int) -> Capture:
    return Capture(lports=frozenset(ports))


def test_a_life_is_seen_from_poll_to_poll() -> None:
    with listening() as server:
        ends: list[socket.socket] = []

        def opens() -> None:
            ends.extend(pair(server))
            client, accepted = ends
            client.sendall(b"x" * 300)
            accepted.recv(300, socket.MSG_WAITALL)

        def ends_halfway() -> None:
            client, accepted = ends
            accepted.shutdown(socket.SHUT_WR)
            until_closed(client)
            until_state(accepted, F2)

        def closes() -> None:
            client, accepted = ends
            reset(client)
            until_closed(accepted)
            accepted.close()

        steps = Steps(opens, ends_halfway, closes)
        before_ns = time.monotonic_ns()
        steps.run(capture=only(port(server)))
        assert steps.batches[0] == Status("diag", "a reason", stage="reading sockets")
        seen = steps.every(Transitions)
        assert moves(seen) == [(NEW, E), (E, F2), (F2, GONE)]
        assert (seen["flags"] == Flag.POLLED | Flag.GAUGES).all()
        assert seen["rx_bytes"].tolist() == [300, 300, 300]
        times = [int(ns) for ns in seen["ts_ns"]]
        assert before_ns < times[0] < times[1] < times[2] < time.monotonic_ns()
        assert seen["born_ns"].tolist() == [times[0]] * 3
        assert seen["time_in_state_ns"].tolist() == [UNKNOWN_NS, times[1] - times[0], times[2] - times[1]]
        ended = steps.every(EndedConnections)
        assert ended[["end_ns", "born_ns", "rx_bytes"]].tolist() == [(times[2], times[0], 300)]


def test_what_was_there_before_has_no_age_and_did_not_move() -> None:
    with listening() as server:
        client, accepted = pair(server)
        steps = Steps(nothing)
        steps.run()
        for rows in steps.tables():
            row = of(rows, port(client), port(server))
            assert row[["born_ns", "state_ns", "pid", "uid"]].tolist() == [(0, 0, os.getpid(), os.getuid())]
        assert not len(of(steps.every(Transitions), port(client), port(server)))
        reset(client)
        accepted.close()


def test_the_table_is_sorted_and_ids_last() -> None:
    with listening() as server:
        ends = [sock for _ in range(10) for sock in pair(server)]
        more: list[socket.socket] = []
        steps = Steps(lambda: more.extend(pair(server)), nothing)
        steps.run()
        tables = steps.tables()
        for rows in tables:
            assert (np.diff(rows["id"].astype(np.int64)) > 0).all()
        mine = [dict(zip(tuple_hash(rows).tolist(), rows["id"].tolist(), strict=True)) for rows in tables]
        here = tables[0][np.isin(tables[0]["lport"], [port(sock) for sock in ends[::2]])]
        here = here[here["rport"] == port(server)]
        assert len(here) == 10
        for key in tuple_hash(here).tolist():
            assert mine[0][key] == mine[1][key] == mine[2][key]
        now = [batch for batch in steps.batches if isinstance(batch, Table)][-1]
        assert abs((time.time_ns() - now.utc_ns) - (time.monotonic_ns() - now.now_ns)) < SECOND
        for sock in ends + more:
            reset(sock)


def test_time_wait_is_the_connections_last_part() -> None:
    with listening() as server:
        client, accepted = pair(server)
        client.sendall(b"x" * 40)
        accepted.recv(40, socket.MSG_WAITALL)
        here, there = port(client), port(server)

        def ends() -> None:
            client.shutdown(socket.SHUT_WR)
            until_closed(accepted)
            accepted.close()
            until_closed(client)
            client.close()

        steps = Steps(nothing, ends, nothing)
        steps.run()
        first, *_, last = (of(rows, here, there) for rows in steps.tables())
        for name in ("id", "pid", "comm", "uid", "tx_bytes", "flags"):
            assert first[name].tolist() == last[name].tolist()
        assert (last["tx_bytes"][0], last["pid"][0]) == (40, os.getpid())
        seen = of(steps.every(Transitions), here, there)
        assert moves(seen) == [(E, TW)]
        assert last["state_ns"][0] <= seen["ts_ns"][0]


def test_a_connection_too_short_for_polls_leaves_its_time_wait() -> None:
    with listening() as server:
        short: list[int] = []

        def happens() -> None:
            client, accepted = pair(server)
            short.append(port(client))
            client.shutdown(socket.SHUT_WR)
            until_closed(accepted)
            accepted.close()
            until_closed(client)
            client.close()

        steps = Steps(happens)
        steps.run()
        assert moves(of(steps.every(Transitions), short[0], port(server))) == [(NEW, TW)]
        row = of(steps.tables()[-1], short[0], port(server))[0]
        assert 0 < row["born_ns"] <= row["state_ns"]


def test_an_orphan_keeps_its_process() -> None:
    """FIN_WAIT1 with data that the peer has no room for: closed by its process, alive in the kernel."""
    with listening() as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)

        def closes() -> None:
            client.setblocking(False)
            try:
                while True:
                    client.send(bytes(65536))
            except BlockingIOError:
                client.close()

        steps = Steps(closes)
        steps.run()
        row = of(steps.tables()[-1], here, there)[0]
        assert (row["state"], row["pid"], row["uid"]) == (F1, os.getpid(), os.getuid())
        reset(accepted)


def test_listeners_come_and_go_each_for_itself() -> None:
    opened: list[socket.socket] = []

    def listen() -> None:
        for _ in range(2):
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("127.0.0.1", port(opened[0]) if opened else 0))
            server.listen()
            opened.append(server)

    listen()
    steps = Steps(nothing, lambda: opened.pop().close(), nothing)
    steps.run(capture=only(port(opened[0])))
    assert [len(set(rows["id"].tolist())) for rows in steps.tables()] == [2, 2, 1, 1]
    assert moves(steps.every(Transitions)) == [(State.LISTEN, GONE)]
    opened.pop().close()


def test_a_pid_filter_makes_no_endings_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of nobody that is known is not shown; that it is another process's is not its end."""
    with listening() as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        source = DiagSource(FAST, Capture(pids=frozenset({os.getpid() + 1})))
        answers = iter([0, 0, os.getpid()])

        def resolve(inodes: np.ndarray) -> np.ndarray:
            found = np.zeros(len(inodes), OWNER)
            found["pid"] = next(answers)
            return found

        monkeypatch.setattr(source._owners, "resolve", resolve)
        steps = Steps(nothing, nothing)
        source.open()
        source.run(steps, steps.stopped)
        source.close()
        assert [len(of(rows, here, there)) for rows in steps.tables()] == [0, 0, 0]
        assert not len(of(steps.every(EndedConnections), here, there))
        assert not len(of(steps.every(Transitions), here, there))
        reset(client)
        accepted.close()


def test_what_is_refused_comes_later_in_order_and_the_excess_is_counted() -> None:
    with listening() as server:
        ends: list[socket.socket] = []
        steps = Steps(refuse=(Transitions, EndedConnections, Table))

        def close_all() -> None:
            while ends:
                reset(ends.pop())

        def read_again() -> None:
            steps.refuse = ()

        steps.actions = [lambda: ends.extend(sock for _ in range(6) for sock in pair(server)), close_all, read_again]
        steps.run(Settings(refresh_s=0.0, log_rows=8, session_rows=4), only(port(server)))
        batches = [batch for batch in steps.batches[1:] if not isinstance(batch, Names)]
        assert [type(batch) for batch in batches] == [Loss, EndedConnections, Transitions, Table]
        assert batches[0] == Loss(ring_full=4, sessions_ring_full=2)  # of 6 that came and 6 that went; of 6
        assert moves(steps.every(Transitions)) == [(NEW, E)] * 2 + [(E, GONE)] * 6
        assert len(steps.every(EndedConnections)) == 4


def test_run_needs_open() -> None:
    steps = Steps()
    with pytest.raises(RuntimeError):
        DiagSource(FAST, Capture()).run(steps, steps.stopped)
