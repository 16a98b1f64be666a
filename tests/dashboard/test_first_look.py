"""What somebody sees who looks for the first time: parsed from the screen, at the sizes that terminals have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.widgets._toast import Toast

from tcptop_tui.config.schema import ColumnChoice, Config
from tcptop_tui.dashboard.live import _CONFIGURABLE_LISTS, VIEWS
from tcptop_tui.dashboard.views import SORTED_LISTS
from tcptop_tui.fields import RecordKinds, list_fields
from tcptop_tui.filters import parse
from tcptop_tui.model.alert_kinds import RetransmitAlert
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import SortOrder, sort_rows
from tcptop_tui.records import RTT_SLOTS, State
from tcptop_tui.safe_text import fit_middle
from tcptop_tui.stream.batches import EndedConnections, Status, Table, Transitions
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.dialogs.help import HelpDialog
from tcptop_tui.widgets.panels.histogram import RttPanel, outside_text
from tcptop_tui.widgets.panels.key_bar import KeyBar
from tcptop_tui.widgets.panels.tabs import VIEW_NAMES, tabs
from tcptop_tui.widgets.views.board import BoardView
from tcptop_tui.widgets.views.connections import ConnectionTable
from tcptop_tui.widgets.views.connects import ConnectsTable, DestinationsTable
from tcptop_tui.widgets.views.rtt import RttView
from tests.support.dashboard import dashboard, fill_every_view, screen_text
from tests.support.samples import NOW, SECOND, UTC, connections, sampled, sessions, transitions

pytestmark = pytest.mark.usefixtures("utc")

SORT_KEYS = [field.key for field in list_fields(RecordKinds.TABLE)]
SIZES = {"80x24": (80, 24), "160x50": (160, 50), "40x10": (40, 10)}


def waits(count: int, *others: dict[str, object]) -> Table:
    """A busy host: mostly TIME_WAIT, of which nothing is known but that."""
    gone = {"state": State.TIME_WAIT, "flags": 0, "comm": b"curl"}
    rows = connections(*[gone] * count, *others)
    return Table(rows, NOW + SECOND, UTC + SECOND)


# -- order ----------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([State.TIME_WAIT, State.ESTABLISHED, State.LISTEN, State.CLOSE_WAIT]), max_size=30),
    st.sampled_from(SORT_KEYS), st.booleans(),
)  # fmt: skip
def test_of_equal_rows_time_wait_comes_last(states: list[State], key: str, descending: bool) -> None:
    rows = connections(*({"state": state, "rport": 1, "id": n + 1} for n, state in enumerate(states)))
    rates = np.zeros(len(rows))
    order = sort_rows((Snapshot(NOW, UTC, rows, rates, rates),), np.arange(len(rows)), SortOrder(key, descending))
    assert sorted(order.tolist()) == list(range(len(rows)))
    if key != "state":
        shown = rows["state"][order] == State.TIME_WAIT
        assert not (shown[:-1] & ~shown[1:]).any()


async def test_a_first_screen_shows_more_than_time_wait() -> None:
    async with dashboard((80, 24)) as board:
        await board.deliver(waits(679, {"state": State.CLOSE_WAIT}, {"state": State.LISTEN, "flags": 0}, {}))
        states = [re.findall(r"[A-Z]+_?[A-Z]+\b", line)[-1:] for line in board.lines(ConnectionTable)[1:5]]
        assert states == [["ESTABLISHED"], ["CLOSE_WAIT"], ["LISTEN"], ["TIME_WAIT"]]


async def test_one_key_hides_time_wait_and_tells_its_number(tmp_path: Path) -> None:
    async with dashboard() as board:
        await board.deliver(waits(679, {}, {}))
        await board.press("T")
        assert board.row_count == 2
        assert "1 Connections 2, 679 TIME_WAIT hidden (T)" in screen_text(board)
        assert "TIME_WAIT 679" in board.header
        await board.press("slash", *"comm:curl", "enter")
        assert "679 of 681 match comm:curl" in board.header
        await board.press("e")
        board.app.screen.query_one("#path").value = str(tmp_path / "all.json")  # type: ignore[attr-defined]
        await board.press("enter")
        await board.until_exported()
        assert len(json.loads((tmp_path / "all.json").read_text())["connections"]) == 679
        await board.press("T")
        assert board.row_count == 679
        assert "hidden" not in screen_text(board)


# -- the rule with the views ----------------------------------------------------------------------


@given(st.integers(0, 5), st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=90),
       st.integers(30, 200))  # fmt: skip
def test_the_rule_fits_and_has_every_number(opened: int, title: str, cells: int) -> None:
    line = tabs(opened, title, cells)
    assert line.cell_length <= cells
    assert [int(number) for number in re.findall(r"(?:^|  )([1-6])(?= |$)", line.plain)][:1] == [1]
    for number in range(6):
        assert str(number + 1) in line.plain


@pytest.mark.parametrize("size", SIZES)
async def test_the_rule_names_the_views_and_a_click_opens_one(size: str) -> None:
    async with dashboard(SIZES[size]) as board:
        for number in (1, 2, 3, 4, 5, 0):
            strips = board.app.screen._compositor.render_strips()
            line = next(y for y, strip in enumerate(strips) if re.search(r"1.* 2.* 3.* 4.* 5.* 6", strip.text))
            at = re.search(rf"(?<= ){number + 1}(?=[ ━─]|$)|^.?{number + 1}", strips[line].text)
            assert at is not None
            await board.pilot.click(offset=(at.end() - 1, line))
            await board.press()
            assert board.app.view_options.view == VIEWS[number]
            strip = board.app.screen._compositor.render_strips()[line]
            bold = "".join(segment.text for segment in strip if segment.style and segment.style.bold)
            assert bold.strip("━─ ").startswith(str(number + 1))
            if size == "160x50":
                assert all(name in strip.text for place, name in enumerate(VIEW_NAMES) if place != number)


# -- columns --------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("0123456789abcdef:%."), max_size=60), st.integers(3, 50))
def test_a_cut_address_keeps_both_ends(address: str, cells: int) -> None:
    shown = fit_middle(address, cells)
    assert len(shown) == cells
    if len(address) > cells:
        head, tail = shown.split("…")
        assert address.startswith(head)
        assert address.endswith(tail)
        assert abs(len(head) - len(tail)) <= 1
    else:
        assert shown.rstrip() == address


def ipv6(prefix: str, later_s: int = 1) -> Table:
    rows = connections(*({"laddr": f"{prefix}:1", "raddr": f"{prefix}:{k + 1:x}"} for k in range(9)))
    return Table(rows, NOW + later_s * SECOND, UTC + later_s * SECOND)


LONG, LONGEST = "2001:db8:1111:2222:3333:", "2001:db8:1111:2222:3333:4444:5555"


@pytest.mark.parametrize(("prefix", "left_out", "whole"), [(LONG, {"USER"}, True), (LONGEST, {"AGE", "USER"}, False)])
async def test_addresses_get_their_cells_before_age_and_user(prefix: str, left_out: set[str], *, whole: bool) -> None:
    async with dashboard((160, 50)) as board:
        assert {"AGE", "USER"} <= set(board.lines(ConnectionTable)[0].split())
        await board.deliver(ipv6(prefix))
        await board.press("j")
        lines = board.lines(ConnectionTable)
        assert {"AGE", "USER"} - set(lines[0].split()) == left_out
        assert ("…" not in lines[1]) == whole
        await board.deliver(ipv6(prefix, later_s=2))
        assert [line.split()[:5] for line in lines] == [line.split()[:5] for line in board.lines(ConnectionTable)]


async def test_addresses_that_differ_at_their_end_differ_on_the_screen() -> None:
    async with dashboard((80, 24)) as board:
        await board.deliver(ipv6(LONGEST))
        ends = {re.search(r"2001:\S*…\S*", line).group() for line in board.lines(ConnectionTable)[1:6]}  # type: ignore[union-attr]
        assert len(ends) == 5
        await board.deliver(Transitions(transitions({"raddr": f"{LONGEST}:abcd", "rport": 65_535})))
        assert re.search(r"↔\[2001:\S*…\S*abcd\]:65535", screen_text(board))


@pytest.mark.parametrize("key", SORT_KEYS)
async def test_the_narrowest_screen_has_a_port_and_what_it_is_sorted_by(key: str) -> None:
    async with dashboard((40, 10)) as board:
        board.app.sort_by(key)
        await board.press()
        if board.app.view_options.order.key != key:  # it was: the order was turned round
            board.app.sort_by(key)
            await board.press()
        columns = {placed.column.key for placed in board.app.panel(ConnectionTable).placed_columns}
        assert {"comm", key} <= columns
        assert columns & {"lport", "rport"}
        assert re.search("[▼▲]", board.lines(ConnectionTable)[0])


# -- header, key bar, messages --------------------------------------------------------------------


async def test_the_count_stands_before_a_long_filter() -> None:
    async with dashboard((80, 24), chosen=parse(" ".join(f"!rport:{port}" for port in range(100, 130)))) as board:
        assert "100 of 100 match !rport:100" in screen_text(board)


async def test_percentiles_name_their_window_and_transitions_are_called_so_everywhere() -> None:
    async with dashboard() as board:
        await fill_every_view(board)
        shown = screen_text(board)
        assert "moves/s" not in shown
        assert "transitions/s" in shown
        since = re.search(r"RTT p50 \S+ p99 \S+ since (\d\d:\d\d)", shown)
        assert since is not None
        told = "\n".join(board.app.panel(RttPanel)._painted)
        assert f"samples since {since.group(1)}" in told
        assert re.search(r"map from ░ \d", told)
        assert " now" in told


@pytest.mark.parametrize("view", range(6))
async def test_f6_is_offered_where_it_sorts(view: int) -> None:
    async with dashboard() as board:
        await board.press(str(view + 1))
        assert ("F6Sort" in board.app.panel(KeyBar).render_line(0).text) == (VIEWS[view] in SORTED_LISTS)
        await board.press("f6")
        assert (len(board.app.screen_stack) > 1) == (VIEWS[view] in SORTED_LISTS)


async def test_messages_cover_no_row() -> None:
    async with dashboard((80, 24)) as board:
        before = screen_text(board).splitlines()
        board.app.notify("short and good")
        await board.press()
        after = screen_text(board).splitlines()
        assert after[-1] == "short and good"
        assert after[:-1] == before[:-1]
        assert not [toast for toast in board.app.screen.query(Toast) if toast.region]
        board.app.notify("cannot write " + "/a/long/path" * 9 + ": no space left", severity="error", markup=False)
        await board.press()
        bar, below = board.app.panel(KeyBar), board.app.screen.query_one("#below")
        assert bar.region.height == 3
        assert below.region.bottom <= bar.region.y
        assert screen_text(board).endswith("no space left")
        await board.pilot.click(KeyBar)
        await board.press()
        assert screen_text(board).splitlines() == before


async def test_the_strip_says_how_many_alerts_there_are() -> None:
    async with dashboard((80, 24)) as board:
        for count, told in ((1, "a: 1 alert"), (3, "a: 3 alerts")):
            board.app._store._alert_rules.alerts = tuple(
                RetransmitAlert(key=str(k), filter="", per_second=60, usual_per_second=1) for k in range(count)
            )
            await board.deliver(Status("bpf"))
            assert any(line.endswith(told) for line in screen_text(board).splitlines())


# -- views ----------------------------------------------------------------------------------------


async def test_view_2_opens_what_became_of_a_connect() -> None:
    failed = {"oldstate": State.SYN_SENT, "newstate": State.CLOSE, "err": 111, "rport": 9, "skaddr": 7, "born_ns": 70}
    unknown = failed | {"skaddr": 8, "born_ns": 80, "raddr": "2001:db8::9"}
    lives = {"oldstate": State.SYN_SENT, "lport": 443, "rport": 50_000, "skaddr": 0xFFFF_0000}
    async with dashboard() as board:
        await board.deliver(
            Transitions(transitions(failed, unknown, lives)),
            EndedConnections(sessions({"state": State.CLOSE, "err": 111, "rport": 9, "skaddr": 7, "born_ns": 70})),
        )
        await board.press("2")
        seen = []
        for _ in range(board.app.panel(ConnectsTable)._content.order.size):
            row = board.app.frame.connects.rows[board.app.panel(ConnectsTable).selected_row]
            await board.press("enter")
            opened = isinstance(board.app.screen, DetailScreen)
            seen.append((int(row["skaddr"]), opened, board.app.view_options.filter.text))
            await board.press(*(("escape",) if opened else ("slash", "ctrl+u", "enter", "2")), "down")
        assert (0xFFFF_0000, True, "") in seen
        assert (7, True, "") in seen
        assert (8, False, "raddr:2001:db8::9 rport:9") in seen


async def test_view_2_shows_the_connections_of_a_destination() -> None:
    async with dashboard() as board:
        await fill_every_view(board)
        await board.press("2", "tab")
        assert isinstance(board.app.focused, DestinationsTable)
        wanted = board.app.frame.connects.destinations[0]
        await board.press("enter")
        assert board.app.view_options.filter.text.endswith(f"rport:{wanted['rport']}")
        assert board.app.view_options.view in {"connections", "sessions"}


async def test_view_4_starts_in_groups_has_percents_and_says_what_it_cuts() -> None:
    async with dashboard((160, 50)) as board:
        rows = connections({"raddr": "10.0.0.9"}, {"raddr": "10.0.0.8"})
        hists = sampled(rows, slice(0, 20), [1] * 19 + [300])
        await board.deliver(Table(rows, NOW + SECOND, UTC + SECOND, hists))
        await board.press("4")
        view = board.app.panel(RttView)
        lines = str(view.render()).splitlines()
        assert lines[0].split() == ["10.0.0.8", "10.0.0.9"] or lines[0].split() == ["10.0.0.9", "10.0.0.8"]
        percents = [int(found) for found in re.findall(r"(\d+)%", "\n".join(lines))]
        cut = re.findall(r"… (\d+) faster", "\n".join(lines))
        assert 94 in percents
        assert all(int(number) == 20 - (view.size.height - 5) for number in cut)
        assert cut or len(lines) >= 24


@given(st.lists(st.integers(0, 1000), min_size=RTT_SLOTS, max_size=RTT_SLOTS), st.integers(0, 26), st.integers(1, 27))
def test_what_is_outside_is_counted(counts: list[int], first: int, length: int) -> None:
    hist = np.array(counts, "<u8")
    slots = range(first, min(RTT_SLOTS, first + length))
    told = sum(int(number.replace(",", "")) for number in re.findall(r"([\d,]*\d)", outside_text(hist, slots)))
    assert told + int(hist[slots.start : slots.stop].sum()) == sum(counts)


async def test_view_6_shows_columns_that_have_something() -> None:
    async with dashboard() as board:
        await board.deliver(Table(connections({"state": State.CLOSE_WAIT}, {}), NOW + SECOND, UTC + SECOND))
        await board.press("6")
        view = board.app.panel(BoardView)
        assert view.render_line(0).text.split() == ["PROCESS", "PID", "CLOSE_WAIT", "ESTABLISHED"]
        assert not re.search("[▲▼]", view.render_line(1).text)
        await board.deliver(Table(connections({}, {}), NOW + 2 * SECOND, UTC + 2 * SECOND))
        assert "6 Nothing is stuck, 1 process" in screen_text(board)
        assert view.render_line(0).text.split() == ["PROCESS", "PID", "ESTABLISHED"]


async def test_the_columns_of_view_6_can_be_chosen_too() -> None:
    chosen = Config(columns={"board": (ColumnChoice("established"), ColumnChoice("comm"))})
    async with dashboard(config=chosen) as board:
        await board.press("6")
        assert board.app.panel(BoardView).render_line(0).text.split() == ["ESTABLISHED", "PROCESS"]


@pytest.mark.parametrize("name", SORTED_LISTS)
def test_every_list_that_f2_offers_can_be_chosen(name: str) -> None:
    assert name in _CONFIGURABLE_LISTS


async def test_h_closes_help() -> None:
    async with dashboard() as board:
        await board.press("h")
        assert isinstance(board.app.screen, HelpDialog)
        await board.press("h")
        assert not isinstance(board.app.screen, HelpDialog)


async def test_the_page_of_a_connection_spells_its_labels() -> None:
    async with dashboard((160, 50)) as board:
        await board.press("enter")
        shown = screen_text(board)
        for riddle in ("LADDR", "RPORT", "RETR", "SKADDR", "IN STATE", "NETNS"):
            assert not re.search(rf"│ {riddle}\b", shown), riddle
        for label in ("local address", "remote port", "retransmits", "in this state for", "network namespace"):
            assert label in shown
