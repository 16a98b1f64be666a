"""Memory for tables, used again when nobody looks at the table in it any more.

A table of 100,000 connections is 19 MB. New memory has to be given by the kernel and cleared page by page, and
in a virtual machine by the host before: that took longer than what was then written there. And most of what is in
it already is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.host.memory import is_unreferenced
from tcptop_tui.records import ROW, Mask, Rows


@dataclass(slots=True, eq=False)
class TableBuffer:
    """Memory, and which table is in it."""

    memory: NDArray[np.uint8]
    ids: NDArray[np.uint64]
    """Of its rows."""
    table_number: int = 0
    """Of the table."""

    @property
    def is_free(self) -> bool:
        """Nobody looks at the table."""
        return is_unreferenced(self, "memory")

    def rows(self, count: int) -> Rows:
        """The first so many, dtype ROW."""
        return self.memory[: count * ROW.itemsize].view(ROW)

    def differs(self, ids: NDArray[np.uint64], changed: NDArray[np.intp]) -> Mask:
        """Which rows of another table are not in their place, shape (n,).

        Args:
            ids: of its rows
            changed: number of the first table that shows each as it is
        """
        differs = np.ones(len(ids), np.bool_)
        both = min(len(ids), len(self.ids))
        differs[:both] = (self.ids[:both] != ids[:both]) | (changed[:both] > self.table_number)
        return differs


class BufferPool:
    """Of one thread; the tables may be let go of by any."""

    def __init__(self) -> None:
        self._buffers: list[TableBuffer] = []

    def acquire(self, count: int) -> TableBuffer:
        """With space for ``count`` rows: nobody else's while a view of its memory is there.

        Of those that are free the one with the latest table; there may be anything in it.
        """
        wanted = count * ROW.itemsize
        free = [room for room in self._buffers if room.is_free]
        fitting = [room for room in free if wanted <= len(room.memory) <= 2 * wanted]
        if fitting:
            taken = max(fitting, key=lambda room: room.table_number)
        else:
            taken = TableBuffer(np.empty(wanted + wanted // 16, "u1"), np.zeros(0, "<u8"))  # tables grow slowly
        self._buffers = [room for room in self._buffers if room not in free] + [taken]
        return taken
