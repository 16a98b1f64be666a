"""What happened in each second: counted against what the test did."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.model.per_second import SECONDS, EventKind
from tcptop_tui.model.store import Store
from tcptop_tui.records import State
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Capture, EndedConnections, Table, Transitions
from tcptop_tui.widgets.panels.header import HeaderLines
from tcptop_tui.widgets.sparkline import sparkline
from tests.support.dashboard import dashboard
from tests.support.samples import NOW, SECOND, UTC, connections, sessions, transitions
from tests.support.sockets import listening, pair, port

pytestmark = pytest.mark.host


def at(second: int, **fields: int) -> dict[str, int]:
    return {"ts_ns": NOW + second * SECOND, "oldstate": State.SYN_SENT, "newstate": State.ESTABLISHED, **fields}


def table(second: int, retrans: int = 0) -> Table:
    return Table(connections({"retrans": retrans}), NOW + second * SECOND, UTC + second * SECOND)


def beat(store: Store, which: EventKind, last: int) -> list[float]:
    return store.snapshot().per_second[which][-last:].tolist()


def test_each_second_has_its_own() -> None:
    store = Store(Settings())
    store.apply(table(0))
    store.apply(Transitions(transitions(at(0), at(0), at(2), at(2, newstate=State.CLOSE, err=111))))
    store.apply(
        EndedConnections(sessions({"end_ns": NOW + SECOND}, {"end_ns": NOW + SECOND, "rport": 0}))
    )  # one a listener
    store.apply(table(3))
    assert beat(store, EventKind.TRANSITIONS, 3) == [2, 0, 2]
    assert beat(store, EventKind.OPENED, 3) == [2, 0, 1]
    assert beat(store, EventKind.FAILED, 3) == [0, 0, 1]
    assert beat(store, EventKind.CLOSED, 3) == [0, 1, 0]
    assert all(map(math.isnan, store.snapshot().per_second[EventKind.TRANSITIONS][:-3]))  # before the start


def test_the_present_second_waits_until_it_is_over() -> None:
    store = Store(Settings())
    store.apply(table(0))
    store.apply(Transitions(transitions(at(1))))
    store.apply(table(1))
    assert beat(store, EventKind.TRANSITIONS, 1) == [0]
    store.apply(table(2))
    assert beat(store, EventKind.TRANSITIONS, 1) == [1]


def test_seconds_that_are_not_read_yet_are_unknown() -> None:
    """The rings are behind the table: what is not read is not 0, and the header says by how much."""
    store = Store(Settings())
    store.apply(table(0))
    store.apply(Transitions(transitions(at(1), at(1))))
    store.apply(replace(table(15), events_ns=NOW + 2 * SECOND))
    assert store.snapshot().behind_s == 13
    known = store.snapshot().per_second[EventKind.TRANSITIONS][-15:]
    assert known[:2].tolist() == [0, 2]
    assert np.isnan(known[2:]).all()
    assert math.isnan(store.snapshot().transitions_per_s)
    store.apply(replace(table(21), events_ns=NOW + 21 * SECOND - 10**8))
    assert (store.snapshot().behind_s, beat(store, EventKind.TRANSITIONS, 2)) == (0, [0, 0])


def test_old_seconds_fall_out() -> None:
    store = Store(Settings())
    store.apply(table(0))
    store.apply(Transitions(transitions(at(0))))
    store.apply(table(SECONDS + 5))
    assert store.snapshot().per_second.shape == (len(EventKind), SECONDS)
    assert store.snapshot().per_second.sum() == 0
    store.apply(Transitions(transitions(at(0))))  # comes too late
    assert store.snapshot().per_second.sum() == 0


def test_retransmits_are_counted_once_whether_the_connection_lives_or_not() -> None:
    store = Store(Settings())
    store.apply(table(0, retrans=5))  # from before the start
    store.apply(table(1, retrans=7))
    store.apply(table(2, retrans=7))
    store.apply(EndedConnections(sessions({"end_ns": NOW + 2 * SECOND, "retrans": 8})))
    store.apply(Table(connections(), NOW + 3 * SECOND, UTC))
    store.apply(Table(connections(), NOW + 4 * SECOND, UTC))
    assert beat(store, EventKind.RETRANS, 3) == [2, 0, 1]


def test_what_nobody_sent_again_is_not_counted() -> None:
    """TIME_WAIT has its connection's number a second time; a wider capture brings old ones, a narrower takes some."""
    store, one = Store(Settings()), {"retrans": 5}
    other = {"retrans": 7, "rport": 1}
    waiting = other | {"state": State.TIME_WAIT, "id": 3}
    for second, rows in enumerate([(one, other), (one,), (one, waiting), (one,), (one, other | {"id": 4})]):
        if second == 1:
            store.apply(EndedConnections(sessions(other | {"end_ns": NOW + SECOND})))
        store.apply(Table(connections(*rows), NOW + second * SECOND, UTC))
    for second, retrans in ((5, 6), (6, 8), (7, 8)):  # smaller than the sum that once was
        store.apply(table(second, retrans))
    assert beat(store, EventKind.RETRANS, 7) == [0, 0, 0, 0, 0, 1, 2]


def test_retransmits_of_connections_that_lived_between_two_tables_or_ended_a_table_late() -> None:
    store = Store(Settings())
    late = {"retrans": 7, "rport": 1, "id": 2}
    store.apply(Table(connections({}, late), NOW, UTC))
    store.apply(EndedConnections(sessions({"born_ns": NOW + 1, "retrans": 3, "rport": 2}, {"retrans": 50, "rport": 3})))
    store.apply(Table(connections({}), NOW + SECOND, UTC))
    store.apply(EndedConnections(sessions(late | {"retrans": 9})))
    born = {"born_ns": NOW + SECOND, "retrans": 4, "rport": 4, "id": 5}
    store.apply(Table(connections({}, born), NOW + 2 * SECOND, UTC))
    store.apply(Table(connections({}, born), NOW + 3 * SECOND, UTC))
    assert beat(store, EventKind.RETRANS, 2) == [3, 2 + 4]  # the 50 are from before the start


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 0, 0], "  ▁▁▁"), ([1, 0, 100], "  ▂▁█"), ([math.nan, 7, 14], "   ▅█"),
        ([9, 1, 2, 3, 4, 5], "▃▄▆▇█"), ([], "     "),
    ],
)  # fmt: skip
def test_a_sparkline(values: list[float], shown: str) -> None:
    assert sparkline(values, 5) == shown


async def test_a_large_number_does_not_touch_the_next_name() -> None:
    async with dashboard() as board:
        frame = board.app.frame
        busy = np.full((len(EventKind), 8), 187_297.0)
        board.app.panel(HeaderLines).show(replace(frame, snapshot=replace(frame.snapshot, per_second=busy)))
        words = board.header.splitlines()[2].split()
        assert words[:6] == ["failed/s", "███████", "187,297", "retrans/s", "███████", "187,297"]


def test_on_the_real_kernel(bpf_possible: None) -> None:
    """Known numbers of connections that open, close, and fail."""
    store, seen = Store(Settings()), threading.Condition()

    class Into:
        def offer(self, batch: Batch) -> bool:
            with seen:
                store.apply(batch)
                seen.notify_all()
            return True

    def until(enough: Callable[[], bool]) -> None:
        with seen:
            assert seen.wait_for(enough, 20)

    total = lambda which: float(np.nansum(store.snapshot().per_second[which]))  # noqa: E731
    with listening() as listener, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: refused
        ports = frozenset({port(listener), port(closed)})
        source = BpfSource(Settings(refresh_s=0.2), Capture(rports=ports))
        source.open()
        ended = threading.Event()
        worker = threading.Thread(target=source.run, args=(Into(), ended.wait))
        worker.start()
        try:
            until(lambda: store.snapshot().now_ns > 0)
            for _ in range(5):
                for end in pair(listener):
                    end.close()
            for _ in range(3):
                with socket.socket() as client, pytest.raises(ConnectionRefusedError):
                    client.connect(closed.getsockname())
            until(lambda: total(EventKind.FAILED) > 0 and total(EventKind.CLOSED) >= 8)
        finally:
            ended.set()
            worker.join()
            source.close()
    assert (total(EventKind.OPENED), total(EventKind.FAILED)) == (5, 3)
    assert total(EventKind.CLOSED) == 5 + 3
