"""Strings as the cells that they take on a screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.cells import get_character_cell_size

from tcptop_tui.drawing.pens import PLAIN, Pen

BLANK = 0x20
CONTINUED = 0
"""The second cell of a wide character."""
UNKNOWN = 0xFFFF_FFFF
"""Nobody knows what the terminal shows there."""
_FIRST_CLUSTER = 0x11_0000
"""From here on numbers stand for what is not one character of one cell."""
_MAX_INTERNED = 4096

Codes = NDArray[np.uint32]


@dataclass(slots=True)
class CellCodes:
    """Styles and unusual characters by number."""

    pens: list[Pen] = field(default_factory=lambda: [PLAIN])
    on_blanks: list[int] = field(default_factory=lambda: [0])
    """By style the number of what of it is seen on a blank."""
    _pen_numbers: dict[Pen, int] = field(default_factory=lambda: {PLAIN: 0})
    _clusters: list[str] = field(default_factory=list)
    _cluster_numbers: dict[str, int] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Time to forget them all."""
        return max(len(self.pens), len(self._clusters)) > _MAX_INTERNED

    def pen(self, pen: Pen) -> int:
        """Number of a style."""
        number = self._pen_numbers.get(pen)
        if number is None:
            number = self._pen_numbers[pen] = len(self.pens)
            self.pens.append(pen)
            self.on_blanks.append(number)
            self.on_blanks[number] = self.pen(pen.on_blanks())
        return number

    def _cluster(self, cluster: str) -> int:
        number = self._cluster_numbers.get(cluster)
        if number is None:
            number = self._cluster_numbers[cluster] = len(self._clusters) + _FIRST_CLUSTER
            self._clusters.append(cluster)
        return number

    def codes(self, text: str) -> Codes:
        """A number for each cell that ``text`` takes."""
        if text.isascii() or _is_simple(text):
            return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        cells: list[str] = []
        for character in text:
            size = get_character_cell_size(character)
            if size:
                cells += [character, *[""] * (size - 1)]
            elif cells:  # a mark stands on the character before
                place = len(cells) - 1 - (cells[-1] == "")
                cells[place] += character
        return np.array([self._code(cell) for cell in cells], np.uint32)

    def _code(self, cell: str) -> int:
        if not cell:
            return CONTINUED
        if len(cell) == 1 and get_character_cell_size(cell) == 1:
            return ord(cell)
        return self._cluster(cell)

    def cells(self, codes: Codes) -> tuple[list[str], frozenset[int]]:
        """What to write for each cell, and after which cells nobody knows where the cursor is.

        Terminals disagree about the width of what is not plainly one cell wide.
        """
        if bool(((codes < _FIRST_CLUSTER) & (codes != CONTINUED)).all()):
            return list(codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")), frozenset()
        cells = [
            "" if code == CONTINUED else chr(code) if code < _FIRST_CLUSTER else self._clusters[code - _FIRST_CLUSTER]
            for code in codes.tolist()
        ]
        return cells, frozenset(np.flatnonzero(codes >= _FIRST_CLUSTER).tolist())


@lru_cache(maxsize=4096)
def _is_simple(text: str) -> bool:
    """Whether each character takes one cell."""
    return all(get_character_cell_size(character) == 1 for character in text)
