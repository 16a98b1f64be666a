"""Every key in every view, and every view in every theme: nothing breaks, everything can be read."""

from __future__ import annotations

import re

import pytest
from textual.binding import Binding

from tcptop_tui.config.schema import Config
from tcptop_tui.dashboard.app import _HELP_SECTIONS, TcptopApp
from tests.support.contrast import contrast
from tests.support.dashboard import dashboard, numbered_table, transition_batch, until_painted

ENDS = {"q", "f10", "ctrl+c"}
VIEWS = {"1": "connections", "2": "connects", "3": "sessions", "4": "rtt-view", "5": "ping-view", "6": "board"}
READABLE = 3.0
"""WCAG's least for large text and for what is disabled; states and plain text have 4.5 (test_terminals)."""


def keys() -> list[str]:
    parts = (TcptopApp, *(part for _, parts in _HELP_SECTIONS for part in parts))
    bindings = [binding for part in parts for binding in Binding.make_bindings(part.BINDINGS)]
    return sorted({binding.key for binding in bindings} - ENDS)


def test_every_key_is_explained_and_means_one_thing_at_a_time() -> None:
    for part in (TcptopApp, *(part for _, parts in _HELP_SECTIONS for part in parts)):
        bindings = list(Binding.make_bindings(part.BINDINGS))
        assert all(binding.description for binding in bindings), part
        assert len({binding.key for binding in bindings}) == len(bindings), part


SIZES = {"80x24": (80, 24), "160x50": (160, 50), "40x10": (40, 10)}


@pytest.mark.parametrize(("view", "size"), [*((view, "80x24") for view in VIEWS), ("1", "160x50"), ("1", "40x10")])
async def test_every_key_in_every_view(view: str, size: str) -> None:
    async with dashboard(SIZES[size]) as board:
        for key in keys():
            await board.pilot.press(view, key)
            await board.pilot.press("escape", "escape")
            assert board.app._exception is None, key
        await board.press("1")
        assert board.app.view_options.view == "connections"
        await board.deliver(transition_batch(3), numbered_table(20, later_s=9))
        assert board.app.is_running


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize("theme", ["tcptop-dark", "tcptop-light", "tcptop-colorblind"])
async def test_everything_can_be_read(theme: str, size: tuple[int, int]) -> None:
    async with dashboard(size, config=Config(theme=theme)) as board:
        assert board.app.theme == theme
        for view in VIEWS:
            await board.press(view, "down")
            await until_painted(board.pilot)
            for line in board.app.screen._compositor.render_strips():
                for segment in line:
                    style = segment.style
                    if (
                        style is None
                        or not re.search(r"\w", segment.text)
                        or style.color is None
                        or style.bgcolor is None
                    ):
                        continue
                    colors = [color.get_truecolor().hex for color in (style.color, style.bgcolor)]
                    assert contrast(*colors) >= READABLE, (view, segment.text, colors)
