"""The stuck-state board: counts, ages, growth, and the way to what it counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from syrupy.assertion import SnapshotAssertion

from tcptop_tui.filters import parse
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.grouping import make_tree
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.model.store import Store
from tcptop_tui.records import Rows, State
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Table
from tcptop_tui.widgets.views.board import BoardView
from tests.support.dashboard import Dashboard, dashboard
from tests.support.samples import NOW, SECOND, UTC, connections

LEFT = {"state": State.CLOSE_WAIT, "state_ns": NOW - 900 * SECOND}


def table(*given: dict[str, Any], later_s: int = 0) -> Table:
    rows = connections(*given)
    rows["id"] = np.arange(1, len(rows) + 1)
    return Table(rows, NOW + later_s * SECOND, UTC)


MIXED = [
    *[{"comm": b"java", "pid": 7, **LEFT, "state_ns": NOW - (60 + k) * SECOND} for k in range(5)],
    *[{"comm": b"nginx"} for _ in range(40)],
    {"comm": b"nginx", **LEFT},
    {"comm": b'my "own" prog', "state": State.SYN_SENT, "state_ns": 0},
]


def board(store: Store, text: str = "") -> Rows:
    return make_frame(store.snapshot(), ViewOptions(filter=parse(text), view="board")).board


def test_counts_and_ages() -> None:
    store = Store(Settings())
    store.apply(table(*MIXED))
    made = board(store)
    assert made["comm"].tolist() == [b"java", b"nginx", b'my "own" prog']  # most stuck, then most connections
    assert made["pid"][:2].tolist() == [7, 100]
    assert made["count"][:, State.CLOSE_WAIT].tolist() == [5, 1, 0]
    assert made["count"][:, State.ESTABLISHED].tolist() == [0, 40, 0]
    assert int(made["since_ns"][0, State.CLOSE_WAIT]) == NOW - 64 * SECOND
    assert int(made["since_ns"][2, State.SYN_SENT]) == 0  # not known
    assert board(store, "comm:nginx")["count"][:, State.CLOSE_WAIT].tolist() == [1]
    assert len(board(store, "comm:nobody")) == 0


def test_a_process_is_no_name() -> None:
    """Two have one name; one has the PID of one that has ended; one still has a row with its former name."""
    store = Store(Settings())
    java, before = {"comm": b"java", **LEFT}, {"comm": b"launcher", **LEFT}
    store.apply(table(*[java | {"pid": 7, "start_ticks": 5}] * 3, before | {"pid": 7, "start_ticks": 5},
                      *[java | {"pid": 8, "start_ticks": 5}] * 2, java | {"pid": 7, "start_ticks": 9},
                      java | {"pid": 0}, before | {"pid": 0}))  # fmt: skip
    made = board(store)
    told = sorted(zip(made["pid"].tolist(), made["count"][:, State.CLOSE_WAIT].tolist(), strict=True))
    assert told == [(0, 1), (0, 1), (7, 1), (7, 4), (8, 2)]
    tree = make_tree(store.snapshot(), np.arange(9), "process", frozenset(), SortOrder("comm", descending=False))
    assert sorted(tree.member_counts.tolist()) == [1, 1, 1, 2, 4]


def test_growth_is_against_a_minute_ago() -> None:
    store = Store(Settings())
    for second in range(0, 130, 5):
        count = 10 + second // 10  # two more every 20 s
        store.apply(table(*[LEFT] * count, *[{"comm": b"sshd"}] * 3, later_s=second))
    grown = {bytes(row["comm"]): row["grown"] for row in board(store)}
    assert grown[b"nginx"][State.CLOSE_WAIT] == 6
    assert not grown[b"sshd"].any()
    store.apply(table(LEFT, later_s=131))
    (row,) = board(store)
    assert row["grown"][State.CLOSE_WAIT] < 0


async def opened(board_: Dashboard) -> BoardView:
    await board_.deliver(table(*MIXED, later_s=1))
    await board_.press("6")
    return board_.app.panel(BoardView)


async def test_enter_shows_what_is_stuck() -> None:
    async with dashboard() as board_:
        view = await opened(board_)
        assert "6 Stuck 7 connections, 3 processes" in str(view.border_title)
        assert "5" in view.render_line(1).text
        await board_.press("enter")
        assert board_.app.view_options.view == "connections"
        assert board_.row_count == 5
        await board_.press("b", "slash", "escape", "G")
        assert board_.app.view_options.view == "board"


@pytest.mark.parametrize("number", range(3))
async def test_the_filter_means_exactly_that_process(number: int) -> None:
    async with dashboard() as board_:
        await opened(board_)
        await board_.press(*["down"] * number, "enter")
        assert board_.row_count == [5, 1, 1][number]


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
async def test_as_text(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with dashboard(size) as board_:
        view = await opened(board_)
        assert "\n".join(view.render_line(y).text.rstrip() for y in range(5)) == snapshot


async def test_it_sorts_by_any_column() -> None:
    async with dashboard() as board_:
        view = await opened(board_)
        await board_.press("f6", "escape")  # most stuck first is no column
        names = lambda: [view.render_line(line).text.split()[0] for line in range(1, 4)]  # noqa: E731
        assert names() == ["java", "nginx", "my"]
        view.post_message(BoardView.HeaderClicked("established"))
        await board_.press("f12")
        assert names() == ["nginx", "java", "my"]
        await board_.press("I")
        assert names()[-1] == "nginx"
        view.post_message(BoardView.HeaderClicked("comm"))
        await board_.press("f12")
        assert names() == ["java", "my", "nginx"]
        await board_.press("f6", "escape")
        assert board_.app.view_options.orders["board"].key == "comm"
