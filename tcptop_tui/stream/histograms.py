"""Histograms of connections, once for as many tables as there are: a later one shares what has not changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import ROW, RTT_SLOTS, Rows

_BLOCK = 1024
"""Histograms that are copied when one of them changes: 28 KB, where no count is larger than 255."""

Histogram = NDArray[np.uint64]
"""Samples by slot, shape (RTT_SLOTS,)."""


def empty_histogram() -> Histogram:
    """By slot."""
    return np.zeros(RTT_SLOTS, np.uint64)


_Block = NDArray[Any]
"""Shape (_BLOCK, RTT_SLOTS); of the narrowest unsigned dtype that holds its counts."""

_EMPTY: _Block = np.zeros((_BLOCK, RTT_SLOTS), "u1")
_EMPTY.flags.writeable = False


def _narrowest_dtype(block: NDArray[np.uint32]) -> _Block:
    most = block.max()
    return block.astype(np.min_scalar_type(most)) if most else _EMPTY


@dataclass(frozen=True, slots=True, eq=False)
class HistogramStore:
    """By number, as rows of a table have it in ``hist``; number 0 is empty.

    With 100,000 connections these are 3 to 11 MB, and two tables are there at most times.
    """

    blocks: tuple[_Block, ...] = ()
    """Never written to again."""

    @classmethod
    def from_array(cls, hists: NDArray[np.uint32]) -> HistogramStore:
        """Numbers from 1 on, shape (n, RTT_SLOTS)."""
        return cls().with_histograms(np.arange(1, len(hists) + 1), hists)

    @property
    def room(self) -> int:
        """Numbers from here on are empty."""
        return len(self.blocks) * _BLOCK

    def histograms(self, numbers: NDArray[Any]) -> NDArray[np.uint32]:
        """Of each, shape (n, RTT_SLOTS); a copy."""
        found = np.zeros((len(numbers), RTT_SLOTS), "<u4")
        known = np.flatnonzero(numbers < self.room)
        for number, places, within in _by_block(numbers[known]):
            if self.blocks[number] is not _EMPTY:
                found[known[places]] = self.blocks[number][within]
        return found

    def column(self, slot: int, numbers: NDArray[Any]) -> NDArray[np.uint32]:
        """Samples in one slot of each, shape (n,)."""
        found = np.zeros(len(numbers), "<u4")
        if any(block is not _EMPTY for block in self.blocks):
            known = numbers < self.room
            found[known] = np.concatenate([block[:, slot] for block in self.blocks])[numbers[known]]
        return found

    def sum(self, numbers: NDArray[Any]) -> Histogram:
        """Of all, each of which comes once at most; but 0."""
        wanted, total = np.zeros(self.room, np.bool_), empty_histogram()
        wanted[numbers[numbers < self.room]] = True
        for which, block in zip(wanted.reshape(-1, _BLOCK), self.blocks, strict=True):
            if block is not _EMPTY and which.any():
                total += (block if which.all() else block[which]).sum(axis=0, dtype=np.uint64)
        return total

    def with_histograms(self, numbers: NDArray[Any], hists: NDArray[np.uint32]) -> HistogramStore:
        """With other ones, shape (n, RTT_SLOTS), at ``numbers``, which are not 0 and of which none comes twice."""
        if not len(numbers):
            return self
        blocks = list(self.blocks)
        for number, places, within in _by_block(numbers):
            blocks += [_EMPTY] * (number + 1 - len(blocks))
            block = blocks[number].astype("<u4")
            block[within] = hists[places]
            blocks[number] = _narrowest_dtype(block)
        return HistogramStore(tuple(blocks))

    def with_cleared(self, numbers: NDArray[Any]) -> HistogramStore:
        """With nothing at ``numbers``, of which none comes twice."""
        known = numbers[numbers < self.room]
        return self.with_histograms(known, np.zeros((len(known), RTT_SLOTS), "<u4"))


def _by_block(numbers: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """Of each block, ascending, that any of ``numbers`` is in: its own, which of them those are, and where in it."""
    order = np.argsort(numbers)
    ordered = numbers[order].astype(np.intp)
    touched, starts = np.unique(ordered // _BLOCK, return_index=True)
    for number, start, end in zip(touched.tolist(), starts, np.append(starts, len(ordered))[1:], strict=True):
        yield number, order[start:end], ordered[start:end] - number * _BLOCK


def clear_samples(rows: Rows) -> None:
    """Have ``rows`` (dtype ROW) say that they have none: their numbers may be others' from now on."""
    rows["hist"], rows["rtt_sum_us"] = 0, 0


NO_HISTOGRAMS: Final = HistogramStore()


def row_histograms(rows: Rows, kept: HistogramStore, places: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Of the rows in these places, shape (n, RTT_SLOTS): dtype ENDED has its own, of dtype ROW they are ``kept``."""
    if rows.dtype == ROW:
        return kept.histograms(rows["hist"][places])
    own: NDArray[np.uint32] = rows["rtt_hist"][places]
    return own
