"""Where the columns of a list stand, and which go first when it is narrow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from tcptop_tui.config.schema import ColumnChoice
from tcptop_tui.fields import Field


def select_columns(columns: tuple[Field, ...], choices: Iterable[ColumnChoice]) -> tuple[Field, ...]:
    """Those of ``columns`` that somebody wants, in his order and width; a key that is not known is left out."""
    by_key = {column.key: column for column in columns}
    wanted = {choice.key: (by_key[choice.key], choice.width) for choice in choices if choice.key in by_key}.values()
    return tuple(replace(column, width=width, stretch=0) if width else column for column, width in wanted)


@dataclass(frozen=True, slots=True)
class PlacedColumn:
    """A column where it stands on the screen."""

    column: Field
    left: int
    width: int


_LATE_RANK = 14
"""Columns of this rank and above (AGE, USER) get what long addresses leave."""
_SORTED_RANK = 0.5
"""What the list is sorted by stays, beside the process, however narrow it gets."""

Wide: TypeAlias = tuple[tuple[str, int], ...]
"""Keys of columns, and how many cells their longest text takes."""


@lru_cache(maxsize=64)
def place_columns(
    columns: tuple[Field, ...], pinned_key: str, width: int, skip: int = 0, *,
    exact: bool = False, sort: str = "", wide: Wide = (),
) -> tuple[PlacedColumn, ...]:  # fmt: skip
    """The columns for a screen of ``width`` cells, a blank between two.

    ``exact`` ones stand as they are given, as many as fit. With ``skip`` of 0 those of the lowest
    rank that fit; else, as after → was pressed, all in their order from number ``skip`` on (counted
    from 1), the pinned one always among them.

    Args:
        columns: all there are.
        pinned_key: of the column that stays.
        width: cells.
        skip: see above.
        exact: see above.
        sort: key of the column that the list is sorted by: it is always there.
        wide: what addresses need to be seen whole.
    """
    if skip:
        pinned = [column for column in columns if column.key == pinned_key]
        candidates = [*pinned, *(column for column in columns[min(skip, len(columns)) - 1 :] if column not in pinned)]
    elif exact:
        candidates = list(columns)
    else:
        ranks = {column: _SORTED_RANK if column.key == sort else column.rank for column in columns}
        wanted = (column for column in columns if not column.optional or column.key == sort)
        candidates = sorted(wanted, key=lambda column: ranks[column])
    more = {
        column: min(cells - column.width, column.stretch)
        for column in candidates for key, cells in wide if key == column.key and cells > column.width
    }  # fmt: skip
    chosen: list[Field] = []
    used = reserved = 0
    for column in candidates:
        if not skip and not exact and column.rank >= _LATE_RANK and column.key != sort:
            reserved = sum(more.get(one, 0) for one in chosen)
        if used + reserved + column.width > width:
            break
        chosen.append(column)
        used += column.width + 1
    if not skip and not exact:
        chosen.sort(key=columns.index)
    return _stretched(chosen, width - used + 1, more)


def _stretched(chosen: list[Field], spare: int, more: dict[Field, int]) -> tuple[PlacedColumn, ...]:
    """Give ``spare`` cells to the columns that need ``more``, then to those that can use them."""
    extra = dict.fromkeys(chosen, 0)
    for limits in (more, {column: column.stretch for column in chosen}):
        hungry = [column for column in chosen if limits.get(column, 0) > extra[column]]
        while spare > 0 and hungry:
            for column in list(hungry):
                if spare > 0:
                    extra[column] += 1
                    spare -= 1
                if extra[column] == limits[column]:
                    hungry.remove(column)
    placed: list[PlacedColumn] = []
    left = 0
    for column in chosen:
        width = column.width + extra[column]
        placed.append(PlacedColumn(column, left, width))
        left += width + 1
    return tuple(placed)
