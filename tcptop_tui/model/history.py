"""The last so many records, in order, as one contiguous array."""

from __future__ import annotations

from typing import Any

import numpy as np

from tcptop_tui.records import Rows, put

_SPARE = 4
"""A buffer has room for a fourth more than is kept: the less, the more often all of it is put."""


class History:
    """Keeps the latest ``limit`` records; older ones fall out.

    ``rows`` is a view that stays valid and unchanged whatever is appended later: records are
    written once, and room is made by moving on to a new buffer.

    Args:
        dtype: of a record.
        limit: records kept at most.
    """

    def __init__(self, dtype: np.dtype[Any], limit: int) -> None:
        self._limit = limit
        self._buffer: Rows = np.zeros(0, dtype)
        self._end = 0
        # one attribute, replaced at once: another thread may append
        self.kept: tuple[Rows, int] = (self._buffer, 0)
        """What is kept, oldest first, shape (n,), and how many there ever were; the last one has number total - 1."""

    @property
    def rows(self) -> Rows:
        """What is kept."""
        return self.kept[0]

    @property
    def total(self) -> int:
        """Records ever appended."""
        return self.kept[1]

    def append(self, rows: Rows) -> tuple[Rows, Rows]:
        """Add ``rows`` and return those that fell out for them, oldest first: of the kept ones, then of ``rows``."""
        before, total = self.kept
        excess = max(0, len(before) + len(rows) - self._limit)
        passing = max(0, excess - len(before))
        more, kept = rows[passing:], before[excess:]
        if self._end + len(more) > len(self._buffer):
            self._move(kept, len(more))
        put(more, self._buffer[self._end : self._end + len(more)])
        self._end += len(more)
        self.kept = self._buffer[self._end - len(kept) - len(more) : self._end], total + len(rows)
        return before[:excess], rows[:passing]

    def _move(self, kept: Rows, more: int) -> None:
        """To a buffer with room for so many more: twice what is needed, as far as the limit asks for it."""
        room = min(2 * (len(kept) + more), self._limit + self._limit // _SPARE)
        self._buffer = np.empty(max(room, len(kept) + more), self._buffer.dtype)
        put(kept, self._buffer[: len(kept)])
        self._end = len(kept)

    def clear(self) -> None:
        """Forget the records, not their number."""
        self.kept = self._buffer[self._end : self._end], self.total
