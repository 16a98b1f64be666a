"""What a list shows at one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.filters import Filter
from tcptop_tui.records import ROW, Mask
from tcptop_tui.widgets.lists.page import RowTexts


def _empty_cell(rows: NDArray[np.intp]) -> RowTexts:
    return RowTexts(np.zeros(len(rows), ROW), 0)


@dataclass(frozen=True, slots=True, eq=False)
class ListContent:
    """What a list shows at one moment."""

    order: NDArray[np.intp]
    """Rows in display order, shape (n,)."""
    ids: NDArray[np.uint64]
    """By row: what stays with it from one sheet to the next."""
    page: Callable[[NDArray[np.intp]], RowTexts]
    """Some rows, with all that their texts are made from."""
    sort: str = ""
    descending: bool = True
    title: str = ""
    """What stands in place of rows where there are none."""
    view_options: object = None
    """Another one, and nothing of what is on the screen can stay."""
    matches: Callable[[Filter], Mask] | None = None
    """By row: which ones a search wants; None: this list cannot be searched."""

    def position_of(self, row_id: int) -> int | None:
        """Where a row stands; None when it is not shown."""
        found = np.flatnonzero(self.ids[self.order] == row_id)
        return int(found[0]) if len(found) else None


NO_CONTENT = ListContent(np.zeros(0, np.intp), np.zeros(0, np.uint64), _empty_cell)
