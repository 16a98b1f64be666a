"""What is known of an entry from the reading before is what would be found out about it now; memory is used again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import NOW, SECOND, connections, rows_of

from tcptop_tui.bpf.join import Joiner
from tcptop_tui.bpf.rooms import Rooms
from tcptop_tui.diag.dump import Dump
from tcptop_tui.records import CONN, DUMPED, ROW, Rows, State

pytestmark = pytest.mark.apart

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
)


def reading(given_: list[dict[str, Any]]) -> tuple[np.ndarray, Rows]:
    rows = connections(*given_)
    conns = np.zeros(len(rows), CONN)
    for name in CONN.names or ():
        conns[name] = rows[name]
    return rows["skaddr"].copy(), conns


def as_in_the_kernel(ends: dict[tuple[int, int], Any], now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A connection that has been opened keeps its ends, and is not opened again; ``ends`` are those seen so far."""
    made = []
    for one in now:
        life = (one["skaddr"], one["born_ns"])
        if life in ends:
            one = one | ends[life] | ({"state": State.ESTABLISHED} if one["state"] in OPENING else {})  # noqa: PLW2901
        elif one["state"] not in OPENING:
            ends[life] = {"lport": one["lport"], "rport": one["rport"]}
        made.append(one)
    return made


def dump_of(sockets: list[dict[str, Any]], number: int) -> Dump:
    rows = rows_of(DUMPED, *({"born_ns": 0, "state_ns": 0} | one for one in sockets))
    rows["id"] = rows["skaddr"] = 0
    return Dump(rows, np.zeros(len(rows), "u4"), NOW + number, frozenset([NETNS]))


@given(st.lists(step, min_size=1, max_size=6))
def test_carried_over_or_found_out_anew_is_the_same(steps: list[tuple[list[dict[str, Any]], Any]]) -> None:
    one, forgetful = Joiner(), Joiner()
    ends: dict[tuple[int, int], Any] = {}
    for number, (entries, sockets) in enumerate(steps):
        present = as_in_the_kernel(ends, entries)
        if sockets is not None:
            for joiner in (one, forgetful):
                joiner.take_dump(dump_of(sockets, number), *reading(present))
        known = forgetful._entries
        forgetful._entries = replace(known, settled=np.zeros(len(known.which), np.bool_))
        assert one.table(*reading(present)).tobytes() == forgetful.table(*reading(present)).tobytes()


def test_a_table_that_somebody_looks_at_is_not_written_over() -> None:
    rooms, kept = Rooms(), []
    for number in range(5):
        table = rooms.take(100)
        table["id"] = number
        kept.append(table["id"])  # a view of it, as panels and rates have
    assert [set(column.tolist()) for column in kept] == [{0}, {1}, {2}, {3}, {4}]


def test_memory_is_used_again_when_nobody_does() -> None:
    rooms = Rooms()
    places = set()
    for count in (100, 101, 99, 103, 100):
        table = rooms.take(count)
        assert (len(table), table.dtype) == (count, ROW)
        places.add(table.ctypes.data)
        del table
    assert len(places) == 1
    assert len(rooms.take(100_000)) == 100_000
    assert sum(map(len, rooms._rooms)) < 110_000 * ROW.itemsize  # the small one is gone
