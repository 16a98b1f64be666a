"""Views 1 to 3: connections in groups, connects, closed sessions; their models and their keys."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion
from textual.widgets import OptionList

from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.filters import MATCH_ALL, parse
from tcptop_tui.model.connect_list import Connects, make_connects
from tcptop_tui.model.connect_outcomes import OutcomeCounter
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.grouping import GROUPINGS, make_tree
from tcptop_tui.model.record_parts import FrozenParts
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.records import ENDED, ROW, TRANSITION, UNKNOWN_NS, CloseFlag, Flag, State
from tcptop_tui.stream.batches import EndedConnections, Table, Transitions
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.views.connections import ConnectionTable
from tcptop_tui.widgets.views.connects import ConnectsTable, DestinationsTable
from tcptop_tui.widgets.views.ended import EndedTable
from tcptop_tui.widgets.views.ping import PingView
from tcptop_tui.widgets.views.rtt import RttView
from tests.support.dashboard import Dashboard, dashboard, numbered_table, screen_text
from tests.support.samples import NOW, SECOND, UTC, connections, sessions, transitions

SYN, EST, CLOSE = State.SYN_SENT, State.ESTABLISHED, State.CLOSE
ACTIVE = Flag.GAUGES | Flag.ACTIVE


def outcomes() -> Transitions:
    """Two that connected, one refused, one that timed out, and something else."""
    common = {"oldstate": SYN, "flags": ACTIVE, "comm": b"curl", "pid": 7}
    return Transitions(
        transitions(
            common | {"newstate": EST, "raddr": "10.0.0.1", "rport": 443, "time_in_state_ns": 10**6, "ts_ns": NOW - 4},
            common
            | {"newstate": EST, "raddr": "10.0.0.1", "rport": 443, "time_in_state_ns": 3 * 10**6, "ts_ns": NOW - 3},
            common
            | {
                "newstate": CLOSE,
                "raddr": "10.0.0.2",
                "rport": 80,
                "err": 111,
                "time_in_state_ns": 5000,
                "ts_ns": NOW - 2,
            },
            common | {"newstate": CLOSE, "raddr": "2001:db8::1", "rport": 80, "err": 110, "ts_ns": NOW - 1},
            {"oldstate": EST, "newstate": State.CLOSE_WAIT},
        )
    )


def waiting() -> Table:
    row = {"state": SYN, "raddr": "10.0.0.2", "rport": 80, "flags": ACTIVE, "state_ns": NOW - SECOND, "comm": b"wget"}
    return Table(connections(row, {"comm": b"nginx"}), NOW, UTC)


def ended() -> EndedConnections:
    rows = sessions(
        {"state": CLOSE, "comm": b"nginx", "close_flags": CloseFlag.FIN_SENT, "rx_bytes": 5000, "rport": 1,
         "born_ns": NOW - 2 * SECOND},
        {"state": CLOSE, "comm": b"curl", "close_flags": CloseFlag.RST_RECEIVED, "reset_in": EST, "rport": 2,
        "born_ns": 0,
         "end_ns": NOW - SECOND},
        {"state": CLOSE, "comm": b"curl", "err": 111, "flags": ACTIVE, "rport": 3, "end_ns": NOW - 2 * SECOND},
        {"state": CLOSE, "comm": b"listen", "flags": Flag.LISTENER, "rport": 0},
    )  # fmt: skip
    rows["rtt_hist"][0, 4], rows["rtt_sum_us"][0] = 2, 50
    return EndedConnections(rows)


# -- models ---------------------------------------------------------------------------------------


def facts(rows: Any = None, log: Any = None) -> Snapshot:
    rows = connections() if rows is None else rows
    log = transitions() if log is None else log
    rates = np.arange(len(rows), dtype=float)
    counter = OutcomeCounter(limit=100)
    counter.add(log)
    return Snapshot(NOW, UTC, rows, rates, rates, log=log, log_total=len(log), outcomes=counter.outcomes)


def came(made: Connects) -> list[str]:
    """What came of each, in their order."""
    return BY_KEY["result"].texts(RowContext(made.rows[made.order], NOW))


def test_every_connect_has_its_result() -> None:
    made = make_connects(facts(waiting().rows, outcomes().rows), MATCH_ALL.matches, SortOrder("time"))
    assert came(made) == ["waiting", "timed out", "refused", "connected", "connected"]
    assert len(set(made.ids.tolist())) == 5
    counts = [
        (int(one["rport"]), *(int(one[name]) for name in ("connects", "failed", "waiting")))
        for one in made.destinations
    ]
    assert counts == [(80, 2, 1, 1), (80, 1, 1, 0), (443, 2, 0, 0)]
    assert made.destinations["avg_ns"][2] == 2 * 10**6
    assert np.isnan(made.destinations["avg_ns"][0])


@pytest.mark.parametrize("sort", ["time", "pid", "comm", "laddr", "lport", "raddr", "rport", "ms", "result"])
def test_connects_sort_by_every_column(sort: str) -> None:
    given = facts(waiting().rows, outcomes().rows)
    up, down = (make_connects(given, MATCH_ALL.matches, SortOrder(sort, way)).order.tolist() for way in (False, True))
    assert sorted(up) == sorted(down) == list(range(5))


def test_connects_follow_the_filter() -> None:
    made = make_connects(facts(waiting().rows, outcomes().rows), parse("raddr:10.0.0.2").matches, SortOrder("time"))
    assert came(made) == ["waiting", "refused"]


@pytest.mark.parametrize("by", GROUPINGS[1:])
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2**40), st.sampled_from([EST, SYN, State.LISTEN]), st.booleans()),
        max_size=30,
    ),
    st.sampled_from(["rx_rate", "comm", "raddr", "age", "state", "lport"]),
)
def test_groups_have_everything_once_and_their_sums(by: str, given_rows: list[Any], sort: str) -> None:
    rows = connections(
        *(
            {"comm": b"p%d" % which, "raddr": f"10.0.0.{which}", "rport": which, "rx_bytes": size, "state": state,
             "flags": Flag.GAUGES if counted else 0}
            for which, size, state, counted in given_rows
        )
    )  # fmt: skip
    every = np.arange(len(rows))
    tree = make_tree(facts(rows), every, by, frozenset(), SortOrder(sort))
    first = len(rows)
    assert tree.rows.dtype == ROW
    assert sorted(tree.order.tolist()) == list(range(first + len(tree.group_ids)))
    assert len(set(tree.group_ids.tolist())) == len(tree.group_ids)
    sums = tree.rows[first:]
    counted = (rows["flags"] & Flag.GAUGES) != 0
    assert int(sums["rx_bytes"].sum()) == int(rows["rx_bytes"][counted].sum())
    assert int(tree.member_counts.sum()) == len(rows)
    assert tree.rx_rate[first:].sum() == pytest.approx(tree.rx_rate[:first].sum())
    group = -1
    for row in tree.order.tolist():  # members stand behind their own group
        group = row - first if tree.is_group(row) else group
        assert tree.is_group(row) or tree.group_index[row] == group
    folded = make_tree(facts(rows), every, by, frozenset(tree.group_ids.tolist()), SortOrder(sort))
    assert sorted(folded.order.tolist()) == list(range(first, first + len(tree.group_ids)))


def test_groups_of_what_is_unknown_are_unknown() -> None:
    rows = connections({"flags": 0, "state": State.TIME_WAIT}, {"flags": 0, "state": State.TIME_WAIT}, {})
    rates = np.array([np.nan, np.nan, 5.0])
    tree = make_tree(
        Snapshot(NOW, UTC, rows, rates, rates), np.arange(3), "state", frozenset(), SortOrder("comm", descending=False)
    )
    known = {
        int(row["state"]): (int(row["flags"]), rate) for row, rate in zip(tree.rows[3:], tree.rx_rate[3:], strict=True)
    }
    assert known[EST] == (Flag.GAUGES, 5.0)
    assert known[State.TIME_WAIT][0] == 0
    assert np.isnan(known[State.TIME_WAIT][1])


def test_a_connect_that_went_between_two_polls_neither_connected_nor_failed() -> None:
    polled = transitions(
        {"newstate": CLOSE, "flags": Flag.POLLED}, {"newstate": State.CLOSE_WAIT, "flags": Flag.POLLED}
    )
    made = make_connects(facts(log=polled), MATCH_ALL.matches, SortOrder("time"))
    assert sorted(came(made)) == ["connected", "–"]
    assert made.destinations["failed"].sum() == 0


def test_listeners_are_no_sessions_and_averages_are_of_samples() -> None:
    shown = make_frame(
        Snapshot(NOW, UTC, ended=FrozenParts(ENDED, [ended().rows]), ended_total=4), ViewOptions(view="sessions")
    )
    assert shown.ended_order.tolist() == [0, 1, 2]
    assert BY_KEY["rtt"].values(RowContext(ended().rows, NOW))[:2] == [25, None]


def test_rows_of_the_log_keep_their_dtype() -> None:
    made = make_connects(facts(waiting().rows, outcomes().rows), MATCH_ALL.matches, SortOrder("time"))
    assert made.rows.dtype == TRANSITION
    assert UNKNOWN_NS not in made.rows["time_in_state_ns"][made.results == 255]


# -- keys -----------------------------------------------------------------------------------------


async def filled(board: Dashboard) -> None:
    await board.deliver(outcomes(), ended())


async def test_number_keys_open_the_views_and_give_them_the_keys() -> None:
    async with dashboard() as board:
        for key, kind in (
            ("2", ConnectsTable), ("3", EndedTable), ("4", RttView), ("5", PingView), ("1", ConnectionTable),
        ):  # fmt: skip
            await board.press(key)
            assert isinstance(board.app.focused, kind), key
            assert board.app.focused.display


async def test_the_log_stays_under_every_view_until_l() -> None:
    async with dashboard() as board:
        below = board.app.screen.query_one("#below")
        for key in "23451":
            await board.press(key)
            assert below.region.height > 0
        before = board.app.panel(ConnectionTable).size.height
        await board.press("l")
        assert board.app.panel(ConnectionTable).size.height > before
        await board.press("l")
        assert board.app.panel(ConnectionTable).size.height == before


async def test_each_list_has_its_own_order() -> None:
    async with dashboard() as board:
        await filled(board)
        await board.press("3", "greater_than_sign", "greater_than_sign")
        assert board.app.view_options.orders["sessions"].key == "comm"
        assert board.app.view_options.orders["connections"].key == "rx_rate"
        await board.press("I")
        assert board.app.view_options.orders["sessions"].descending
        await board.press("2", "f6")
        assert len(board.app.screen.query_one(OptionList).options) == len(ConnectsTable.COLUMNS)
        await board.press("end", "enter")
        assert board.app.view_options.orders["connects"].key == ConnectsTable.COLUMNS[-1].key
        await board.pilot.click(ConnectsTable, offset=(1, 1))
        assert board.app.view_options.orders["connects"].key == "time"


async def test_enter_opens_a_closed_session() -> None:
    async with dashboard() as board:
        await filled(board)
        await board.press("3", "down")
        why = re.findall('why="?([^"]*)', board.app.panel(EndedTable).row_text())[0].strip()
        await board.press("enter")
        assert isinstance(board.app.screen, DetailScreen)
        shown = screen_text(board)
        assert re.search(rf"this connection has ended: {why} ", shown)
        assert "this connection has ended" in shown
        await board.press("escape")
        assert isinstance(board.app.focused, EndedTable)


async def test_the_filter_works_in_every_view() -> None:
    async with dashboard() as board:
        await filled(board)
        await board.press("3", "slash", *"curl", "enter")
        assert "3 Closed 2" in screen_text(board)
        assert isinstance(board.app.focused, EndedTable)
        await board.press("2")
        assert "Connects 4" in screen_text(board)


async def test_t_groups_and_space_folds() -> None:
    async with dashboard() as board:
        await board.press("t")
        lines = board.lines(ConnectionTable)
        assert any("▼ 90 nginx" in line for line in lines)
        await board.press("asterisk")
        lines = [line for line in board.lines(ConnectionTable)[1:] if line.strip()]
        assert [("▶ 90 nginx" in line or "▶ 10 sshd" in line) for line in lines] == [True, True]
        await board.press("home", "space")
        assert sum(bool(line.strip()) for line in board.lines(ConnectionTable)[1:]) > 2
        await board.press("enter")  # on a group: folds it again
        assert sum(bool(line.strip()) for line in board.lines(ConnectionTable)[1:]) == 2
        await board.press("f5", "f5")
        assert board.app.view_options.group == "port"
        assert any(" 443 " in line and "▼ 90" in line for line in board.lines(ConnectionTable))
        await board.press("t", "t")
        assert board.app.frame.tree is None


async def test_the_cursor_stays_on_its_group_and_its_connection() -> None:
    async with dashboard() as board:
        await board.press("t", "down", "down", "down")
        panel = board.app.panel(ConnectionTable)
        chosen = panel.selected_id
        await board.deliver(numbered_table(120, later_s=1))
        assert panel.selected_id == chosen
        await board.press("space")
        assert board.app.frame.tree is not None
        assert panel.selected_id in board.app.frame.tree.group_ids.tolist()


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize("keys", [("2",), ("3",), ("t",), ("t", "t", "asterisk")],
                         ids=["connects", "sessions", "grouped", "folded"])  # fmt: skip
async def test_views(size: tuple[int, int], keys: tuple[str, ...], snapshot: SnapshotAssertion) -> None:
    async with dashboard(size) as board:
        await filled(board)
        await board.press(*keys)
        board.app.clear_notifications()
        await board.press()
        assert screen_text(board) == snapshot


async def test_a_click_on_a_title_of_the_destinations_does_not_sort() -> None:
    async with dashboard() as board:
        await filled(board)
        await board.press("2")
        spots = {placed.column.key: placed.left for placed in board.app.panel(DestinationsTable).placed_columns}
        for key in ("failed", "raddr"):
            await board.pilot.click(DestinationsTable, offset=(spots[key] + 1, 1))
            await board.press("down")
            assert board.app.view_options.orders["connects"].key == "time"


async def test_by_destination_takes_the_list_s_place_on_a_narrow_screen() -> None:
    async with dashboard((80, 24)) as board:
        await filled(board)
        await board.press("2", "tab")
        assert isinstance(board.app.focused, DestinationsTable)
        assert board.app.screen.query_one(ConnectsTable).region.width == 0
        assert "FAILED" in screen_text(board)
