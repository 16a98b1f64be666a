"""Stores the latest records, in order, as one contiguous array."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tcptop_tui.host.buffer_pool import Buffer, BufferPool, new_memory
from tcptop_tui.records import Rows
from tcptop_tui.row_copy import copy_into

_SPARE_SHARE = 16
"""A buffer has room for a sixteenth more than the limit. With less room everything has to be copied more often."""
_MAX_UNMERGED = 64
"""So many appended arrays wait at most until they are copied into the buffer, even when nobody reads the records."""


def drop_oldest(parts: list[Rows], limit: int) -> list[Rows]:
    """Shorten arrays of records, the first ones first, in place, to ``limit`` records together.

    Returns:
        The records that were dropped, oldest first.
    """
    excess, dropped = sum(map(len, parts)) - limit, []
    for index, part in enumerate(parts):
        if excess <= 0:
            break
        dropped.append(part[:excess])
        parts[index] = part[excess:]
        excess -= len(part)
    return dropped


class RecordArray:
    """Stores the latest ``limit`` records.

    An array that was handed out stays valid and unchanged, whatever is appended later: each record is written once,
    and when a buffer is full the records move to another one. That is the buffer before the last, if nobody refers to
    it any more, because the kernel has to clear each page of new memory.

    Appended records are copied into the buffer only when somebody reads. Under load there are ten batches between two
    readings, and most of their records are dropped before the next one.

    Any thread may append, and any may read.

    Args:
        dtype: of a record.
        limit: records that are stored at most.
    """

    def __init__(self, dtype: np.dtype[Any], limit: int) -> None:
        self._limit = limit
        self._pool: BufferPool[Buffer] = BufferPool(max_free=1)
        self._buffer: Rows = np.zeros(0, dtype)
        self._end = 0
        """Length of the used part of ``_buffer``."""
        self._rows = self._buffer
        """The records in ``_buffer`` that are still stored."""
        self._unmerged: list[Rows] = []
        """Records that are not in ``_buffer`` yet, oldest first."""
        self._total = 0
        self._lock = threading.Lock()

    @property
    def rows_and_total(self) -> tuple[Rows, int]:
        """Stored records, oldest first, shape (n,), and how many were ever appended: the last has number total - 1."""
        with self._lock:
            if self._unmerged:
                self._merge()
            return self._rows, self._total

    @property
    def rows(self) -> Rows:
        """The stored records, oldest first, shape (n,)."""
        return self.rows_and_total[0]

    @property
    def total(self) -> int:
        """Number of records that were ever appended."""
        return self._total

    def append(self, rows: Rows) -> list[Rows]:
        """Add ``rows``, which nobody writes to any more.

        Returns:
            The records that were dropped for them, oldest first.
        """
        with self._lock:
            parts = [self._rows, *self._unmerged, rows]
            dropped = drop_oldest(parts, self._limit)
            self._rows, *unmerged, new_rows = parts
            self._unmerged = [part for part in unmerged if len(part)]
            self._total += len(rows)
            if self._unmerged or self._end + len(new_rows) > len(self._buffer):
                self._unmerged.append(new_rows)
            else:
                self._append_to_buffer(new_rows)
            if len(self._unmerged) > _MAX_UNMERGED:
                self._merge()
        return dropped

    def _merge(self) -> None:
        """Copy everything into another buffer, with room for twice as much, or a sixteenth more than the limit."""
        parts, self._unmerged = [self._rows, *self._unmerged], []
        count = sum(map(len, parts))
        capacity = max(min(2 * count, self._limit + self._limit // _SPARE_SHARE), count)
        self._buffer = self._new_buffer(count, capacity)
        self._rows, self._end = self._buffer[:0], 0
        for part in parts:
            self._append_to_buffer(part)

    def _new_buffer(self, min_count: int, max_count: int) -> Rows:
        """Lend a buffer for ``min_count`` records or more: the one before the last, if it is free and fits."""
        dtype = self._buffer.dtype
        min_bytes, max_bytes = min_count * dtype.itemsize, max_count * dtype.itemsize
        fitting = [buffer for buffer in self._pool.take_free() if min_bytes <= len(buffer.memory) <= max_bytes]
        buffer = fitting[0] if fitting else Buffer(new_memory(max_bytes))
        return self._pool.lend(buffer).view(dtype)

    def _append_to_buffer(self, new_rows: Rows) -> None:
        copy_into(new_rows, self._buffer[self._end : self._end + len(new_rows)])
        self._end += len(new_rows)
        self._rows = self._buffer[self._end - len(self._rows) - len(new_rows) : self._end]

    def clear(self) -> None:
        """Forget the records, but not how many there were."""
        with self._lock:
            self._rows, self._unmerged = self._buffer[self._end : self._end], []
