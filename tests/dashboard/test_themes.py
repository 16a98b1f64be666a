"""Every view and dialog with its colours, at the two sizes that matter, in dark and light.

`pytest --snapshot-update` after a wanted change. Below each line of text stands a letter for each
cell's pen; the pens themselves are at the end.
"""

from __future__ import annotations

import string
from itertools import groupby

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from syrupy.assertion import SnapshotAssertion
from textual.widgets import Input

from tests.support.dashboard import VIEW_KEYS, Dashboard, dashboard, fill_every_view

pytestmark = pytest.mark.usefixtures("utc")


def pens_and_text(board: Dashboard) -> str:
    """The screen, a line of pens below each line of text."""
    legend: dict[str, str] = {}
    lines = []
    for strip in board.app.screen._compositor.render_strips():
        pens = "".join(pen(segment, legend) * cell_len(segment.text) for segment in strip)
        lines += [strip.text.rstrip(), "".join(f"{key}{len(list(same))} " for key, same in groupby(pens)).rstrip()]
    return "\n".join([*lines, *(f"{key} = {style}" for style, key in legend.items())])


def pen(segment: Segment, legend: dict[str, str]) -> str:
    style = segment.style or Style()
    told = str(Style(color=style.color, bgcolor=style.bgcolor, bold=style.bold, reverse=style.reverse, dim=style.dim))
    return legend.setdefault(told, string.ascii_letters[len(legend)])


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize("view", VIEW_KEYS)
async def test_looks(view: str, size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with dashboard(size) as board:
        await fill_every_view(board)
        await board.press(*VIEW_KEYS[view])
        if view == "export":
            board.app.screen.query_one("#path", Input).value = "/tmp/connections.json"  # folder and time of the test
        for theme in ("tcptop-dark", "tcptop-light"):
            board.app.theme = theme
            board.app.clear_notifications()
            await board.press("f12")
            assert pens_and_text(board) == snapshot(name=theme)
