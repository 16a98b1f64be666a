"""Which rows of two tables are the same connection; both are sorted by ``id``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Mask

Ids = NDArray[np.uint64]
Number = TypeVar("Number", bound=np.generic)


def _no_rows() -> NDArray[np.intp]:
    return np.zeros(0, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class TableDiff:
    """From one table to a later one, found out once for everybody who compares the two."""

    ids: Ids = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Of the later one."""
    earlier_row: NDArray[np.intp] = field(default_factory=_no_rows)
    """By row of the later one: which row of the earlier one it was."""
    existed: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    """By row of the later one: whether it was one; ``place`` is 0 where it was not."""
    added: NDArray[np.intp] = field(default_factory=_no_rows)
    """Rows of the later one that were not ``there``."""
    removed: NDArray[np.intp] = field(default_factory=_no_rows)
    """Rows of the earlier one that are not in the later one."""
    same_prefix: int = 0
    """The first so many rows are the same ones in both."""

    @classmethod
    def from_ids(cls, before: Ids, ids: Ids) -> TableDiff:
        """From ids to ids."""
        together = min(len(before), len(ids))
        differs = before[:together] != ids[:together]
        # connections that stay have the lowest ids: most of a table stands where it stood
        same = int(differs.argmax()) if differs.any() else together
        if same == len(before) == len(ids):
            ids = before  # one array for as many tables as it can be
        place, there = np.arange(len(ids)), np.ones(len(ids), np.bool_)
        gone = np.ones(len(before), np.bool_)
        gone[:same] = False
        if same < len(before):
            place[same:] = np.minimum(np.searchsorted(before[same:], ids[same:]) + same, len(before) - 1)
            there[same:] = before[place[same:]] == ids[same:]
            gone[place[same:][there[same:]]] = False
        else:
            there[same:] = False
        fresh = np.flatnonzero(~there)
        place[fresh] = 0
        return cls(ids, place, there, fresh, np.flatnonzero(gone), same)

    def carry_over(self, values: NDArray[Number], otherwise: float) -> NDArray[Number]:
        """What stood beside the rows of the earlier table, shape (..., n), beside those of the later one.

        The very same array, if these are the same rows.
        """
        if self.same_prefix == len(self.ids) == values.shape[-1]:
            return values
        beside = np.empty((*values.shape[:-1], len(self.ids)), values.dtype)
        beside[..., : self.same_prefix] = values[..., : self.same_prefix]
        if values.shape[-1]:
            beside[..., self.same_prefix :] = values[..., self.earlier_row[self.same_prefix :]]
        beside[..., self.added] = otherwise
        return beside
