"""Small terminals: what does not fit is left out as a whole, or its cut has a sign; and → brings the rest."""

from __future__ import annotations

import re

import pytest
from textual.widgets import Button, Static

from tcptop_tui.records import State
from tcptop_tui.stream.batches import Names, Table
from tcptop_tui.widgets.dialogs.close import CloseDialog
from tcptop_tui.widgets.dialogs.setup import SetupDialog
from tcptop_tui.widgets.panels.key_bar import KeyBar
from tcptop_tui.widgets.views.board import MORE, BoardView
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.dashboard import Dashboard, dashboard, screen_text
from tests.support.samples import NOW, SECOND, UTC, connections

pytestmark = pytest.mark.usefixtures("utc")

SIZES = [(80, 24), (100, 30), (40, 10)]
PARTLY_STUCK = [
    {"comm": b"java", "pid": 7, "state": State.CLOSE_WAIT},
    {"comm": b"nginx", "pid": 8, "state": State.FIN_WAIT2},
    *[{"comm": b"curl", "pid": 9, "state": State.TIME_WAIT}] * 349,
    *[{"comm": b"sshd", "pid": 10}] * 2,
    {"comm": b"sshd", "pid": 10, "state": State.LISTEN},
]


async def board_of(board: Dashboard) -> BoardView:
    rows = connections(*(row | {"rport": 1} for row in PARTLY_STUCK))
    await board.deliver(Table(rows, NOW + SECOND, UTC + SECOND))
    await board.press("6")
    return board.app.panel(BoardView)


def lines_of(view: BoardView) -> dict[str, str]:
    """The text behind each process's name."""
    texts = (view.render_line(line).text for line in range(1, 5))
    return {text.split()[0]: text.partition(" ")[2].strip() for text in texts if text.strip()}


@pytest.mark.parametrize("size", SIZES)
async def test_no_row_of_view_6_is_without_a_figure(size: tuple[int, int]) -> None:
    async with dashboard(size) as board:
        view = await board_of(board)
        assert re.search(r"[1-4] MORE →", view.render_line(0).text)
        told = lines_of(view)
        assert len(told) >= min(4, view.size.height - 1)
        assert all(re.search(r"\d", text.replace("–", "")) for text in told.values())
        if "curl" in told:
            assert re.search(r"TIME_WAIT 349|\+349|349", told["curl"])


async def test_the_right_arrow_brings_the_other_states_to_the_last() -> None:
    async with dashboard((40, 10)) as board:
        view = await board_of(board)
        seen: set[str] = set()
        for _ in range(12):
            seen |= {placed.column.key for placed in view.placed_columns}
            await board.press("right")
        assert {"close_wait", "fin_wait2", "time_wait", "established", "listen"} <= seen
        assert "LISTEN" in view.render_line(0).text
        assert "MORE" not in view.render_line(0).text
        await board.press("left")
        assert "LISTEN" not in view.render_line(0).text or "ESTABLISHED" in view.render_line(0).text


async def test_a_click_on_more_brings_them_too() -> None:
    async with dashboard((80, 24)) as board:
        view = await board_of(board)
        more = next(placed for placed in view.placed_columns if placed.column.key == MORE)
        before, order = view.render_line(0).text, board.app.view_options.orders["board"]
        await board.pilot.click(BoardView, offset=(more.left + 2, 1))
        await board.press()
        assert view.render_line(0).text != before
        assert board.app.view_options.orders["board"] == order


@pytest.mark.parametrize("size", SIZES)
async def test_a_groups_label_is_whole(size: tuple[int, int]) -> None:
    async with dashboard(size) as board:
        rows = connections(*[{"comm": b"postgres-writer", "pid": 4_194_304}] * 120)
        await board.deliver(Table(rows, NOW + SECOND, UTC + SECOND))
        await board.press("t")
        table = board.app.panel(ConnectionTable)
        assert "▼ 120 postgres-writer 4194304" in table.render_line(1).text
        assert len(table.render_line(1).text) == size[0]
        await board.press("t")
        assert re.search(r"▼ 120 +10\.", table.render_line(1).text)


async def test_the_close_dialog_says_all_on_ten_lines() -> None:
    async with dashboard((40, 10)) as board:
        dialog = CloseDialog(connections({}), Names())
        await board.app.push_screen(dialog)
        await board.press()
        shown = screen_text(board)
        words = " ".join(re.findall(r"[\w.]+", shown))
        for static in dialog.query(Static):
            assert " ".join(re.findall(r"[\w.]+", str(static.render()))) in words
        assert all(button.region.bottom <= 10 and button.region.right <= 40 for button in dialog.query(Button))


@pytest.mark.parametrize("size", [(40, 10), (50, 30)])
async def test_setup_fits_a_narrow_screen(size: tuple[int, int]) -> None:
    async with dashboard(size) as board:
        await board.press("f2")
        assert isinstance(board.app.screen, SetupDialog)
        for part in board.app.screen.query("#dialog, #setup-columns, #setup-display"):
            assert part.region.right <= size[0]
            assert part.region.width >= size[0] - 6
            assert part.region.height >= 2


async def test_no_key_is_offered_that_does_nothing() -> None:
    async with dashboard((80, 24)) as board:
        await board.press("f")
        assert "Delete" not in board.app.panel(KeyBar).render_line(0).text
