"""The page of one connection: its neighbours, its past, and keys that scroll."""

from __future__ import annotations

import math

import numpy as np
import pytest
from textual.containers import VerticalScroll

from tcptop_tui.model.store import Store
from tcptop_tui.model.trends import MAX_SAMPLES, trend
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Table
from tcptop_tui.widgets.details.page import DetailScreen
from tests.support.dashboard import Dashboard, dashboard, numbered_table
from tests.support.samples import NOW, SECOND, UTC, connections


def title(board: Dashboard) -> str:
    return str(board.app.screen.query_one("#dialog").border_title)


def read(second: int, *given: dict[str, int]) -> Table:
    return Table(connections(*given), NOW + second * SECOND, UTC + second * SECOND)


def past(store: Store, row_id: int) -> list[list[float]]:
    values: list[list[float]] = trend(store.snapshot().trends, row_id).tolist()
    return values


def test_the_past_of_a_connection_is_there_before_its_page() -> None:
    store = Store(Settings())
    store.apply(read(0, {"id": 7, "srtt_us": 0}))
    store.apply(read(1, {"id": 7, "srtt_us": 80, "tx_bytes": 500, "rx_bytes": 100}, {"id": 9, "srtt_us": 5}))
    rtt, tx_rate, rx_rate = past(store, 7)
    assert (rtt[1], tx_rate[1], rx_rate[1]) == (80, 500, 100)
    assert math.isnan(rtt[0])  # no sample yet is not 0
    assert math.isnan(past(store, 9)[0][0])  # was not there
    assert all(math.isnan(value) for values in past(store, 8) for value in values)


def test_one_sample_a_second_and_a_bound() -> None:
    store = Store(Settings(trend_rows=20))
    for half_second in range(2 * MAX_SAMPLES + 20):
        at_ns = half_second * SECOND // 2
        store.apply(Table(connections({"id": 1, "srtt_us": half_second}), NOW + at_ns, UTC + at_ns))
    rtt = past(store, 1)[0]
    assert rtt == [2 * (MAX_SAMPLES + 10 - left) for left in range(20, 0, -1)]
    store.apply(read(1000, *({"id": number + 1} for number in range(50))))
    assert np.shape(past(store, 1)) == (3, 1)  # one table is kept, however large


@pytest.mark.parametrize(("forth", "back"), [("right_square_bracket", "left_square_bracket"), ("right", "left")])
async def test_neighbours(forth: str, back: str) -> None:
    async with dashboard() as board:
        ids = board.app.frame.ids[board.app.frame.row_order]
        names = [f":{50_000 + int(row_id) - 1}" for row_id in ids]  # as the table is made
        await board.press("enter")
        assert title(board).endswith(names[0])
        await board.press(back)
        assert title(board).endswith(names[0])
        await board.press(forth, forth)
        assert title(board).endswith(names[2])
        await board.press(back)
        assert title(board).endswith(names[1])


async def test_neighbours_in_groups() -> None:
    async with dashboard() as board:
        await board.press("t", "down", "enter")
        members = board.app.frame.tree.members  # type: ignore[union-attr]
        await board.press("right_square_bracket")
        assert title(board).endswith(f":{50_000 + int(board.app.frame.snapshot.rows['id'][members[1]]) - 1}")


async def test_an_ended_one_has_no_neighbours_and_says_so() -> None:
    async with dashboard() as board:
        await board.press("end", "enter")
        shown = title(board)
        await board.deliver(numbered_table(1, later_s=1))
        await board.press("left_square_bracket", "right_square_bracket")
        text = "\n".join(str(line) for line in board.app.screen._compositor.render_strips())
        assert "this connection has ended" in text
        assert title(board) == shown


async def test_the_page_scrolls_like_a_list() -> None:
    async with dashboard((80, 24)) as board:
        await board.press("enter")
        assert isinstance(board.app.screen, DetailScreen)
        page = board.app.screen.query_one("#dialog", VerticalScroll)
        await board.press("j", "j", "k")
        assert page.scroll_y == 1
        await board.press("G")
        assert page.scroll_y == page.max_scroll_y > 1
        await board.press("g")
        assert page.scroll_y == 0


async def test_two_columns_where_there_is_room() -> None:
    for size, side_by_side in (((160, 50), True), ((80, 24), False)):
        async with dashboard(size) as board:
            await board.press("enter")
            facts, histogram = (board.app.screen.query_one(name).region for name in ("#facts", "#histogram"))
            assert (facts.y == histogram.y and facts.right <= histogram.x) == side_by_side
