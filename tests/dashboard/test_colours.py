"""What colours say: red that numbers are not to be trusted, amber that the host has trouble, and the cursor is read."""

from __future__ import annotations

import colorsys
import re
from collections.abc import AsyncIterator, Iterator

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from tcptop_tui.config.schema import Config
from tcptop_tui.stream.batches import Loss
from tcptop_tui.widgets.panels.header import HeaderLines
from tcptop_tui.widgets.themes import SIXTEEN, THEMES
from tests.support.contrast import contrast
from tests.support.dashboard import VIEW_KEYS, Dashboard, dashboard, fill_every_view, until_painted

pytestmark = pytest.mark.usefixtures("utc")

# as xterm shows them (XTerm-col.ad)
_XTERM = (
    "#000000", "#cd0000", "#00cd00", "#cdcd00", "#0000ee", "#cd00cd", "#00cdcd", "#e5e5e5",
    "#7f7f7f", "#ff0000", "#00ff00", "#ffff00", "#5c5cff", "#ff00ff", "#00ffff", "#ffffff",
)  # fmt: skip
_DEFAULT = ("#e5e5e5", "#000000")
"""Of a terminal, text and background."""
READABLE = 4.5
"""WCAG 2.2, 1.4.3, for text of any size."""


def shades(style: Style) -> tuple[str, str]:
    """Text and background as they are seen."""
    found = [
        default if color is None or color.is_default
        else _XTERM[color.number] if color.number is not None and color.number < 16
        else color.get_truecolor().hex
        for color, default in zip((style.color, style.bgcolor), _DEFAULT, strict=True)
    ]  # fmt: skip
    text, background = reversed(found) if style.reverse else found
    return text, background


def segments(board: Dashboard) -> Iterator[tuple[int, Segment, Style]]:
    """With the line that each stands in."""
    for y, strip in enumerate(board.app.screen._compositor.render_strips()):
        for segment in strip:
            if re.search(r"\w", segment.text) and segment.style is not None:
                yield y, segment, segment.style


def is_red(color: str) -> bool:
    red, green, blue = Color.parse(color).rgb
    hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    return min(hue, 1 - hue) < 15 / 360 and saturation > 0.4 and value > 0.4


def distrust(theme: str) -> str:
    """The colour that says that numbers are not to be trusted."""
    name = next(one for one in THEMES if one.name == theme).variables["distrust"]
    return _XTERM[9] if name == "ansi_bright_red" else name


async def each_theme(board: Dashboard) -> AsyncIterator[str]:
    """The name of each theme in turn, once the screen shows it: starting a dashboard for each would take longer."""
    for theme in THEMES:
        board.app.theme = theme.name
        await until_painted(board.pilot)
        yield theme.name


@pytest.mark.parametrize("view", VIEW_KEYS)
async def test_red_is_for_trust_alone(view: str) -> None:
    async with dashboard((160, 50)) as board:
        await fill_every_view(board)
        await board.press(*VIEW_KEYS[view])
        board.app.notify("a message of trouble", severity="error")
        await board.press("f12")
        header = board.app.panel(HeaderLines).region
        async for theme in each_theme(board):
            red = [
                (y, segment.text)
                for y, segment, style in segments(board)
                if shades(style)[0] == distrust(theme) or is_red(shades(style)[0])
            ]
            assert all(header.y <= y < header.bottom and re.match("lo|me|be", text) for y, text in red), (theme, red)
            if len(board.app.screen_stack) == 1:  # else it shines through a dialog's shade
                assert {text.split()[0] for _, text in red} == {"lost", "mended"}, theme


@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
async def test_trouble_looks_otherwise_than_distrust_and_than_what_is_well(theme: str) -> None:
    async with dashboard((160, 50), config=Config(theme=theme)) as board:
        await fill_every_view(board)
        await board.press("3")
        look = {segment.text.strip(): shades(style) for _, segment, style in segments(board)}
        trouble, trust, well = look["refused"], look["lost 2"], look["missed 0"]
        assert len({trouble[0], trust[0], well[0]}) == 3
        assert trouble[0] == look["CLOSE_WAIT"][0]


@pytest.mark.usefixtures("no_color")
async def test_without_colours_both_are_seen_too() -> None:
    async with dashboard((160, 50)) as board:
        await fill_every_view(board)
        await board.press("3")
        look = {segment.text.strip(): (style.bold, style.reverse) for _, segment, style in segments(board)}
        assert look["lost 2"][1]
        assert look["refused"] == (True, None) or look["refused"] == (True, False)
        assert not look["missed 0"][1]


@pytest.fixture
def no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


CURSORS = {**{str(view): (str(view), "down") for view in (1, 2, 3, 6)}, "destinations": ("2", "tab"),
           "groups": ("t",), "alerts": ("a",), "log": ("tab", "f3", *"nginx"), "sort": ("f6",),
           "setup": ("f2",)}  # fmt: skip


@pytest.mark.parametrize("where", CURSORS)
async def test_the_cursor_can_be_read(where: str) -> None:
    async with dashboard((160, 50)) as board:
        await fill_every_view(board)
        await board.press(*CURSORS[where])
        async for theme in each_theme(board):
            variables = next(one for one in THEMES if one.name == theme).variables
            backgrounds = {variables["cursor-background"]} if theme != SIXTEEN else {_XTERM[6]}
            cursor = [(segment.text, *shades(style)) for _, segment, style in segments(board)
                      if shades(style)[1] in backgrounds]  # fmt: skip
            assert cursor, theme
            for text, color, background in cursor:
                assert contrast(color, background) >= READABLE, (theme, text, color, background)


async def test_what_is_lost_is_told_in_red_from_the_first_one_on() -> None:
    async with dashboard() as board:
        await board.deliver(Loss(sessions_ring_full=1))
        (style,) = [style for _, segment, style in segments(board) if segment.text.startswith("lost 1")]
        assert shades(style)[0] == distrust("tcptop-dark")
        assert style.bold
