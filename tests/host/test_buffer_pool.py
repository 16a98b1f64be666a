"""A buffer is nobody else's while any array refers to its memory, and is free again as soon as none does."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tcptop_tui.host.buffer_pool import Buffer, BufferPool, new_memory
from tcptop_tui.records import ROW, Rows
from tcptop_tui.row_copy import leading_fields

pytestmark = pytest.mark.hermetic

ROW_COUNT = 8
VIEWS = {
    "slice": lambda rows: rows[2:5],
    "slice of a slice": lambda rows: rows[1:][1:][:2],
    "column": lambda rows: rows["id"],
    "part of a column": lambda rows: rows["laddr"][3:, 1],
    "row": lambda rows: rows[4],
    "row of a view": lambda rows: rows[2:][0],
    "bytes": lambda rows: rows.view("u1").reshape(-1, ROW.itemsize),
    "transposed": lambda rows: rows["laddr"].T,
    "reversed": lambda rows: rows[::-1],
    "other dtype": lambda rows: leading_fields(rows, np.dtype([("id", "<u8")])),
    "memoryview": lambda rows: memoryview(rows.view("u1")),
    "from a memoryview": lambda rows: np.frombuffer(memoryview(rows.view("u1")), "u1"),
    "iterator": iter,
    "flat iterator": lambda rows: rows.flat,
    "subclass": lambda rows: rows.view(np.recarray),
    "broadcast": lambda rows: np.broadcast_to(rows["id"], (3, ROW_COUNT)),
    "window": lambda rows: np.lib.stride_tricks.sliding_window_view(rows["id"], 3),
    "cycle": lambda rows: cycle_with(rows[1:3]),
}


def cycle_with(rows: Rows) -> list[Any]:
    cycle: list[Any] = [rows]
    cycle.append(cycle)
    return cycle


def lent(pool: BufferPool[Buffer]) -> tuple[Buffer, Rows]:
    [buffer] = pool.take_free() or [Buffer(new_memory(ROW_COUNT * ROW.itemsize))]
    return buffer, pool.lend(buffer).view(ROW)


@given(st.permutations([*VIEWS, "rows"]))
def test_a_buffer_comes_back_with_the_last_view_whatever_the_order(order: list[str]) -> None:
    pool: BufferPool[Buffer] = BufferPool()
    buffer, rows = lent(pool)
    views = {name: make(rows) for name, make in VIEWS.items()} | {"rows": rows}
    del rows
    for name in order:
        assert pool.take_free() == []
        del views[name]
        if name == "cycle":
            gc.collect()
    assert pool.take_free() == [buffer]


@given(st.lists(st.tuples(st.sampled_from(sorted(VIEWS)), st.integers(0, 5)), max_size=40))
def test_no_view_sees_what_is_written_into_another_array(steps: list[tuple[str, int]]) -> None:
    """Each step lends a buffer, or makes a new one, fills it with its own number, and lets an older view die."""
    pool: BufferPool[Buffer] = BufferPool()
    views: list[tuple[int, NDArray[np.uint64]]] = []
    for number, (name, dying) in enumerate(steps):
        free = pool.take_free()
        buffer = free[0] if free else Buffer(new_memory(ROW_COUNT * ROW.itemsize))
        rows = pool.lend(buffer).view(ROW)
        rows["id"] = number
        VIEWS[name](rows)  # dies at once, or with the collector
        views.append((number, rows["id"][1:]))
        del rows
        if dying < len(views):
            views.pop(dying)
        assert all(set(ids.tolist()) == {made_in} for made_in, ids in views)


def test_a_copy_does_not_keep_a_buffer() -> None:
    pool: BufferPool[Buffer] = BufferPool()
    buffer, rows = lent(pool)
    copies = rows.copy(), rows[[1, 2]], rows["id"].astype("<u4")
    del rows
    assert pool.take_free() == [buffer]
    assert len(copies[1]) == 2


def test_a_buffer_that_comes_back_in_another_thread_is_lent_again() -> None:
    pool: BufferPool[Buffer] = BufferPool()
    buffer, rows = lent(pool)
    holder = [rows]
    del rows
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    again, rows = lent(pool)
    assert again is buffer
    assert len(rows) == ROW_COUNT


def test_no_more_free_buffers_are_kept_than_the_limit() -> None:
    pool: BufferPool[Buffer] = BufferPool(max_free=1)
    first, rows = lent(pool)
    second, others = lent(pool)
    del rows
    del others
    assert pool.take_free() == [second]
    assert first is not second


def test_a_pool_that_is_gone_leaves_no_memory_behind() -> None:
    pool: BufferPool[Buffer] = BufferPool()
    buffer, rows = lent(pool)
    memory = weakref.ref(buffer.memory.obj)
    del buffer, pool
    rows["id"] = 7
    assert rows["id"].tolist() == [7] * ROW_COUNT
    del rows
    assert memory() is None


def test_memory_of_a_new_buffer_is_not_there_before_it_is_written_to() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    buffer = Buffer(new_memory(2**28))
    assert resident() - before < 2**26
    assert len(buffer.memory) == 2**28
