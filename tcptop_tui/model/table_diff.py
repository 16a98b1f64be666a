"""Compares two successive tables by id: which rows are the same connection, which are new, which are gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Mask

Ids = NDArray[np.uint64]
"""Ids of a table's rows, ascending, shape (n,)."""
Number = TypeVar("Number", bound=np.generic)


def _no_rows() -> NDArray[np.intp]:
    return np.zeros(0, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class TableDiff:
    """The way from the earlier of two tables to the later one.

    It is computed once for each table: half of what a store does with a table compares it with the one before.
    """

    ids: Ids = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Ids of the later table."""
    earlier_row: NDArray[np.intp] = field(default_factory=_no_rows)
    """For each row of the later table the same connection's row in the earlier one; 0 where ``existed`` is False."""
    existed: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    """For each row of the later table whether the earlier one had the connection."""
    added: NDArray[np.intp] = field(default_factory=_no_rows)
    """Rows of the later table that the earlier one had not."""
    removed: NDArray[np.intp] = field(default_factory=_no_rows)
    """Rows of the earlier table that the later one has not."""
    same_prefix: int = 0
    """How many rows at the beginning are the same connections in both tables."""

    @classmethod
    def from_ids(cls, earlier_ids: Ids, ids: Ids) -> TableDiff:
        """Compare the ids of two tables."""
        common_length = min(len(earlier_ids), len(ids))
        differs = earlier_ids[:common_length] != ids[:common_length]
        # connections that live long have the lowest ids: most rows of a table have the number that they had before
        same = int(differs.argmax()) if differs.any() else common_length
        if same == len(earlier_ids) == len(ids):
            ids = earlier_ids  # one array serves all tables that have the same rows
        earlier_row, existed = np.arange(len(ids)), np.ones(len(ids), np.bool_)
        is_removed = np.ones(len(earlier_ids), np.bool_)
        is_removed[:same] = False
        if same < len(earlier_ids):
            insertion = np.searchsorted(earlier_ids[same:], ids[same:]) + same
            earlier_row[same:] = np.minimum(insertion, len(earlier_ids) - 1)
            existed[same:] = earlier_ids[earlier_row[same:]] == ids[same:]
            is_removed[earlier_row[same:][existed[same:]]] = False
        else:
            existed[same:] = False
        added = np.flatnonzero(~existed)
        earlier_row[added] = 0
        return cls(ids, earlier_row, existed, added, np.flatnonzero(is_removed), same)

    def carry_over(self, values: NDArray[Number], default: float) -> NDArray[Number]:
        """Bring values from beside the rows of the earlier table to beside those of the later one.

        Args:
            values: shape (..., rows of the earlier table).
            default: the value of rows that are new.

        Returns:
            Shape (..., rows of the later table). It is ``values`` itself where both tables have the same rows.
        """
        if self.same_prefix == len(self.ids) == values.shape[-1]:
            return values
        carried = np.empty((*values.shape[:-1], len(self.ids)), values.dtype)
        carried[..., : self.same_prefix] = values[..., : self.same_prefix]
        if values.shape[-1]:
            carried[..., self.same_prefix :] = values[..., self.earlier_row[self.same_prefix :]]
        carried[..., self.added] = default
        return carried
