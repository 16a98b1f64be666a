"""The way from the thread to the loop is bounded on the thread's side."""

from __future__ import annotations

import asyncio

from tcptop_tui.stream.batches import Loss, Status, Table, Transitions
from tcptop_tui.stream.queue import BatchQueue
from tests.support.samples import NOW, UTC, connections, transitions


async def test_what_does_not_fit_is_refused_until_there_is_room() -> None:
    queue = BatchQueue(asyncio.get_running_loop(), 3, 1 << 20)
    batch = Transitions(transitions({}))
    # the loop does not run in between, as if it were blocked
    taken = [queue.offer(batch) for _ in range(10)]
    assert taken == [True] * 3 + [False] * 7
    assert queue.offer(Loss())
    assert queue.offer(Status("bpf"))
    assert await queue.get() is batch
    assert not queue.offer(batch)  # two and the two small ones are still there
    for _ in range(4):
        await queue.get()
    assert queue.offer(batch)


async def test_bytes_count_too() -> None:
    """64 batches of what full rings hold would be a gigabyte."""
    batch = Transitions(transitions({}, {}))
    queue = BatchQueue(asyncio.get_running_loop(), 1000, 3 * batch.rows.nbytes)
    assert [queue.offer(batch) for _ in range(5)] == [True] * 3 + [False] * 2
    assert queue.offer(Table(connections({}), NOW, UTC))
    assert queue.offer(Status("bpf"))
    await queue.get()
    assert [queue.offer(batch), queue.offer(batch)] == [True, False]
    tiny = BatchQueue(asyncio.get_running_loop(), 1000, 1)
    assert [tiny.offer(batch), tiny.offer(batch)] == [True, False]  # one always goes, or it would wait for ever
    await tiny.get()
    assert tiny.offer(batch)


async def test_only_the_latest_table_is_worth_anything() -> None:
    queue = BatchQueue(asyncio.get_running_loop(), 3, 1 << 20)
    table = Table(connections({}), NOW, UTC)
    assert [queue.offer(table), queue.offer(table)] == [True, False]
    assert await queue.get() is table
    assert queue.offer(table)


async def test_from_a_thread() -> None:
    queue = BatchQueue(asyncio.get_running_loop(), 1000, 1 << 20)
    offered = asyncio.to_thread(lambda: [queue.offer(Status(str(number))) for number in range(500)])
    task = asyncio.create_task(offered)
    seen = [await queue.get() for _ in range(500)]
    assert all(await task)
    assert seen == [Status(str(number)) for number in range(500)]


async def test_a_closed_loop_takes_nothing() -> None:
    loop = asyncio.new_event_loop()
    queue = BatchQueue(loop, 3, 1 << 20)
    loop.close()
    assert not queue.offer(Status("bpf"))
