"""What the terminal shows, what it should show, and the shortest way from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.drawing.cells import BLANK, CONTINUED, UNKNOWN, CellCodes, Codes
from tcptop_tui.drawing.pens import PLAIN, Pen, start_with, transition

_BRIDGE_CELLS = 4
"""Unchanged cells up to here are written again rather than jumped over: a jump costs as much."""
_FARTHEST_SHIFT = 3
_LEAST_SHIFTED = 4
"""Lines that must have moved together before the terminal is asked to move them."""


@dataclass(slots=True)
class _Layer:
    codes: Codes
    pens: NDArray[np.uint16]

    @classmethod
    def blank(cls, width: int, height: int, code: int) -> _Layer:
        return cls(np.full((height, width), code, np.uint32), np.zeros((height, width), np.uint16))


@dataclass(frozen=True, slots=True)
class _Row:
    """A line while it is drawn: lists, because lines are too short for numpy to be fast."""

    line: int
    cells: list[str]
    pens: list[int]
    unsure_after: frozenset[int]


class Grid:
    """A screen of ``width`` by ``height`` cells.

    ``move``, ``use`` and ``write`` say what should be there; ``difference`` gives what to send, and
    takes it for shown.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._interned = CellCodes()
        self._target = _Layer.blank(width, height, BLANK)
        self._screen = _Layer.blank(width, height, BLANK)
        self._unknown = True
        self._dirty_lines: set[int] = set(range(height))
        self._x = self._y = 0
        self._pen = 0
        self._cursor: tuple[int, int] | None = None
        self._drawn_with: Pen | None = None
        self._out: list[str] = []

    # -- what should be there -----------------------------------------------------------------

    def move(self, x: int, y: int) -> None:
        """Write from there on; counted from 0."""
        self._x, self._y = x, y

    def set_pen(self, pen: Pen) -> None:
        """Write in this style."""
        self._pen = self._interned.pen(pen)

    def write(self, text: str) -> None:
        """Put ``text`` where the cursor is; what goes beyond the line's end is cut."""
        if not 0 <= self._y < self._height:
            return
        codes = self._interned.codes(text)
        start, self._x = self._x, self._x + len(codes)
        codes = codes[: max(0, self._width - start)]
        end = start + len(codes)
        self._target.codes[self._y, start:end] = codes
        pens = self._target.pens[self._y, start:end]
        pens[:] = self._pen
        on_blanks = self._interned.on_blanks[self._pen]
        if on_blanks != self._pen:
            pens[codes == BLANK] = on_blanks
        self._dirty_lines.add(self._y)

    def invalidate(self) -> None:
        """The terminal was written to by somebody else: it is cleared, and all is sent again."""
        self._screen.codes[:] = BLANK
        self._screen.pens[:] = 0
        self._unknown = True
        self._dirty_lines.update(range(self._height))
        self._cursor = self._drawn_with = None

    def lost_cursor(self) -> None:
        """A sequence was sent that may have moved the cursor or changed the style."""
        self._cursor = self._drawn_with = None

    @property
    def is_full(self) -> bool:
        """More styles or characters than are kept: make a new grid."""
        return self._interned.is_full

    # -- the way there ------------------------------------------------------------------------

    def difference(self) -> str:
        """What makes the terminal show what it should; empty when it does already."""
        self._out = []
        if self._unknown:
            self._out.append("\x1b[m\x1b[2J")
            self._drawn_with, self._unknown = PLAIN, False
        lines = sorted(line for line in self._dirty_lines if self._differs(line))
        self._dirty_lines.clear()
        if len(lines) >= _LEAST_SHIFTED and self._shift(lines):
            lines = [line for line in range(self._height) if self._differs(line)]
        for line in lines:
            self._draw(line)
        return "".join(self._out)

    def rest_at(self, x: int, y: int) -> str:
        """Put the cursor there, for who reads the screen by it."""
        self._out = []
        self._go(x, y)
        return "".join(self._out)

    def _changed(self, line: int) -> NDArray[np.bool_]:
        changed: NDArray[np.bool_] = (self._target.codes[line] != self._screen.codes[line]) | (
            self._target.pens[line] != self._screen.pens[line]
        )
        return changed

    def _differs(self, line: int) -> bool:
        return bool(self._changed(line).any())

    def _draw(self, line: int) -> None:
        changed = self._changed(line)
        if not changed.any():
            return
        wanted, shown = self._target, self._screen
        if (wanted.codes[line] == CONTINUED).any() or (shown.codes[line] == CONTINUED).any():
            changed[:] = True  # half of a wide character takes the other half with it
        cells, unsure_after = self._interned.cells(wanted.codes[line])
        row = _Row(line, cells, wanted.pens[line].tolist(), unsure_after)
        for start, end in self._runs(row, np.flatnonzero(changed).tolist()):
            for first, last, pen in self._in_one_style(row, start, end):
                self._draw_with(self._interned.pens[pen])
                self._write_run(row, first, last)
        shown.codes[line], shown.pens[line] = wanted.codes[line], wanted.pens[line]

    def _runs(self, row: _Row, places: list[int]) -> list[tuple[int, int]]:
        """Parts of a line to write, small gaps in one style included."""
        runs = [[places[0], places[0] + 1]]
        for place in places[1:]:
            end = runs[-1][1]
            if place == end or (
                place - end <= _BRIDGE_CELLS and self._looks_the_same(row, end, place, row.pens[end - 1])
            ):
                runs[-1][1] = place + 1
            else:
                runs.append([place, place + 1])
        return [(start, end) for start, end in runs]

    def _looks_the_same(self, row: _Row, start: int, end: int, pen: int) -> bool:
        """Whether cells look as they should when they are drawn in the style ``pen``."""
        on_blanks = self._interned.on_blanks[pen]
        return all(row.pens[x] == pen or (row.cells[x] == " " and row.pens[x] == on_blanks) for x in range(start, end))

    def _in_one_style(self, row: _Row, start: int, end: int) -> list[tuple[int, int, int]]:
        """Parts of a run with their style; blanks go with a neighbour when nobody sees the difference."""
        bounds = [start, *(x for x in range(start + 1, end) if row.pens[x] != row.pens[x - 1]), end]
        parts: list[tuple[int, int, int]] = []
        for first, last in pairwise(bounds):
            pen = row.pens[first]
            if parts and self._looks_the_same(row, first, last, parts[-1][2]):
                parts[-1] = (parts[-1][0], last, parts[-1][2])
            elif parts and self._looks_the_same(row, parts[-1][0], first, pen):
                parts[-1] = (parts[-1][0], last, pen)
            else:
                parts.append((first, last, pen))
        return parts

    def _write_run(self, row: _Row, first: int, last: int) -> None:
        """Write cells in the style that is set; go there, and go anew after what has no sure width."""
        bounds = [first, *(x + 1 for x in sorted(row.unsure_after) if first <= x < last - 1), last]
        for start, end in pairwise(bounds):
            text = "".join(row.cells[start:end])
            if not text:
                continue
            self._go(start + (row.cells[start] == ""), row.line)
            self._out.append(text)
            # at the last column some terminals keep the cursor and some hold it back
            sure = end < self._width and end - 1 not in row.unsure_after and row.cells[end - 1] != ""
            self._cursor = (end, row.line) if sure else None

    def _go(self, x: int, y: int) -> None:
        if self._cursor == (x, y):
            return
        ways = [f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H"]
        if self._cursor is not None and self._cursor[1] == y and x > self._cursor[0]:
            forward = x - self._cursor[0]
            ways.append(f"\x1b[{forward}C" if forward > 1 else "\x1b[C")
        self._out.append(min(ways, key=len))
        self._cursor = (x, y)

    def _draw_with(self, pen: Pen) -> None:
        self._out.append(start_with(pen) if self._drawn_with is None else transition(self._drawn_with, pen))
        self._drawn_with = pen

    # -- lines that move together -------------------------------------------------------------

    def _shift(self, lines: list[int]) -> bool:
        """Let the terminal move what only moved up or down; returns whether it did."""
        wanted = {line: self._key(self._target, line) for line in lines}
        shown = {line: self._key(self._screen, line) for line in range(self._height)}
        best = 0
        moved: list[int] = []
        for step in (by * way for by in range(1, _FARTHEST_SHIFT + 1) for way in (1, -1)):
            same = [line for line in lines if shown.get(line + step) == wanted[line]]
            if len(same) > max(len(moved), _LEAST_SHIFTED - 1):
                best, moved = step, same
        top, bottom = (min(moved[0], moved[0] + best), max(moved[-1], moved[-1] + best) + 1) if moved else (0, 0)
        if not moved or bottom - top > 2 * len(moved):
            return False
        self._move_lines(top, bottom, best)
        return True

    @staticmethod
    def _key(layer: _Layer, line: int) -> bytes:
        key: bytes = layer.codes[line].tobytes() + layer.pens[line].tobytes()
        return key

    def _move_lines(self, top: int, bottom: int, step: int) -> None:
        """Delete or insert lines at the top of a scrolling region: every terminal since the VT102 can."""
        self._draw_with(PLAIN)
        self._out.append(f"\x1b[{top + 1};{bottom}r\x1b[{top + 1}H")
        self._out.append(f"\x1b[{abs(step)}{'M' if step > 0 else 'L'}\x1b[r")
        self._cursor = None
        for layer in (self._screen.codes, self._screen.pens):
            part = layer[top:bottom]
            part[:] = np.roll(part, -step, axis=0)
        emptied = slice(bottom - step, bottom) if step > 0 else slice(top, top - step)
        self._screen.codes[emptied] = UNKNOWN
