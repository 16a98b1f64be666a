"""What a list shows at one moment: a view makes it from a frame, and ``Listing`` paints it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.filters import Filter
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.records import ROW, Mask
from tcptop_tui.widgets.lists.list_rows import ListRows


def _blank_rows(rows: NDArray[np.intp]) -> ListRows:
    return ListRows(np.zeros(len(rows), ROW), 0)


@dataclass(frozen=True, slots=True, eq=False)
class ListContent:
    """The rows of a list, in their order, and how to read them.

    A *row* is a row number of whatever the view shows; a *position* is a place in ``order``.
    """

    order: NDArray[np.intp]
    """Rows in display order, shape (n,)."""
    ids: NDArray[np.uint64]
    """By row: a number that stays with the row from one content to the next."""
    select_rows: Callable[[NDArray[np.intp]], ListRows]
    """From row numbers to the rows, with everything that their cells are made from."""
    sort_order: SortOrder | None = None
    """How ``order`` is sorted; None: the user cannot sort this list."""
    empty_text: str = ""
    """What stands in place of rows where there are none."""
    view_options: object = None
    """When it differs from the content before, every cell is painted again."""
    matches: Callable[[Filter], Mask] | None = None
    """From a search to a mask of the rows that match, by row; None: this list cannot be searched."""

    @property
    def sort_key(self) -> str:
        """Key of the column that the list is sorted by; empty: the user cannot sort it."""
        return "" if self.sort_order is None else self.sort_order.key

    def position_of(self, row_id: int) -> int | None:
        """The position of the row with this id; None where it is not shown."""
        positions = np.flatnonzero(self.ids[self.order] == row_id)
        return int(positions[0]) if len(positions) else None


NO_CONTENT = ListContent(np.zeros(0, np.intp), np.zeros(0, np.uint64), _blank_rows)
