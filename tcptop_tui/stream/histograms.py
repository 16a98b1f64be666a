"""The RTT histograms of a table's connections, in blocks that successive tables share until one changes."""

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
    """A histogram without samples."""
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
    """Immutable histograms by number, as rows of a table have it in ``hist``; number 0 is empty.

    With 100,000 connections they take 3 to 11 MB, and most of the time there are two tables.
    """

    blocks: tuple[_Block, ...] = ()
    """Never written to again."""

    @classmethod
    def from_array(cls, hists: NDArray[np.uint32]) -> HistogramStore:
        """Histograms of shape (n, RTT_SLOTS), with numbers from 1 on."""
        return cls().with_histograms(np.arange(1, len(hists) + 1), hists)

    @property
    def room(self) -> int:
        """Numbers from here on are empty."""
        return len(self.blocks) * _BLOCK

    def histograms(self, numbers: NDArray[Any]) -> NDArray[np.uint32]:
        """The histograms with these numbers, shape (n, RTT_SLOTS); a copy."""
        hists = np.zeros((len(numbers), RTT_SLOTS), "<u4")
        in_blocks = np.flatnonzero(numbers < self.room)
        for block_number, index, within in _by_block(numbers[in_blocks]):
            if self.blocks[block_number] is not _EMPTY:
                hists[in_blocks[index]] = self.blocks[block_number][within]
        return hists

    def column(self, slot: int, numbers: NDArray[Any]) -> NDArray[np.uint32]:
        """Samples in one bucket of the histograms with these numbers, shape (n,)."""
        counts = np.zeros(len(numbers), "<u4")
        if any(block is not _EMPTY for block in self.blocks):
            in_blocks = numbers < self.room
            counts[in_blocks] = np.concatenate([block[:, slot] for block in self.blocks])[numbers[in_blocks]]
        return counts

    def sum(self, numbers: NDArray[Any]) -> Histogram:
        """The sum of the histograms with these numbers, none of which but 0 may come twice."""
        wanted, total = np.zeros(self.room, np.bool_), empty_histogram()
        wanted[numbers[numbers < self.room]] = True
        for within, block in zip(wanted.reshape(-1, _BLOCK), self.blocks, strict=True):
            if block is not _EMPTY and within.any():
                total += (block if within.all() else block[within]).sum(axis=0, dtype=np.uint64)
        return total

    def with_histograms(self, numbers: NDArray[Any], hists: NDArray[np.uint32]) -> HistogramStore:
        """A store with other histograms, shape (n, RTT_SLOTS), at ``numbers``: none is 0, and none may come twice."""
        if not len(numbers):
            return self
        blocks = list(self.blocks)
        for block_number, index, within in _by_block(numbers):
            blocks += [_EMPTY] * (block_number + 1 - len(blocks))
            block = blocks[block_number].astype("<u4")
            block[within] = hists[index]
            blocks[block_number] = _narrowest_dtype(block)
        return HistogramStore(tuple(blocks))

    def with_cleared(self, numbers: NDArray[Any]) -> HistogramStore:
        """A store with empty histograms at ``numbers``, of which none may come twice."""
        numbers = numbers[numbers < self.room]
        return self.with_histograms(numbers, np.zeros((len(numbers), RTT_SLOTS), "<u4"))


def _by_block(numbers: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """Sort ``numbers`` by block, ascending.

    Yields:
        The number of a block, the index into ``numbers`` of those that are in it, and their place in it.
    """
    order = np.argsort(numbers)
    ordered = numbers[order].astype(np.intp)
    touched, starts = np.unique(ordered // _BLOCK, return_index=True)
    for number, start, end in zip(touched.tolist(), starts, np.append(starts, len(ordered))[1:], strict=True):
        yield number, order[start:end], ordered[start:end] - number * _BLOCK


def clear_samples(rows: Rows) -> None:
    """Have ``rows`` (dtype ROW) refer to no histogram, because other rows may get their numbers."""
    rows["hist"], rows["rtt_sum_us"] = 0, 0


NO_HISTOGRAMS: Final = HistogramStore()


def row_histograms(rows: Rows, kept: HistogramStore, places: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Of the rows in these places, shape (n, RTT_SLOTS): dtype ENDED has its own, of dtype ROW they are ``kept``."""
    if rows.dtype == ROW:
        return kept.histograms(rows["hist"][places])
    own: NDArray[np.uint32] = rows["rtt_hist"][places]
    return own
