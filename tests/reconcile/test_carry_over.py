"""What is known of an entry from the reading before is what would be found out about it now; memory is used again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.diag.dump import Dump
from tcptop_tui.reconcile.entry_digests import entry_digests
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.reconcile.slot_reading import SlotReading
from tcptop_tui.reconcile.table_buffers import TableBufferPool
from tcptop_tui.records import CONN, CONN_WITHOUT_HIST, DUMP_ROW, ROW, Rows, State
from tcptop_tui.row_copy import leading_fields
from tcptop_tui.stream.histograms import HistogramStore
from tests.support.samples import NOW, SECOND, entries, rows_of

NETNS = 1
STATES = [State.SYN_SENT, State.SYN_RECV, State.ESTABLISHED, State.CLOSE_WAIT, State.LISTEN, State.CLOSE]
OPENING = {State.SYN_SENT, State.SYN_RECV}

entry = st.fixed_dictionaries(
    {
        "skaddr": st.integers(1, 6),
        "born_ns": st.sampled_from([0, NOW - SECOND, NOW + SECOND]),
        "state": st.sampled_from(STATES),
        "lport": st.sampled_from([0, 22, 80]),
        "rport": st.sampled_from([0, 50_000, 50_001]),
        "pid": st.sampled_from([0, 7]),
        "tx_bytes": st.integers(0, 3),
        "cookie": st.sampled_from([0, 1, 2, 3]),  # without a port its inode
    }
)
dumped = st.fixed_dictionaries(
    {
        "cookie": st.integers(1, 8),
        "state": st.sampled_from([State.ESTABLISHED, State.SYN_SENT, State.TIME_WAIT, State.LISTEN]),
        "lport": st.sampled_from([22, 80, 1001]),
        "rport": st.sampled_from([50_000, 50_001]),
        "pid": st.sampled_from([0, 7]),
        "tx_bytes": st.integers(0, 3),
    }
)
step = st.tuples(
    st.lists(entry, max_size=5, unique_by=lambda one: one["skaddr"]),
    st.none() | st.lists(dumped, max_size=4, unique_by=lambda one: one["cookie"]),
    st.booleans(),
)


def reading(given_: list[dict[str, Any]]) -> tuple[np.ndarray, Rows]:
    keys, conns = entries(*given_)
    conns["rtt_hist"][:, 3] = conns["tx_bytes"]
    return keys, conns


@dataclass
class Life:
    """What stays of a connection."""

    ends: dict[str, int] = field(default_factory=dict)
    opened: bool = False
    inode: int | None = None
    """Of a listener."""


def as_in_the_kernel(lives: dict[tuple[int, int], Life], now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A connection keeps the ends that it has, all of them once it is open, and is not opened again.

    A listener is one until it closes, and nothing becomes one.
    """
    made = []
    for one in now:
        state, listens = one["state"], one["state"] == State.LISTEN
        life = lives.setdefault((one["skaddr"], one["born_ns"]), Life(inode=one["cookie"] if listens else None))
        if life.inode is not None:
            state = State.CLOSE if state == State.CLOSE else State.LISTEN
            one |= {"cookie": life.inode}
        elif listens or (life.opened and state in OPENING):
            state = State.ESTABLISHED
        made.append(one | life.ends | {"state": state})
        life.opened |= state not in OPENING
        life.ends |= {name: made[-1][name] for name in ("lport", "rport") if made[-1][name] or life.opened}
    return made


def dump_of(sockets: list[dict[str, Any]], number: int) -> Dump:
    rows = rows_of(DUMP_ROW, *({"born_ns": 0, "state_ns": 0} | one for one in sockets))
    rows["id"] = 0
    return Dump(rows, rows["cookie"].astype("u4"), NOW + number, frozenset([NETNS]))


class Places:
    """Slots as the kernel side gives them away, and which of them have been written to."""

    def __init__(self) -> None:
        self.slots = np.zeros(16, [("skaddr", "<u8"), ("conn", CONN)])
        self.moved: set[int] = set()

    def write(self, given_: list[dict[str, Any]], *, elsewhere: bool) -> None:
        """These entries are there now; ``elsewhere``: all have been taken away and have come back in other slots."""
        keys, conns = reading(given_)
        before, there = self.slots.copy(), self.slots["skaddr"].tolist()
        self.slots["skaddr"] = 0
        free = [number for number in range(15, -1, -1) if elsewhere or there[number] not in keys]
        for key, conn in zip(keys.tolist(), conns, strict=True):
            number = free.pop() if elsewhere or key not in there else there.index(key)
            self.slots[number] = key, conn
        self.moved |= {number for number in range(16) if self.slots[number].tobytes() != before[number].tobytes()}

    def news(self, besides: Iterable[int]) -> SlotReading:
        numbers = np.array(sorted(self.moved.union(besides)), np.intp)
        self.moved.clear()
        hists = self.slots["conn"]["rtt_hist"] * (self.slots["skaddr"] != 0)[:, None]
        conns = leading_fields(self.slots["conn"][numbers], CONN_WITHOUT_HIST)
        return SlotReading(16, numbers, self.slots["skaddr"][numbers], conns, HistogramStore.from_array(hists))


def forget(joiner: Joiner) -> None:
    """All but who is who."""
    joiner._slot_state._is_complete[:] = False
    joiner._dump.in_table[:] = False
    joiner._table_builder._ids = np.zeros(1, "<u8")  # nobody has this one
    joiner._table_builder._buffers = TableBufferPool()


@given(st.lists(step, min_size=1, max_size=8), st.integers(0, 2))
def test_carried_over_or_found_out_anew_is_the_same(
    steps: list[tuple[list[dict[str, Any]], Any, bool]], looked_at: int
) -> None:
    one, forgetful, places = Joiner(), Joiner(), Places()
    lives: dict[tuple[int, int], Life] = {}
    tables: list[Rows] = []
    samples: list[tuple[Any, list[int], tuple[HistogramStore, HistogramStore]]] = []
    for number, (now, sockets, elsewhere) in enumerate(steps):
        present = as_in_the_kernel(lives, now)
        places.write(present, elsewhere=elsewhere)
        if sockets is not None:
            for joiner in (one, forgetful):
                joiner.reconcile(dump_of(sockets, number), entry_digests(*reading(present)))
        forget(forgetful)
        known = one.make_table(places.news(one.slots_to_reread.tolist()))
        assert known.tobytes() == forgetful.make_table(places.news(range(16))).tobytes()
        lie_in = known["hist"].astype(np.intp) - 1
        counts = np.where(lie_in < 0, 0, places.slots["conn"]["rtt_hist"][lie_in, 3])
        samples.append((known["hist"].copy(), counts.tolist(), (one.hists, forgetful.hists)))
        for numbers, had, (hists, others) in samples:  # those of older tables stay what they were
            assert hists.column(3, numbers).tolist() == others.column(3, numbers).tolist() == had
        assert (known["id"][1:] > known["id"][:-1]).all()
        # who looks at older tables still makes that other memory is used
        tables = [*tables, known][len(tables) + 1 - looked_at :]


def test_nothing_new_is_the_same_table() -> None:
    joiner, places = Joiner(), Places()
    joiner.reconcile(dump_of([{"cookie": 1, "lport": 22}], 0), entry_digests(*reading([])))
    places.write([{"skaddr": 1, "lport": 80}], elsewhere=False)
    first = joiner.make_table(places.news(joiner.slots_to_reread.tolist()))
    assert first["lport"].tolist() == [22, 80]
    assert joiner.make_table(places.news(joiner.slots_to_reread.tolist())) is first
    joiner.reconcile(dump_of([{"cookie": 1, "lport": 22}], 1), entry_digests(*reading([{"skaddr": 1, "lport": 80}])))
    assert joiner.make_table(places.news(joiner.slots_to_reread.tolist())) is first
    places.write([{"skaddr": 1, "lport": 80, "tx_bytes": 7}], elsewhere=False)
    assert joiner.make_table(places.news(joiner.slots_to_reread.tolist()))["tx_bytes"].tolist()[1] == 7
    assert first["tx_bytes"][1] != 7


def test_a_table_that_an_array_refers_to_is_not_written_over() -> None:
    pool, columns = TableBufferPool(), []
    for number in range(5):
        _, table = pool.acquire(100)
        table["id"] = number
        columns.append(table["id"])  # a view of it, as panels and rates have
    assert [set(column.tolist()) for column in columns] == [{0}, {1}, {2}, {3}, {4}]


def test_the_memory_of_a_table_is_used_again_when_no_array_refers_to_it() -> None:
    pool = TableBufferPool()
    addresses = set()
    for count in (100, 101, 99, 103, 100):
        buffer, table = pool.acquire(count)
        assert (len(table), table.dtype) == (count, ROW)
        addresses.add(table.ctypes.data)
        del table
    assert len(addresses) == 1
    assert len(pool.acquire(100_000)[1]) == 100_000
    assert buffer not in pool.take_free()  # the small one is gone


def test_a_connection_that_was_met_late_is_the_same_in_time_wait() -> None:
    joiner, places = Joiner(), Places()
    ends = {"lport": 22, "rport": 50_000}
    joiner.reconcile(dump_of([{"cookie": 1, "lport": 80}, {"cookie": 2} | ends], 0), entry_digests(*reading([])))
    before = joiner.make_table(places.news(joiner.slots_to_reread.tolist()))
    entry = [{"skaddr": 1, "born_ns": 0, "state": State.FIN_WAIT1} | ends]
    places.write(entry, elsewhere=False)
    late = joiner.make_table(places.news(joiner.slots_to_reread.tolist()))
    places.write([], elsewhere=False)
    closed = [{"cookie": 1, "lport": 80}, {"cookie": 2, "state": State.TIME_WAIT, "flags": 0} | ends]
    joiner.reconcile(dump_of(closed, 1), entry_digests(*reading([])))
    after = joiner.make_table(places.news(joiner.slots_to_reread.tolist()))
    assert before["id"].tolist() == late["id"].tolist() == after["id"].tolist()
    assert [table["state"].tolist()[1] for table in (late, after)] == [State.FIN_WAIT1, State.TIME_WAIT]


def test_a_listener_stays_beside_a_connection_with_its_ends() -> None:
    joiner, places = Joiner(), Places()
    ends = {"lport": 22, "rport": 50_000}
    joiner.reconcile(dump_of([{"cookie": 1, "state": State.LISTEN} | ends], 0), entry_digests(*reading([])))
    places.write([{"skaddr": 1, "born_ns": 0} | ends], elsewhere=False)
    for _ in range(2):  # the second one is made of what is carried over
        table = joiner.make_table(places.news(joiner.slots_to_reread.tolist()))
        assert table["state"].tolist() == [State.LISTEN, State.ESTABLISHED]
        assert table["id"].tolist() == [1, 2]
