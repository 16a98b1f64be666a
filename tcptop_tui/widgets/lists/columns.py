"""Where the columns of a list stand on the screen, and which of them are left out when the screen is narrow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from tcptop_tui.config.schema import ColumnChoice
from tcptop_tui.fields import Field


def select_columns(columns: tuple[Field, ...], choices: Iterable[ColumnChoice]) -> tuple[Field, ...]:
    """Those of ``columns`` that the user has chosen, in the chosen order and width. An unknown key is left out."""
    by_key = {column.key: column for column in columns}
    selected = {choice.key: (by_key[choice.key], choice.width) for choice in choices if choice.key in by_key}.values()
    return tuple(replace(column, width=width, stretch=0) if width else column for column, width in selected)


@dataclass(frozen=True, slots=True)
class PlacedColumn:
    """A column and where it stands on the screen."""

    column: Field
    left: int
    """Cells to the left of it."""
    width: int
    """Cells; a blank follows them."""


_LATE_RANK = 14
"""Columns of this rank and above (AGE, USER) get what long addresses leave."""
_SORTED_RANK = 0.5
"""The column that the list is sorted by stays, beside the process, however narrow the list gets."""

WidestTexts: TypeAlias = tuple[tuple[str, int], ...]
"""Keys of columns, and how many cells the longest text of each takes."""


@lru_cache(maxsize=64)
def place_columns(
    columns: tuple[Field, ...], pinned_key: str, width: int, skip: int = 0, *,
    exact: bool = False, sort: str = "", widest: WidestTexts = (),
) -> tuple[PlacedColumn, ...]:  # fmt: skip
    """The columns that fit on a screen of ``width`` cells, from left to right, a blank between two.

    Args:
        columns: all columns of the list, in their order.
        pinned_key: key of the column that stays when ``skip`` leaves others out.
        width: cells.
        skip: 0: the columns of the lowest ranks that fit. From 1 on, after the user has pressed →: the columns in
            their order from number ``skip`` on (counted from 1), and the pinned one before them.
        exact: the user has chosen the columns: as many as fit, in their order and at their width.
        sort: key of the column that the list is sorted by. It is always there.
        widest: what addresses need to be seen whole.
    """
    if skip:
        pinned = [column for column in columns if column.key == pinned_key]
        candidates = [*pinned, *(column for column in columns[min(skip, len(columns)) - 1 :] if column not in pinned)]
    elif exact:
        candidates = list(columns)
    else:
        ranks = {column: _SORTED_RANK if column.key == sort else column.rank for column in columns}
        usual = (column for column in columns if not column.optional or column.key == sort)
        candidates = sorted(usual, key=lambda column: ranks[column])
    needed_cells = {
        column: min(cells - column.width, column.stretch)
        for column in candidates for key, cells in widest if key == column.key and cells > column.width
    }  # fmt: skip
    fitting: list[Field] = []
    used = reserved = 0
    for column in candidates:
        if not skip and not exact and column.rank >= _LATE_RANK and column.key != sort:
            reserved = sum(needed_cells.get(other, 0) for other in fitting)
        if used + reserved + column.width > width:
            break
        fitting.append(column)
        used += column.width + 1
    if not skip and not exact:
        fitting.sort(key=columns.index)
    return _stretched(fitting, width - used + 1, needed_cells)


def _stretched(columns: list[Field], spare: int, needed_cells: dict[Field, int]) -> tuple[PlacedColumn, ...]:
    """Give ``spare`` cells to the columns that need them, then to those that may take more than their width."""
    extra = dict.fromkeys(columns, 0)
    for limits in (needed_cells, {column: column.stretch for column in columns}):
        hungry = [column for column in columns if limits.get(column, 0) > extra[column]]
        while spare > 0 and hungry:
            for column in list(hungry):
                if spare > 0:
                    extra[column] += 1
                    spare -= 1
                if extra[column] == limits[column]:
                    hungry.remove(column)
    placed: list[PlacedColumn] = []
    left = 0
    for column in columns:
        width = column.width + extra[column]
        placed.append(PlacedColumn(column, left, width))
        left += width + 1
    return tuple(placed)
