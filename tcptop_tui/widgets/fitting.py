"""Puts as many items on a line as it has cells for: whole items only, the important ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

_GAP = 2
_MORE = " …"
"""Stands at the end of a line that some items did not fit on."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a line says."""

    rank: float
    """Items of a low rank stay when the line is narrow; of equal ones those to the left."""
    forms: tuple[Text, ...]
    """The same in other words, the longest first."""
    cut: int = 0
    """The last form may be cut to so many cells, with an ellipsis; 0: it is shown as a whole or not at all."""

    @property
    def least(self) -> int:
        """Cells that it takes at least."""
        return min(self.forms[-1].cell_len, self.cut or self.forms[-1].cell_len)

    def within(self, cells: int) -> Text:
        """The longest form that ``cells`` hold, at least ``least``."""
        for form in self.forms:
            if form.cell_len <= cells:
                return form
        form = self.forms[-1].copy()
        form.truncate(cells, overflow="ellipsis")
        return form


def fitting(items: Sequence[Item], cells: int) -> list[Item]:
    """The items that fit on a line of ``cells`` in their shortest forms, in the order of ``items``.

    The first one that does not fit ends the choice: what is less important never takes its place.
    """
    by_rank = sorted(range(len(items)), key=lambda place: items[place].rank)
    for count in range(len(items), 0, -1):
        places = by_rank[:count]
        used = sum(items[place].least for place in places) + _GAP * (count - 1)
        if used + (len(_MORE) if count < len(items) else 0) <= cells:
            return [items[place] for place in sorted(places)]
    return []


def fitted_line(items: Sequence[Item], cells: int) -> Text:
    """``items`` on one line of at most ``cells``, two blanks between them.

    Items that do not fit are left out as a whole, the least important first, and ``…`` says so. An
    item is as long as there is room for, the most important one first. Only where not even the most
    important item fits is that one cut, with an ellipsis.
    """
    shown = fitting(items, cells)
    if not shown:
        return min(items, key=lambda item: item.rank).within(cells) if items else Text()
    more = _MORE if len(shown) < len(items) else ""
    spare = cells - len(more) - sum(item.least for item in shown) - _GAP * (len(shown) - 1)
    forms: dict[int, Text] = {}
    for place in sorted(range(len(shown)), key=lambda place: shown[place].rank):
        forms[place] = shown[place].within(shown[place].least + spare)
        spare -= forms[place].cell_len - shown[place].least
    return Text(" " * _GAP).join([forms[place] for place in range(len(shown))]).append(more)
