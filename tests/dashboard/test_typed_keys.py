"""A fast hand: keys that arrive together do what they do one by one, in every line that is typed in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual import events
from textual._xterm_parser import XTermParser
from textual.widgets import Input, Select

from tcptop_tui.filters import parse
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.dialogs.help import HelpDialog
from tcptop_tui.widgets.typed_keys import first_pasted_line
from tests.support.dashboard import Dashboard, dashboard

LINES = {
    "filter": ("/", "\x1b"),
    "search": ("\x1bOR", "\x1b"),
    "export": ("e", "\x1b"),
    "setup": ("\x1bOQ" + "\t" * 6, "\x1b"),
    "palette": ("\x10", "\x1b"),
    "saved": ("/port:443\rf", "\x1b"),
}
"""How each line is opened, and how it is left."""

KEYS = {
    "⌫": "\x7f", "^U": "\x15", "^W": "\x17", "^K": "\x0b", "^D": "\x04", "^A": "\x01", "^E": "\x05",
    "←": "\x1b[D", "Home": "\x1b[H", "End": "\x1b[F", "Del": "\x1b[3~", "^←": "\x1b[1;5D", "⇧←": "\x1b[1;2D",
    **{letter: letter for letter in "qab1 .:é漢"},
}  # fmt: skip


def messages(typed: str) -> list[events.Event]:
    parser = XTermParser()
    read = [message for part in (typed[i : i + 1] for i in range(len(typed))) for message in parser.feed(part)]
    return [*read, *parser.feed("")]


async def settled(board: Dashboard) -> None:
    await board.pilot.pause()
    while not board.app._exit and (board.app._typed or board.app._marker is not None):
        await board.pilot.pause()
    await board.pilot.pause()


async def burst(board: Dashboard, typed: str) -> None:
    """All of it at once, as one read gives it."""
    for message in messages(typed):
        board.app.post_message(message)
    await settled(board)


async def slowly(board: Dashboard, *keys: str) -> None:
    for key in keys:
        await burst(board, key)


def value(board: Dashboard) -> str:
    assert isinstance(board.app.focused, Input)
    return board.app.focused.value


@pytest.mark.parametrize("line", LINES)
@given(hands=st.lists(st.lists(st.sampled_from(sorted(KEYS)), min_size=2, max_size=12), min_size=3, max_size=3))
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_burst_gives_what_slow_hands_give(line: str, hands: list[list[str]]) -> None:
    begin, leave = LINES[line]
    async with dashboard() as board:
        for keys in hands:
            typed = [KEYS[key] for key in keys]
            await slowly(board, *messages_of(begin))
            await slowly(board, "\x01", "\x0b", *typed)
            one_by_one = value(board)
            await burst(board, leave)
            await burst(board, begin + "\x01\x0b" + "".join(typed))
            assert value(board) == one_by_one
            await burst(board, leave)
            board.app.set_view_options(replace(board.app.view_options, filter=parse("")))
            await settled(board)


def messages_of(typed: str) -> list[str]:
    """The keys of ``typed``, each by itself."""
    keys, rest = [], typed
    while rest:
        length = 3 if rest.startswith("\x1bO") else 1
        keys.append(rest[:length])
        rest = rest[length:]
    return keys


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(("typed", "left"), [("abc\x7fdef", "abdef"), ("xyz\x15hello", "hello")])
async def test_the_reported_bursts(line: str, typed: str, left: str) -> None:
    async with dashboard() as board:
        await burst(board, LINES[line][0] + "\x01\x0b" + typed)
        assert value(board) == left


@pytest.mark.parametrize("line", LINES)
async def test_ctrl_c_leaves_the_line_as_esc_does(line: str) -> None:
    async with dashboard() as board:
        await burst(board, LINES[line][0] + "zzz\x03")
        assert board.app._exit is False
        assert len(board.app.screen_stack) == 1
        assert not isinstance(board.app.focused, Input)
        await burst(board, "\x03")
        assert board.app._exit is True


async def test_keys_behind_the_end_of_a_line_are_for_what_is_behind_it() -> None:
    async with dashboard() as board:
        await burst(board, "/comm:nginx\r\r")
        assert isinstance(board.app.screen, DetailScreen)
        await burst(board, "\x1b")
        await burst(board, "/x\x03?")
        assert isinstance(board.app.screen, HelpDialog)
        assert board.app.view_options.filter.text == "comm:nginx"


async def test_ctrl_q_does_not_quit() -> None:
    async with dashboard() as board:
        await burst(board, "\x11")
        assert board.app._exit is False


async def test_a_dialog_that_has_just_opened_gets_the_keys() -> None:
    async with dashboard() as board:
        await burst(board, "e\x1b[Z\x1b[Z")
        assert isinstance(board.app.focused, Select | Input)
        await burst(board, "\x03")
        await burst(board, "41/ab\x033")
        assert board.app.view_options.view == "sessions"
        assert board.app.view_options.filter.text == ""


@pytest.mark.parametrize(
    ("pasted", "left"),
    [
        ("port:443\n", "port:443"),
        ("\n\n port:22\nq", " port:22"),
        ("a\x07b\x1b[31mc\td", "ab[31mc d"),
        ("\x00\r\n", ""),
    ],
)
async def test_a_paste_is_its_first_line_without_controls(pasted: str, left: str) -> None:
    assert first_pasted_line(pasted) == left
    async with dashboard() as board:
        await burst(board, "/ab\x7f")
        board.app.post_message(events.Paste(pasted))
        await burst(board, "z")
        assert value(board) == f"a{left}z"
