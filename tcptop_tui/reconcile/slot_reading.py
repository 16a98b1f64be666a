"""What reconciling needs to read of the entries, whoever reads them: ``bpf.slots`` does it from mapped memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Rows
from tcptop_tui.stream.histograms import HistogramStore


@dataclass(slots=True, eq=False)
class SlotReading:
    """Slots that have changed since the last reading, and those that were requested besides.

    All other slots are what they were. The arrays are views into memory that the next reading uses again.
    """

    slot_count: int
    """All slots that there are."""
    slot_numbers: NDArray[np.intp]
    """The slots that were read, ascending; shape (n,)."""
    skaddr: NDArray[np.uint64]
    """The socket of each of them, 0 for a free slot; shape (n,)."""
    conns: Rows
    """Their entries, dtype CONN_WITHOUT_HIST, shape (n,), undefined for free slots. The joiner writes into them."""
    hists: HistogramStore
    """Histograms of all entries, also of those that have not changed. The entry in slot s has number s + 1."""


class EntryReader(Protocol):
    """The entries as the thread of the reconcile inputs reads and corrects them; ``bpf.slots.Slots`` is one."""

    @property
    def opened_slots(self) -> int:
        """All slots that there are."""

    def read_entries(self, conn: np.dtype[Any] = ...) -> Iterator[tuple[NDArray[np.uint64], Rows]]:
        """Read all sockets (skaddr, shape (n,)) and their entries (dtype ``conn``, shape (n,)), part by part."""

    def correct_owners(self, keys: NDArray[np.uint64], expected_pids: NDArray[np.uint32], owners: Rows) -> None:
        """Write ``owners`` into the entries of ``keys``, but for those whose PID is not the expected one any more."""
