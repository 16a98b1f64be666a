"""Terminals that can less: characters, colours, or nothing."""

from __future__ import annotations

import re
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
from textual.color import Color

from tcptop_tui.drawing.glyphs import substitutions
from tcptop_tui.records import State
from tcptop_tui.widgets.themes import SIXTEEN, THEMES, select_theme
from tests.support.contrast import contrast
from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

KEYS = ("2", "3", "4", "g", "1", "t", "\x1b[6~", "p", "p", "\x1bOQ", "\x1bOR", "nginx", "\x1b")


def tour(**environ: str) -> bytes:
    """What the terminal gets while somebody looks at everything."""
    with listening() as listener:
        kept = [pair(listener) for _ in range(3)]
        terminal = Terminal("--filter", f"port:{port(listener)}", columns=100, lines=30, **environ)
        try:
            terminal.shows("Connections 7")
            for key in KEYS:
                terminal.type(key)
                terminal.quiet(0.3)
        finally:
            terminal.close()
        del kept
    return terminal.output


@pytest.mark.parametrize("environ", [{"LC_ALL": "C"}, {"LC_ALL": "de_DE.ISO-8859-1"}, {"LC_ALL": "", "LANG": ""}])
def test_ascii_where_the_locale_is_not_utf8(bpf_possible: None, environ: dict[str, str]) -> None:
    output = tour(**environ)
    assert output.isascii()
    assert b"Connections" in output


def test_everything_has_a_stand_in_of_its_width() -> None:
    plain = substitutions({"LC_ALL": "C"})
    assert "–…→▼█▏µ漢é".translate(plain) == "-~>v#|u???"
    assert "é\u0301".translate(plain) == "?"


@pytest.mark.parametrize(
    ("environ", "whole"),
    [
        ({"LANG": "en_US.UTF-8"}, True), ({"LC_CTYPE": "de_DE.utf8"}, True),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, False), ({}, False),
        ({"LC_CTYPE": "C.UTF-8"}, False), ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ({"LC_ALL": "C.UTF-8"}, True), ({"LANG": "C.UTF-8"}, True), ({"LANG": "ja_JP.eucJP"}, False),
        ({"LANG": "xx_XX.UTF-8@euro"}, True),
        ({"LC_CTYPE": "UTF-8"}, True), ({"LANG": "de_DE"}, False), ({"LC_CTYPE": "de_DE.UTF-8", "LANG": "C"}, True),
    ],
)  # fmt: skip
def test_which_locales_have_everything(environ: dict[str, str], whole: bool) -> None:
    assert ("→".translate(substitutions(environ)) == "→") == whole
    assert "→".translate(substitutions(environ, ascii_only=True)) == ">"


def test_ascii_where_the_user_wants_it() -> None:
    terminal = Terminal("--ascii", "--backend", "diag", LC_ALL="C.UTF-8")
    try:
        terminal.shows("F1Help")
        assert terminal.output.isascii()
    finally:
        terminal.close()


@pytest.mark.parametrize(
    "environ", [{"LANG": "xx_XX.UTF-8"}, {"LC_CTYPE": "xx_XX.utf8", "LANG": "C"}, {"LC_ALL": "xx.UTF-8"}]
)
def test_a_locale_that_is_not_installed_counts_by_its_name(environ: dict[str, str]) -> None:
    terminal = Terminal("--backend", "diag", **{"LC_ALL": "", "LC_CTYPE": "", "LANG": "", **environ})
    try:
        terminal.shows("F1Help")
        terminal.shows("─")
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("term", "colors"),
    [("alacritty", 256), ("foot", 256), ("xterm-ghostty", 256), ("rxvt-unicode-256color", 256),
     ("kept-by-terminfo", 256), ("xterm", 16), ("xterm-direct", 2**24)],
)  # fmt: skip
def test_as_many_colours_as_the_terminal_has(term: str, colors: int, tmp_path: Path) -> None:
    entry = subprocess.run(["infocmp", "xterm-256color"], capture_output=True, text=True, check=True).stdout
    entry = entry.replace("xterm-256color|", "kept-by-terminfo|")
    subprocess.run(["tic", "-x", "-o", str(tmp_path), "-"], input=entry, text=True, check=True, capture_output=True)
    terminal = Terminal("--backend", "diag", TERM=term, COLORTERM="", TERMINFO_DIRS=f"{tmp_path}:")
    try:
        terminal.shows("F1Help")
        assert (b"38;5;" in terminal.output) == (colors == 256)
        assert (b"38;2;" in terminal.output) == (colors > 256)
    finally:
        terminal.close()


def test_no_color_is_honoured(bpf_possible: None) -> None:
    output = tour(NO_COLOR="1")
    used = {part for found in re.findall(rb"\x1b\[([\d;]*)m", output) for part in found.split(b";")}
    assert used <= {b"", b"0", b"1", b"2", b"3", b"4", b"7"}
    assert b"7" in used  # the cursor is still seen


@pytest.mark.parametrize("term", ["linux", "screen", "tmux", "xterm", "xterm-kitty", "tmux-256color"])
def test_terminals_that_work(bpf_possible: None, term: str) -> None:
    terminal = Terminal(TERM=term, COLORTERM="", columns=80, lines=24)
    try:
        terminal.shows("Connections")
        if term in {"linux", "screen", "tmux", "xterm"}:
            assert not re.search(rb"\x1b\[[\d;]*[34]8;", terminal.output)  # 16 colours
    finally:
        terminal.close()


@pytest.mark.parametrize("term", ["vt100", "vt220", "dumb", "", "unknown"])
def test_terminals_that_do_not(term: str) -> None:
    terminal = Terminal(TERM=term, columns=200, lines=10)
    assert terminal.ended() == 2
    terminal.close()
    (line,) = filter(None, map(str.strip, terminal.screen.display))
    assert line.startswith(f"tcptop-tui: the dashboard cannot draw on TERM={term or '(not set)'}: ")


# -- themes -----------------------------------------------------------------------------------


OURS = [theme for theme in THEMES if not theme.ansi]


@pytest.mark.parametrize("theme", OURS, ids=lambda theme: theme.name)
def test_every_state_can_be_read(theme: object) -> None:
    for state in State:
        color = theme.variables[f"state-{state.name.lower()}"]  # type: ignore[attr-defined]
        assert contrast(color, theme.background) >= 4.5, state  # type: ignore[attr-defined]


@pytest.mark.parametrize("theme", OURS, ids=lambda theme: theme.name)
def test_each_state_has_its_own_colour_on_256_colours_too(theme: object) -> None:
    colors = [theme.variables[f"state-{state.name.lower()}"] for state in State]  # type: ignore[attr-defined]
    assert len(set(colors)) == len(colors)
    cube = {0, 0x5F, 0x87, 0xAF, 0xD7, 0xFF}
    for color in map(Color.parse, colors):
        grey = color.r == color.g == color.b and (color.r - 8) % 10 == 0
        assert grey or set(color.rgb) <= cube


def seen_with(color: str, kind: str) -> tuple[float, ...]:
    """As somebody sees it without one kind of cones (Viénot, Brettel and Mollon 1999)."""
    matrix = {
        "protanopia": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
        "deuteranopia": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    }[kind]
    linear = [(part / 255) ** 2.2 for part in Color.parse(color).rgb]
    mixed = [max(0.0, sum(a * b for a, b in zip(row, linear, strict=True))) for row in matrix]
    return tuple(255 * part ** (1 / 2.2) for part in mixed)


@pytest.mark.parametrize("kind", ["protanopia", "deuteranopia"])
def test_states_that_matter_are_told_apart_by_the_colour_blind(kind: str) -> None:
    theme = next(theme for theme in THEMES if theme.name == "tcptop-colorblind")
    states = ("established", "syn_sent", "close_wait", "fin_wait1", "last_ack", "time_wait", "listen")
    for one, other in combinations(states, 2):
        a, b = (seen_with(theme.variables[f"state-{state}"], kind) for state in (one, other))
        assert sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 > 40, (one, other)


def test_sixteen_colours_where_there_are_no_more() -> None:
    known = {theme.name for theme in THEMES}
    assert select_theme("tcptop-dark", "standard", known)[0] == SIXTEEN
    assert select_theme("tcptop-light", "standard", known)[0] == "tcptop-light"
    assert select_theme("tcptop-dark", "256", known)[0] == "tcptop-dark"
    name, told = select_theme("nosuch", "truecolor", known)
    assert name == "tcptop-dark"
    assert "nosuch" in told
