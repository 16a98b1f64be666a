"""What goes to the terminal: whatever is drawn, an emulator that gets the differences shows the same."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Any

import pyte
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual.drivers._writer_thread import WriterThread

from tcptop_tui.drawing.driver import DiffDriver, _NotifyingFile
from tcptop_tui.drawing.grid import Grid
from tcptop_tui.drawing.pens import PLAIN, Pen, parse_sgr, transition

WIDTH, HEIGHT = 24, 12

PENS = ["", "1", "31", "38;5;200", "38;2;1;2;3;48;2;4;5;6", "1;4;97;44", "7", "2;3;39;49", "9;100;30"]
TEXTS = st.text(st.sampled_from("ab  xyz019–█▏→漢字é́"), min_size=1, max_size=WIDTH)
PIECES = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.sampled_from(PENS), TEXTS)
DRAWINGS = st.lists(st.lists(PIECES, min_size=1, max_size=8), min_size=1, max_size=6)


class Emulator:
    """A terminal that wraps no lines, as Textual asks for."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self.screen.reset_mode(pyte.modes.DECAWM >> 5, private=True)
        self._stream = pyte.Stream(self.screen)

    def feed(self, data: str) -> None:
        self._stream.feed(data)

    @property
    def cells(self) -> list[list[tuple[Any, ...]]]:
        """What can be seen: on a blank the foreground cannot."""
        return [[self._cell(self.screen.buffer[y][x]) for x in range(WIDTH)] for y in range(HEIGHT)]

    @staticmethod
    def _cell(cell: Any) -> tuple[Any, ...]:
        if cell.data == " " and not (cell.underscore or cell.reverse or cell.strikethrough):
            return (" ", cell.bg)
        return tuple(cell)


def direct(pieces: list[tuple[int, int, str, str]]) -> str:
    return "".join(f"\x1b[{y + 1};{x + 1}H\x1b[{pen}m{text}\x1b[0m" for x, y, pen, text in pieces)


def fitting(pieces: list[tuple[int, int, str, str]]) -> list[tuple[int, int, str, str]]:
    """One a line: Textual never cuts a wide character in half, nor draws a mark without its letter."""
    kept = {y: (x, y, pen, text) for x, y, pen, text in pieces if x + 2 * len(text) <= WIDTH and text[0] != "\u0301"}
    return list(kept.values())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(DRAWINGS)
def test_differences_show_what_whole_drawings_show(drawings: list[list[tuple[int, int, str, str]]]) -> None:
    plain, thin = Emulator(), Emulator()
    grid = Grid(WIDTH, HEIGHT)
    thin.feed(grid.difference())
    for pieces in map(fitting, drawings):
        # whole lines first, so that no half of a wide character is left over: Textual draws strips
        whole = [(0, y, "", " " * WIDTH) for y in sorted({y for _, y, _, _ in pieces})] + pieces
        plain.feed(direct(whole))
        for x, y, pen, text in whole:
            grid.move(x, y)
            grid.set_pen(parse_sgr(pen))
            grid.write(text)
        thin.feed(grid.difference())
        assert thin.cells == plain.cells
        assert grid.difference() == ""


@given(st.lists(st.integers(0, 30), min_size=HEIGHT - 2, max_size=HEIGHT - 2), st.integers(-4, 4))
def test_lines_that_moved_are_moved(numbers: list[int], step: int) -> None:
    plain, thin = Emulator(), Emulator()
    grid = Grid(WIDTH, HEIGHT)
    for shift in (0, step):
        pieces = [
            (0, y + 1, "48;5;17" if number % 2 else "31", f"{number:>20}    ")
            for y, number in enumerate([*numbers[shift:], *numbers[:shift]])
        ]
        plain.feed(direct(pieces))
        for x, y, pen, text in pieces:
            grid.move(x, y)
            grid.set_pen(parse_sgr(pen))
            grid.write(text)
        thin.feed(grid.difference())
        if not shift:
            blank = [(0, 0, "", " " * WIDTH), (0, HEIGHT - 1, "", " " * WIDTH)]
            plain.feed(direct(blank))
    assert thin.cells == plain.cells


def test_scrolling_by_one_costs_little_more_than_the_new_line() -> None:
    grid = Grid(80, 24)
    for top in (0, 1):
        for y in range(24):
            grid.move(0, y)
            grid.write(f"{(top + y) * 7919:>70}          " if 2 < y < 22 else " " * 80)
        sent = grid.difference()
    assert len(sent) < 80 + 40


def test_one_cell_costs_its_place_and_itself() -> None:
    grid = Grid(80, 24)
    for number in ("40", "41", "42"):
        grid.move(10, 5)
        grid.set_pen(parse_sgr("38;5;12;48;5;17"))
        grid.write(f"in 12345{number} ms")
        sent = grid.difference()
    assert sent == "\x1b[6;20H2"


@pytest.mark.parametrize(
    ("before", "after", "sent"),
    [
        (PLAIN, PLAIN, ""),
        (Pen(foreground="38;5;12"), PLAIN, "\x1b[m"),
        (Pen(foreground="31", background="44"), Pen(foreground="32", background="44"), "\x1b[32m"),
        (Pen(frozenset("1"), "31", "44"), Pen(frozenset(), "31", "44"), "\x1b[0;31;44m"),
        (Pen(background="44"), Pen(frozenset("1"), background="44"), "\x1b[1m"),
    ],
)
def test_the_way_between_two_styles_is_short(before: Pen, after: Pen, sent: str) -> None:
    assert transition(before, after) == sent


class Slow(io.StringIO):
    """A terminal that takes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let, self.wrote = threading.Event(), threading.Event()
        self.writes = 0

    def write(self, text: str) -> int:
        self.let.wait(30)
        self.writes += 1
        written = super().write(text)
        self.wrote.set()
        return written


async def test_a_slow_terminal_gets_the_latest_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiffDriver, "_get_terminal_size", lambda _self: (WIDTH, HEIGHT))
    slow = Slow()
    driver = DiffDriver(None)  # type: ignore[arg-type]  no application is needed to draw
    driver._file = _NotifyingFile(slow, driver._output_written)
    driver._writer_thread = WriterThread(driver._file)
    driver._writer_thread.start()
    for number in range(200):  # more than Textual's queue of 30 holds: without care the loop would stop here
        driver.write(f"\x1b[1;1H\x1b[31mnumber {number:4}\x1b[0m\x1b[1;1H")
        driver.flush()
    slow.let.set()
    emulator = Emulator()
    while "199" not in slow.getvalue():
        assert await asyncio.to_thread(slow.wrote.wait, 30)
        slow.wrote.clear()
    await asyncio.to_thread(driver._writer_thread.stop)
    emulator.feed(slow.getvalue())
    assert "number  199" in emulator.screen.display[0]
    assert slow.writes <= 3
