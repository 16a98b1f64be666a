"""The last so many records, in order, as one contiguous array."""

from __future__ import annotations

from typing import Any

import numpy as np

from tcptop_tui.records import Rows


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
        self._buffer = np.zeros(2 * limit, dtype)
        self._start = self._end = 0
        self.total = 0
        """Records ever appended; the last one in ``rows`` has number ``total - 1``."""

    @property
    def rows(self) -> Rows:
        """What is kept, oldest first, shape (n,)."""
        return self._buffer[self._start : self._end]

    def append(self, rows: Rows) -> Rows:
        """Add ``rows`` and return those that fell out for them, oldest first."""
        self.total += len(rows)
        before = self.rows
        excess = max(0, len(before) + len(rows) - self._limit)
        fallen = np.concatenate([before[:excess], rows[: max(0, excess - len(before))]])
        kept, rows = before[excess:], rows[max(0, excess - len(before)) :]
        if self._end + len(rows) > len(self._buffer):
            self._buffer = np.zeros_like(self._buffer)
            self._buffer[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        else:
            self._start += len(before) - len(kept)
        self._buffer[self._end : self._end + len(rows)] = rows
        self._end += len(rows)
        return fallen

    def clear(self) -> None:
        """Forget the records, not their number."""
        self._start = self._end
