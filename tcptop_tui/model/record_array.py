"""The last so many records, in order, as one contiguous array."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tcptop_tui.host.buffer_pool import Buffer, BufferPool, new_memory
from tcptop_tui.records import Rows
from tcptop_tui.row_copy import copy_into

_SPARE = 16
"""A buffer has room for a sixteenth more than is kept: the less, the more often all of it is put. There are two."""
_MOST_WAITING = 64
"""Parts that are put together at last, even where nobody looks."""


def drop_oldest(parts: list[Rows], limit: int) -> list[Rows]:
    """Shorten ``parts`` in place, the first ones, to ``limit`` records together; what fell out, oldest first."""
    excess, fallen = sum(map(len, parts)) - limit, []
    for number, part in enumerate(parts):
        if excess <= 0:
            break
        fallen.append(part[:excess])
        parts[number] = part[excess:]
        excess -= len(part)
    return fallen


class RecordArray:
    """Keeps the latest ``limit`` records; older ones fall out.

    What was handed out stays valid and unchanged whatever is appended later: records are written once, and
    room is made by moving on to another buffer, the one before the last if nobody looks at it any more: of new
    memory the kernel has to clear each page. Under load that is done when somebody looks, and not for each
    of ten batches between two looks: they wait as they came, and most of them have fallen out until then.

    Any thread may append, and any look.

    Args:
        dtype: of a record.
        limit: records kept at most.
    """

    def __init__(self, dtype: np.dtype[Any], limit: int) -> None:
        self._limit = limit
        self._pool: BufferPool[Buffer] = BufferPool(max_free=1)
        self._buffer: Rows = np.zeros(0, dtype)
        self._end = 0
        self._rows = self._buffer
        self._unmerged: list[Rows] = []
        self._total = 0
        self._lock = threading.Lock()

    @property
    def rows_and_total(self) -> tuple[Rows, int]:
        """What is kept, oldest first, shape (n,), and how many there ever were; the last one has number total - 1."""
        with self._lock:
            if self._unmerged:
                self._merge()
            return self._rows, self._total

    @property
    def rows(self) -> Rows:
        """What is kept."""
        return self.rows_and_total[0]

    @property
    def total(self) -> int:
        """Records ever appended."""
        return self._total

    def append(self, rows: Rows) -> list[Rows]:
        """Add ``rows``, which nobody writes to again; returns those that fell out for them, oldest first."""
        with self._lock:
            parts = [self._rows, *self._unmerged, rows]
            fallen = drop_oldest(parts, self._limit)
            self._rows, *waiting, more = parts
            self._unmerged = [part for part in waiting if len(part)]
            self._total += len(rows)
            if self._unmerged or self._end + len(more) > len(self._buffer):
                self._unmerged.append(more)
            else:
                self._append_to_buffer(more)
            if len(self._unmerged) > _MOST_WAITING:
                self._merge()
        return fallen

    def _merge(self) -> None:
        """In a buffer with room for more: twice what is needed, as far as the limit asks for it."""
        parts, self._unmerged = [self._rows, *self._unmerged], []
        count = sum(map(len, parts))
        room = max(min(2 * count, self._limit + self._limit // _SPARE), count)
        self._buffer = self._new_buffer(count, room)
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

    def _append_to_buffer(self, more: Rows) -> None:
        copy_into(more, self._buffer[self._end : self._end + len(more)])
        self._end += len(more)
        self._rows = self._buffer[self._end - len(self._rows) - len(more) : self._end]

    def clear(self) -> None:
        """Forget the records, not their number."""
        with self._lock:
            self._rows, self._unmerged = self._buffer[self._end : self._end], []
