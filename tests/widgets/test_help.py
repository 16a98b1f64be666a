"""F1 leaves nothing out that a key does, explains what is seen, and calls keys what README calls them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.widgets import Static

import tcptop_tui
from tcptop_tui.dashboard.app import _GROUPS, _HELP_SECTIONS, _KEYS, TcptopApp
from tcptop_tui.widgets.dialogs.help import HelpDialog
from tcptop_tui.widgets.key_names import key_name, key_names
from tests.support.dashboard import dashboard, fill_every_view, screen_text

README = (Path(__file__).parents[2] / "README.md").read_text()
KEYS = README.partition("## Keys")[2].partition("\n## ")[0]


def with_keys() -> Iterator[type[DOMNode]]:
    """Every class of the program that binds keys."""
    for found in pkgutil.walk_packages(tcptop_tui.__path__, "tcptop_tui."):
        if found.name.startswith(("tcptop_tui.widgets", "tcptop_tui.dashboard")):
            for one in vars(importlib.import_module(found.name)).values():
                ours = isinstance(one, type) and issubclass(one, DOMNode) and one.__module__ == found.name
                if ours and one.__dict__.get("BINDINGS"):
                    yield one


async def texts() -> str:
    async with dashboard((160, 50)) as board:
        await board.press("f1")
        parts = board.app.screen.query(Static)
        lines = []
        for part in parts:
            table = part._Static__content  # type: ignore[attr-defined]
            cells = [column._cells for column in table.columns]
            lines += [str(table.title), *(" ".join(map(str, row)) for row in zip(*cells, strict=True))]
        return "\n".join(lines)


async def test_no_class_with_keys_is_left_out() -> None:
    explained = {TcptopApp, *_KEYS, *(part for _, parts in _HELP_SECTIONS for part in parts)}
    assert {one.__name__ for one in with_keys()} == {one.__name__ for one in explained}


def test_every_action_is_in_one_group() -> None:
    actions = [
        binding.action.partition("(")[0]
        for part in (TcptopApp, *_KEYS) for binding in Binding.make_bindings(part.BINDINGS)
    ]  # fmt: skip
    grouped = [action for _, group in _GROUPS for action in group]
    assert sorted(set(actions)) == sorted(grouped)


async def test_every_key_is_there_with_what_it_does() -> None:
    shown = await texts()
    for one in with_keys():
        for binding in Binding.make_bindings(one.BINDINGS):
            told = binding.tooltip or binding.description
            name = key_names([binding.key])
            assert any(f" {told}" in line and name in line for line in shown.splitlines()), (one, binding)


def test_keys_are_called_what_readme_calls_them() -> None:
    table = [line for line in KEYS.splitlines() if line.startswith("| ") and not line.startswith("| key")]
    words = " ".join(table).replace("\\|", "|")
    for part in (TcptopApp, *_KEYS):
        for binding in Binding.make_bindings(part.BINDINGS):
            name = key_name(binding.key)
            assert (
                f"`{name}`" in words
                or re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words)
                or (name in "23456" and "`1`–`6`" in words)
            ), name
    ours = {key_name(binding.key) for one in with_keys() for binding in Binding.make_bindings(one.BINDINGS)}
    for name in re.findall(r"`([^`@]+)`", "".join(line.split("|")[1] for line in table)):
        assert name in ours, name


async def test_what_is_on_the_screen_is_explained() -> None:
    shown = await texts()
    for word in (
        "sockets",
        "transitions/s",
        "retrans/s",
        "lost",
        "missed",
        "mended",
        "behind",
        "map full",
        "RTT p50 p99",
        "red",
        "amber",
        "▼ ▲",
        "↑12",
        "░ ▒ ▓ █",
        "–",
        "LADDR",
        "RETR",
        "IN STATE",
    ):
        assert re.search(rf"^{re.escape(word)}\b|^{re.escape(word)}", shown, re.MULTILINE), word
    async with dashboard((160, 50)) as board:
        await fill_every_view(board)
        header = board.header
    for word in re.findall(r"\b(\w+/s|lost|missed|mended|behind)\b", header):
        assert word in shown, word


@pytest.mark.parametrize(("size", "columns"), [((160, 50), 2), ((80, 24), 1)])
async def test_two_columns_where_there_is_room(size: tuple[int, int], columns: int) -> None:
    async with dashboard(size) as board:
        await board.press("f1")
        assert isinstance(board.app.screen, HelpDialog)
        halves = [half.region for half in board.app.screen.query(".column")]
        assert len({half.x for half in halves}) == columns
        if columns == 2:
            assert abs(halves[0].height - halves[1].height) < max(half.height for half in halves) / 4
        assert "General" in screen_text(board)


@pytest.mark.parametrize(
    ("key", "name"),
    [("f1", "F1"), ("question_mark", "?"), ("ctrl+p", "Ctrl+P"), ("pageup", "PgUp"), ("slash", "/"),
     ("backslash", "\\"), ("less_than_sign", "<"), ("plus", "+"), ("minus", "-"), ("asterisk", "*"), ("G", "G"),
     ("left_square_bracket", "["),
     ("shift+tab", "Shift+Tab"), ("space", "Space"), ("f", "f"), ("f10", "F10"), ("ctrl+l", "Ctrl+L"), ("f15", "F15")],
)  # fmt: skip
def test_names_of_keys(key: str, name: str) -> None:
    assert key_name(key) == name
