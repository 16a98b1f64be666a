"""Every key of the dashboard, through Textual's pilot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList, Select

from tcptop_tui.dashboard.app import TcptopApp
from tcptop_tui.filters import parse
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.stream.batches import Loss, Status, Table, Transitions
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.dialogs.export import ExportDialog
from tcptop_tui.widgets.dialogs.help import HelpDialog
from tcptop_tui.widgets.dialogs.sort import SortDialog
from tcptop_tui.widgets.panels.filter_bar import FilterBar
from tcptop_tui.widgets.panels.histogram import RttPanel
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.dashboard import dashboard, numbered_table, screen_line, transition_batch, until_painted
from tests.support.samples import NOW, SECOND, UTC, connections, transitions


async def test_first_frame_has_everything() -> None:
    async with dashboard() as board:
        assert board.row_count == 100
        assert "host-1" in board.header
        assert "Linux 6.1.0" in board.header
        assert "backend bpf" in board.header
        assert "ESTABLISHED 99" in board.header
        assert "CLOSE_WAIT 1" in board.header
        top = board.lines(ConnectionTable)
        assert top[0].split() == [
            "PID",
            "PROCESS",
            "LADDR",
            "LPORT",
            "RADDR",
            "RPORT",
            "STATE",
            "IN",
            "STATE",
            "AGE",
            "TX",
            "RX",
            "TX/s",
            "RX/s▼",
            "RTT",
            "RETR",
            "USER",
        ]
        assert "nginx" in top[3]
        assert board.lines(TransitionLog)[-1].endswith("2.0s")
        assert "SYN_SENT→ESTABLISHED" in board.lines(TransitionLog)[-1]
        assert "200 samples" in str(board.app.panel(RttPanel).render())


@pytest.mark.parametrize("key", ["slash", "f4", "backslash"])
async def test_filter_follows_each_keystroke(key: str) -> None:
    async with dashboard() as board:
        await board.press(key)
        assert isinstance(board.app.focused, Input)
        await board.press(*"lport:22")
        assert board.row_count == 10
        assert "10 of 100 match lport:22" in board.header
        assert "20 samples" in str(board.app.panel(RttPanel).render())
        await board.press("enter")
        assert isinstance(board.app.focused, ConnectionTable)
        assert board.row_count == 10
        # open it again, spoil it: the last good one stays in force, and the complaint is there
        await board.press("slash", *" foo:1")
        complaint = str(board.app.panel(FilterBar).query_one("#complaint").render())
        assert "no field 'foo'" in complaint
        await board.press("enter")
        assert board.app.panel(FilterBar).display
        await board.press("escape")
        assert not board.app.panel(FilterBar).display
        assert board.app.view_options.filter.text == "lport:22"
        assert board.row_count == 10


async def test_filter_from_the_command_line() -> None:
    async with dashboard(chosen=parse("sshd")) as board:
        assert board.row_count == 10


async def test_sorting() -> None:
    async with dashboard() as board:
        board_rows = lambda: [int(n) for n in board.app.frame.rows["rx_bytes"][:3] // 1024]  # noqa: E731
        await board.press("f6")
        assert isinstance(board.app.screen, SortDialog)
        options = board.app.screen.query_one(OptionList)
        assert options.highlighted == 12
        await board.press("up", "up", "enter")
        assert board.app.view_options.order.key == "rx_bytes"
        assert board_rows() == [99, 98, 97]
        await board.press("I")
        assert board_rows() == [0, 1, 2]
        await board.press("greater_than_sign")
        assert board.app.view_options.order.key == "tx_rate"
        await board.press("less_than_sign", "less_than_sign")
        assert board.app.view_options.order.key == "tx_bytes"
        await board.press("f6", "escape")
        assert board.app.view_options.order.key == "tx_bytes"
        # a click on a title sorts by it, a second one turns it round
        await board.pilot.click(ConnectionTable, offset=(3, 1))
        await until_painted(board.pilot)
        assert board.app.view_options.order == SortOrder("pid", descending=False)


async def test_moving() -> None:
    async with dashboard() as board:
        panel = board.app.panel(ConnectionTable)
        page = panel.size.height - 1
        for keys, place in (
            (("down",), 1), (("j", "j"), 3), (("up",), 2), (("k",), 1), (("pagedown",), page), (("pageup",), 1),
            (("end",), 99), (("home",), 0), (("G",), 99), (("g",), 0), (("up",), 0),
        ):  # fmt: skip
            await board.press(*keys)
            assert panel._cursor == place, keys
        await board.press("end")
        assert board.lines(ConnectionTable)[-1].split()[0] == "100"


async def test_the_selection_stays_on_its_connection() -> None:
    async with dashboard() as board:
        panel = board.app.panel(ConnectionTable)
        await board.press("down", "down", "down")
        chosen = panel.selected_id
        await board.press("I")
        assert panel.selected_id == chosen
        assert panel.scroll_offset.y <= panel._cursor < panel.scroll_offset.y + panel.size.height - 1
        # it goes: the cursor stays where it is
        rows = board.app.frame.snapshot.rows
        await board.deliver(Table(rows[rows["id"] != chosen].copy(), NOW + SECOND, UTC))
        assert panel.selected_id != chosen
        assert board.row_count == 99


async def test_columns_that_do_not_fit_come_with_the_arrows() -> None:
    async with dashboard((80, 24)) as board:
        titles = board.lines(ConnectionTable)[0].split()
        assert "STATE" in titles
        assert "TX" not in titles
        seen = set(titles)
        for _ in range(12):
            await board.press("right")
            titles = board.lines(ConnectionTable)[0].split()
            assert "PROCESS" in titles
            seen.update(title.rstrip("▼▲") for title in titles)
        assert {"PID", "LADDR", "TX", "RX", "RETR", "AGE", "TX/s"} <= seen
        for _ in range(15):
            await board.press("left")
        assert "STATE" in board.lines(ConnectionTable)[0]


async def test_pause_stops_the_view_not_the_capture() -> None:
    async with dashboard() as board:
        await board.press("p")
        await board.deliver(transition_batch(7), numbered_table(50, later_s=1))
        assert "PAUSED +7" in board.header
        assert board.row_count == 100
        # what stands still can still be filtered
        await board.press("slash", *"sshd", "enter")
        assert board.row_count == 10
        await board.press("slash", "escape")
        await board.press("slash", "ctrl+u", "enter", "p")
        assert "PAUSED" not in board.header
        assert board.row_count == 50
        assert board.app.frame.snapshot.log_total == 37


async def test_tab_goes_round_the_panels() -> None:
    async with dashboard() as board:
        seen = []
        for _ in range(4):
            seen.append(type(board.app.focused))
            await board.press("tab")
        assert seen == [ConnectionTable, TransitionLog, RttPanel, ConnectionTable]
        await board.press("shift+tab")
        assert isinstance(board.app.focused, ConnectionTable)


async def test_narrow_screens_show_log_or_histogram() -> None:
    async with dashboard((80, 24)) as board:
        log, rtt = board.app.panel(TransitionLog), board.app.panel(RttPanel)
        assert log.size.width == 80
        await board.press("tab", "tab")
        assert board.app.focused is rtt
        assert (log.size.width, rtt.size.width) == (0, 80)
        await board.press("shift+tab")
        assert log.size.width == 80


async def test_one_connection() -> None:
    async with dashboard() as board:
        await board.press("down", "enter")
        assert isinstance(board.app.screen, DetailScreen)
        text = "\n".join(str(line) for line in board.app.screen._compositor.render_strips())
        assert "SYN_SENT" in text
        assert "network namespace" in text
        assert "2 samples" in text
        await board.deliver(numbered_table(1, later_s=1))
        text = "\n".join(str(line) for line in board.app.screen._compositor.render_strips())
        assert "this connection has ended" in text
        await board.press("escape")
        assert not isinstance(board.app.screen, DetailScreen)


@pytest.mark.parametrize("key", ["f1", "question_mark", "h"])
async def test_help_is_made_from_the_bindings(key: str) -> None:
    async with dashboard((160, 150)) as board:
        await board.press(key)
        assert isinstance(board.app.screen, HelpDialog)
        text = "\n".join(str(line) for line in board.app.screen._compositor.render_strips())
        for binding in [*TcptopApp.BINDINGS, *ConnectionTable.BINDINGS, *TransitionLog.BINDINGS]:
            assert binding.description in text  # type: ignore[union-attr]
        assert "rtt>10ms" in text
        await board.press("escape")
        assert not isinstance(board.app.screen, HelpDialog)


async def test_the_log_follows_until_the_user_scrolls() -> None:
    async with dashboard() as board:
        log = board.app.panel(TransitionLog)
        assert log.is_vertical_scroll_end
        await board.deliver(transition_batch(10))
        assert log.is_vertical_scroll_end
        await board.press("tab", "up", "up")
        top = board.lines(TransitionLog)[0]
        await board.deliver(transition_batch(25))
        assert board.lines(TransitionLog)[0] == top
        assert "25 newer ▼ End" in screen_line(board, log.region.y)
        await board.press("home")
        assert log.scroll_offset.y == 0
        await board.press("pagedown", "down", "end")
        assert log.is_vertical_scroll_end
        assert "newer" not in screen_line(board, log.region.y)
        await board.deliver(transition_batch(3))
        assert log.is_vertical_scroll_end


@pytest.mark.parametrize("kind", ["json", "csv", "txt", "svg"])
async def test_export(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with dashboard() as board:
        await board.press("slash", *"sshd", "enter", "e")
        assert isinstance(board.app.screen, ExportDialog)
        board.app.screen.query_one("#format", Select).value = kind
        await until_painted(board.pilot)
        path = board.app.screen.query_one("#path", Input)
        assert path.value.startswith(str(tmp_path / "tcptop-host-1-"))
        assert path.value.endswith(kind)
        await board.press("home", "ctrl+k", *f"mine.{kind}", "enter")
        await board.until_exported()
        data = (tmp_path / f"mine.{kind}").read_bytes()
    assert (b"<svg" in data) == (kind == "svg")
    if kind == "json":
        document = json.loads(data)
        assert len(document["connections"]) == 10
        assert document["meta"]["filter"] == "sshd"


async def test_a_refused_export_is_one_line_and_the_dashboard_goes_on(tmp_path: Path) -> None:
    async with dashboard() as board:
        await board.press("e", "home", "ctrl+k", *str(tmp_path / "no" / "where.json"), "enter")
        await board.until_exported()
        await until_painted(board.pilot)
        (notice,) = board.app._notifications
        assert notice.severity == "error"
        assert "no such file or directory" in notice.message
        await board.deliver(numbered_table(20, later_s=1))
        assert board.row_count == 20


@pytest.mark.parametrize("key", ["q", "f10", "ctrl+c"])
async def test_quit(key: str) -> None:
    async with dashboard() as board:
        await board.pilot.press(key)
        await board.pilot.pause()
    assert board.app.return_code == 0


async def test_loss_is_red_and_a_dead_source_is_said() -> None:
    async with dashboard() as board:
        await board.deliver(Loss(ring_full=12, missed=3, mended=3))
        assert "lost 12" in board.header
        assert "missed 3" in board.header
        await board.deliver(Status("bpf", "stopped: the kernel went away", ended=True))
        assert "ENDED" in board.header
        assert "stopped: the kernel went away" in board.header
        await board.press("down")  # and it still answers


async def test_hostile_names_are_harmless() -> None:
    async with dashboard() as board:
        rows = connections({"comm": b"\x1b[31mred\x07"}, {"comm": b"[bold]x[/]"}, {"comm": b"\xff\xfe\x80"})
        await board.deliver(Table(rows, NOW + SECOND, UTC), Transitions(transitions({"comm": b"\x1b]0;title\x07"})))
        shown = "\n".join([*board.lines(ConnectionTable), *board.lines(TransitionLog)])
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "[bold]x[/]" in shown
        await board.press("enter")
        for line in board.app.screen._compositor.render_strips():
            assert not set("\x1b\x07\x80") & set(line.text)


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (300, 90)])
async def test_any_size_does(size: tuple[int, int]) -> None:
    async with dashboard(size) as board:
        await board.press("down", "tab", "down", "tab", "f1", "escape", "slash", "4", "escape", "enter", "escape")
        await board.pilot.resize_terminal(81, 25)
        await until_painted(board.pilot)
        assert board.row_count == 100
