"""Stores the latest records as the arrays in which they came; they are joined only when somebody reads all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np

from tcptop_tui.model.record_array import drop_oldest
from tcptop_tui.records import Rows
from tcptop_tui.row_copy import concat

_MAX_PARTS = 64


class FrozenParts:
    """The records that were stored at one moment, oldest first. Immutable.

    Args:
        dtype: of a record.
        parts: arrays of records, one after the other; nobody writes to them again.
    """

    def __init__(self, dtype: np.dtype[Any], parts: Iterable[Rows] = ()) -> None:
        self._dtype, self._parts = dtype, tuple(parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @cached_property
    def rows(self) -> Rows:
        """All records, shape (n,). Where there is more than one part it copies them, which takes its time."""
        return self._parts[0] if len(self._parts) == 1 else concat(self._dtype, *self._parts)

    @property
    def oldest(self) -> np.void | None:
        """The oldest record; None where there is none."""
        return next((part[0] for part in self._parts if len(part)), None)

    def newest(self, count: int) -> Rows:
        """The latest ``count`` records, oldest first, or fewer where there are not so many."""
        parts: list[Rows] = []
        for part in reversed(self._parts):
            if count <= 0:
                break
            parts.insert(0, part[-count:])
            count -= len(part)
        return concat(self._dtype, *parts)


class RecordParts:
    """Stores the latest ``limit`` records.

    ``RecordArray`` is for records that are read all the time: it has two buffers so that they are contiguous. Any
    thread may append, and any may read.

    Args:
        dtype: of a record.
        limit: records that are stored at most.
    """

    def __init__(self, dtype: np.dtype[Any], limit: int) -> None:
        self._dtype, self._limit = dtype, limit
        self._parts: list[Rows] = []
        self._frozen = FrozenParts(dtype), 0
        self._lock = threading.Lock()

    @property
    def frozen_and_total(self) -> tuple[FrozenParts, int]:
        """The stored records, and how many were ever appended; the last has number total - 1."""
        return self._frozen

    def append(self, rows: Rows) -> list[Rows]:
        """Add ``rows``, which nobody writes to any more.

        Returns:
            The records that were dropped for them, oldest first.
        """
        with self._lock:
            parts = [*self._parts, rows]
            dropped = drop_oldest(parts, self._limit)
            self._parts = [part for part in parts if len(part)]
            if len(self._parts) > _MAX_PARTS:
                half = len(self._parts) // 2
                self._parts[half:] = [concat(self._dtype, *self._parts[half:])]
            self._frozen = FrozenParts(self._dtype, self._parts), self._frozen[1] + len(rows)
        return dropped

    def rewrite(self, rewrite_part: Callable[[Rows], Rows | None]) -> None:
        """Replace each part, the latest first, by what ``rewrite_part`` makes of it, unless that is None."""
        with self._lock:
            pairs = [(part, rewrite_part(part)) for part in reversed(self._parts)][::-1]
            if any(rewritten is not None for _, rewritten in pairs):
                self._parts = [part if rewritten is None else rewritten for part, rewritten in pairs]
                self._frozen = FrozenParts(self._dtype, self._parts), self._frozen[1]

    def clear(self) -> None:
        """Forget the records, but not how many there were."""
        with self._lock:
            self._parts = []
            self._frozen = FrozenParts(self._dtype), self._frozen[1]
