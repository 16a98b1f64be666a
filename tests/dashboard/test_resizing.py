"""What somebody sees who resizes the terminal, opens a dialog, and reads the key bar and the small screens."""

from __future__ import annotations

import re

import pytest

from tcptop_tui.model.alert_kinds import RetransmitAlert
from tcptop_tui.records import State
from tcptop_tui.stream.batches import Status, Table
from tcptop_tui.widgets.panels.alerts import AlertStrip
from tcptop_tui.widgets.panels.filter_bar import FilterBar
from tcptop_tui.widgets.panels.header import HeaderLines
from tcptop_tui.widgets.panels.key_bar import KeyBar
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.dashboard import dashboard, fill_every_view, screen_text
from tests.support.samples import NOW, SECOND, UTC, connections

pytestmark = pytest.mark.usefixtures("utc")


@pytest.mark.parametrize("size", [(80, 24), (160, 24), (40, 10)])
async def test_a_smaller_terminal_leaves_no_empty_lines(size: tuple[int, int]) -> None:
    async with dashboard((160, 50)) as board:
        await fill_every_view(board)
        board.app._store._alert_rules.alerts = tuple(
            RetransmitAlert(key=str(k), filter="", per_second=60, usual_per_second=1) for k in range(4)
        )
        await board.deliver(Status("bpf"))
        await board.pilot.resize_terminal(*size)
        await board.deliver(Status("bpf"))
        header, strip = board.app.panel(HeaderLines), board.app.panel(AlertStrip)
        assert header.region.height == header._painted.plain.count("\n") + 1
        assert strip.region.height == 1
        assert "4 alerts" in screen_text(board).splitlines()[strip.region.y]


DIALOGS = {
    "help": (("f1",), "EscClose"), "setup": (("f2",), "EscCancel F10Save"),
    "sort": (("f6",), "EscCancel"), "export": (("e",), "EscCancel"),
    "connection": (("end", "enter"), "EscBack"),
}  # fmt: skip


@pytest.mark.parametrize("dialog", DIALOGS)
async def test_under_a_dialog_the_key_bar_has_the_keys_of_the_dialog(dialog: str) -> None:
    keys, told = DIALOGS[dialog]
    async with dashboard((80, 24)) as board:
        await fill_every_view(board)
        before = screen_text(board).splitlines()[-1]
        assert "F5Group" in before
        await board.press(*keys)
        shown = screen_text(board).splitlines()[-1]
        assert told in shown
        assert not re.search("F5Group|F6Sort|F4Filter|F9Close", shown)
        await board.press("escape")
        assert screen_text(board).splitlines()[-1] == before


async def test_the_key_bar_names_keys_as_the_help_does() -> None:
    async with dashboard((80, 24)) as board:
        await board.press("slash")
        assert "EscRestore" in board.app.panel(KeyBar).render_line(0).text


async def test_what_nobody_has_open_is_no_process() -> None:
    nobody = {"state": State.FIN_WAIT2, "pid": 0, "comm": b""}
    async with dashboard() as board:
        rows = connections({"state": State.CLOSE_WAIT}, nobody, nobody)
        await board.deliver(Table(rows, NOW + SECOND, UTC + SECOND))
        await board.press("6")
        assert "6 Stuck 3 connections, 1 process" in screen_text(board)
        await board.press("enter")
        assert board.row_count == 2


async def test_enter_on_what_nobody_has_open_shows_no_more_than_that() -> None:
    async with dashboard() as board:
        rows = connections({"pid": 0, "comm": b""}, {"pid": 0, "comm": b""}, {}, {"state": State.LISTEN, "pid": 9})
        await board.deliver(Table(rows, NOW + SECOND, UTC + SECOND))
        await board.press("6", "enter")
        assert board.row_count == 2


async def test_a_small_screen_shows_whom_a_connect_was_to() -> None:
    async with dashboard((40, 10)) as board:
        await fill_every_view(board)
        await board.press("2")
        assert "RPORT" in screen_text(board)


async def test_a_small_screen_shows_round_trip_times() -> None:
    async with dashboard((40, 10)) as board:
        await fill_every_view(board)
        await board.press("4")
        shown = screen_text(board)
        assert re.search(r"\d+ -> \d+ .*%", shown)
        assert re.search(r"… \d+ (slower|faster)", shown)


@pytest.mark.parametrize("size", [(40, 10), (80, 13), (80, 16), (80, 18)])
async def test_the_cursor_is_on_the_screen_however_low_it_is(size: tuple[int, int]) -> None:
    async with dashboard(size) as board:
        await fill_every_view(board)
        for keys in ((), ("l",), ("slash", "n")):
            await board.press(*keys)
            bar, filters = board.app.panel(KeyBar).region, board.app.panel(FilterBar).region
            limit = min(bar.y, filters.y) if filters else bar.y
            assert board.app.panel(ConnectionTable).region.bottom <= limit
        await board.press("escape", "end")
        table = board.app.panel(ConnectionTable)
        assert table.region.y + 2 + table._cursor - table.scroll_offset.y < table.region.bottom <= bar.y
        assert table._cursor == board.row_count - 1


@pytest.mark.parametrize(
    ("view", "told"),
    [("2", "no connect() that matches the filter since"), ("3", "no connection that matches the filter has ended")],
)
async def test_with_a_filter_an_empty_list_speaks_of_what_matches(view: str, told: str) -> None:
    async with dashboard((80, 24)) as board:
        await fill_every_view(board)
        await board.press("slash", *"nobody", "enter", view)
        assert told in screen_text(board)
