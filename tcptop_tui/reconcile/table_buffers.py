"""Memory for tables, used again when nobody refers to the table in it any more.

A table of 100,000 connections is 21 MB, and most rows of the table that lay in a buffer are still right in the next
one. So a buffer remembers the ids and the number of its table: only rows that differ are written again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.host.buffer_pool import Buffer, BufferPool, new_memory
from tcptop_tui.records import ROW, Mask, Rows


@dataclass(slots=True, eq=False)
class TableBuffer(Buffer):
    """Memory, and which table is in it."""

    ids: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, "<u8"))
    """The ids of the table's rows; empty: the content is undefined."""
    table_number: int = 0

    def differing_rows(self, ids: NDArray[np.uint64], changed_in: NDArray[np.intp]) -> Mask:
        """Which rows of another table the buffer does not have in their place, shape (n,).

        Args:
            ids: of the other table's rows, shape (n,).
            changed_in: number of the first table that shows each row as it is, shape (n,).
        """
        differs = np.ones(len(ids), np.bool_)
        shared = min(len(ids), len(self.ids))
        differs[:shared] = (self.ids[:shared] != ids[:shared]) | (changed_in[:shared] > self.table_number)
        return differs


class TableBufferPool(BufferPool[TableBuffer]):
    """The buffers of one table builder."""

    def acquire(self, row_count: int) -> tuple[TableBuffer, Rows]:
        """Lend a buffer: of those that are free and of the right size the one with the latest table, else a new one.

        The other free buffers are given up, so that no more memory stays than tables use.

        Returns:
            The buffer, and ``row_count`` rows in it, dtype ROW: those of the buffer's table, as far as it goes.
        """
        size_bytes = row_count * ROW.itemsize
        fitting = [buffer for buffer in self.take_free() if size_bytes <= len(buffer.memory) <= 2 * size_bytes]
        if fitting:
            buffer = max(fitting, key=lambda free: free.table_number)
        else:
            buffer = TableBuffer(new_memory(size_bytes + size_bytes // 16))  # tables grow slowly
        return buffer, self.lend(buffer)[:size_bytes].view(ROW)
