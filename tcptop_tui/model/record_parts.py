"""The last so many records as they came, put together only when somebody looks at all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np

from tcptop_tui.model.record_array import drop_oldest
from tcptop_tui.records import Rows
from tcptop_tui.row_copy import concat

_MOST_PARTS = 64


class FrozenParts:
    """What was kept at one moment, oldest first. Immutable.

    Args:
        dtype: of a record.
        parts: one after the other; nobody writes to them again.
    """

    def __init__(self, dtype: np.dtype[Any], parts: Iterable[Rows] = ()) -> None:
        self._dtype, self._parts = dtype, tuple(parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @cached_property
    def rows(self) -> Rows:
        """All of them, shape (n,): where there are many, a copy that is not cheap."""
        return self._parts[0] if len(self._parts) == 1 else concat(self._dtype, *self._parts)

    @property
    def oldest(self) -> np.void | None:
        """The oldest one; None: there is none."""
        return next((part[0] for part in self._parts if len(part)), None)

    def newest(self, count: int) -> Rows:
        """So many at most."""
        found: list[Rows] = []
        for part in reversed(self._parts):
            if count <= 0:
                break
            found.insert(0, part[-count:])
            count -= len(part)
        return concat(self._dtype, *found)


class RecordParts:
    """Keeps the latest ``limit`` records; older ones fall out.

    ``RecordArray`` is for what is looked at all the time: it has the same twice, to be contiguous. Any thread may
    append, and any look.

    Args:
        dtype: of a record.
        limit: records kept at most.
    """

    def __init__(self, dtype: np.dtype[Any], limit: int) -> None:
        self._dtype, self._limit = dtype, limit
        self._parts: list[Rows] = []
        self._frozen = FrozenParts(dtype), 0
        self._lock = threading.Lock()

    @property
    def frozen_and_total(self) -> tuple[FrozenParts, int]:
        """What is kept, and how many there ever were; the last one has number total - 1."""
        return self._frozen

    def append(self, rows: Rows) -> list[Rows]:
        """Add ``rows``, which nobody writes to again; returns those that fell out for them, oldest first."""
        with self._lock:
            parts = [*self._parts, rows]
            fallen = drop_oldest(parts, self._limit)
            self._parts = [part for part in parts if len(part)]
            if len(self._parts) > _MOST_PARTS:
                half = len(self._parts) // 2
                self._parts[half:] = [concat(self._dtype, *self._parts[half:])]
            self._frozen = FrozenParts(self._dtype, self._parts), self._frozen[1] + len(rows)
        return fallen

    def rewrite(self, changed: Callable[[Rows], Rows | None]) -> None:
        """Put ``changed(part)`` in the place of each part, the latest first, where that is not None."""
        with self._lock:
            parts = [(part, changed(part)) for part in reversed(self._parts)][::-1]
            if any(new is not None for _, new in parts):
                self._parts = [old if new is None else new for old, new in parts]
                self._frozen = FrozenParts(self._dtype, self._parts), self._frozen[1]

    def clear(self) -> None:
        """Forget the records, not their number."""
        with self._lock:
            self._parts = []
            self._frozen = FrozenParts(self._dtype), self._frozen[1]
