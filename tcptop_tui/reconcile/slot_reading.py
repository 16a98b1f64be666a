"""What reconciling needs of the kernel map, whoever reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Rows
from tcptop_tui.stream.histograms import HistogramStore


@dataclass(frozen=True, slots=True, eq=False)
class SlotReading:
    """Slots that are not what they were at the reading before, and whatever was asked for besides.

    Of the others nothing has changed. Views into memory that is used again.
    """

    slot_count: int
    """That there are in all: what lies behind is nobody's."""
    slot_numbers: NDArray[np.intp]
    """Of the slots, ascending; shape (n,)."""
    skaddr: NDArray[np.uint64]
    """Whose they are, 0: nobody's; shape (n,)."""
    conns: Rows
    """Their entries, dtype CONN_WITHOUT_HIST, shape (n,); anything where they are nobody's."""
    hists: HistogramStore
    """Of all entries; that of the one in a slot has the next number."""


class EntryReader(Protocol):
    """The sockets' entries as a survey reads and corrects them; ``bpf.slots.Slots`` has them from the kernel."""

    @property
    def opened_slots(self) -> int:
        """Slots that there are; nothing lies behind them."""

    def read_entries(self, conn: np.dtype[Any] = ...) -> Iterator[tuple[NDArray[np.uint64], Rows]]:
        """All sockets (skaddr, shape (n,)) and their entries (dtype ``conn``, shape (n,)), some thousand at a time."""

    def correct_owners(self, keys: NDArray[np.uint64], before: NDArray[np.uint32], right: Rows) -> None:
        """Write ``right`` into the entries of ``keys``, but not where the PID is no longer that of ``before``."""
