"""Where slots lie: in blocks, arrays of one size, of which another one is made before the last is used up.

The kernel side finds a block in ``slots``, a map of maps (``c/slots.c``): one more of them changes nothing for the
entries that there are. What is in use never goes back.
"""

from __future__ import annotations

import ctypes as ct
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tcptop_tui.bpf.capacity import CHUNK, SLOT_BYTES, memory, slots_for
from tcptop_tui.bpf.load.libbpf import load_libbpf, refusal
from tcptop_tui.bpf.load.map_maker import Maker
from tcptop_tui.bpf.load.syscalls import create_map, shape_of
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host.privileges import lift_memlock_limit

_NAME = "block"
_FREE_SHARE = 1 / 32
"""Of all memory, that a new block leaves free."""
_AGAIN_S = 5.0
"""After one that could not be made."""


@dataclass(frozen=True, slots=True)
class Places:
    """Descriptors of the maps that ``c/slots.c`` works with; somebody else's."""

    conns: int
    """Hash: number of the slot by socket."""
    slots: int
    """Array of the blocks."""
    block: int
    """The first of them, that all are like."""
    extent: int
    """Array of one: slots of all chunks that were opened."""
    chunks: int
    """Queue: those that were not."""
    vacant: int
    """Stack: slots that are nobody's, of those that were; as many as there may be at all."""


class Blocks:
    """Makes blocks, and maps what is read of them.

    Args:
        places: the maps; the first block is given to the kernel side at once.
        expected: connections that are sure to come.

    Raises:
        OSError: the kernel refuses.
    """

    def __init__(self, places: Places, expected: int = 0) -> None:
        self._places = places
        self._shape = shape_of(places.block)
        self.block_slots = self._shape.max_entries
        self._most = shape_of(places.vacant).max_entries
        self._made: list[int] = []
        self._maker: Maker | None = None
        self._blocks: list[int] = []
        self._refused_s = float("-inf")
        lift_memlock_limit()  # up to 5.10 a block counts as locked memory
        self._hand_over(places.block)
        self.make_room(expected)

    @property
    def slots(self) -> int:
        """That there are, used or not."""
        return min(self._most, len(self._blocks) * self.block_slots)

    @property
    def opened(self) -> int:
        """What lies behind so many slots is nobody's.

        Raises:
            OSError: the kernel refuses the call.
        """
        opened = ct.c_uint64(0)
        if load_libbpf().bpf_map_lookup_elem(self._places.extent, ct.byref(ct.c_uint32(0)), ct.byref(opened)) < 0:
            raise refusal("bpf_map_lookup_elem")
        return opened.value

    def make_room(self, expected: int = 0) -> None:
        """Have blocks for what is in use, or ``expected``, and for what may come until the next call.

        Where memory is short, or the kernel refuses, there are none; the kernel side counts what has no room.
        """
        wanted = slots_for(max(self.opened, expected), self.block_slots, self._most)
        if self.slots >= wanted or time.monotonic() < self._refused_s + _AGAIN_S:
            return
        while self.slots < wanted:
            if not self._add():
                self._refused_s = time.monotonic()
                return

    def keep_maker(self) -> None:
        """Have another process make blocks from now on: this one, which has one thread yet, gives up what that takes.

        Without one there are as many as there are.
        """
        with suppress(OSError):
            self._maker = Maker(_NAME, self._places.block)

    def _add(self) -> bool:
        """One more block; False where there is no memory for it."""
        free = memory("MemAvailable") - self.block_slots * SLOT_BYTES
        if free < memory("MemTotal") * _FREE_SHARE:
            return False
        with suppress(OSError, BackendUnavailable):
            self._made.append(self._maker.make() if self._maker else create_map(_NAME, self._shape))
            self._hand_over(self._made[-1])
            return True
        return False

    def _hand_over(self, block: int) -> None:
        """Give it to the kernel side: first where it is, then the numbers of its chunks."""
        number, before = len(self._blocks), self.slots
        index, value = ct.c_uint32(number), ct.c_uint32(block)
        if load_libbpf().bpf_map_update_elem(self._places.slots, ct.byref(index), ct.byref(value), 0) < 0:
            raise refusal("bpf_map_update_elem")
        self._blocks.append(block)
        for chunk in range(before // CHUNK, self.slots // CHUNK):
            push(self._places.chunks, chunk)

    @contextmanager
    def window(self, first: int, count: int) -> Iterator[tuple[mmap.mmap, int]]:
        """So many slots of one block in memory, which begin at so many bytes; nothing may refer to it afterwards."""
        block, inside = divmod(first, self.block_slots)
        page, offset = divmod(inside * SLOT_BYTES, mmap.PAGESIZE)
        length = offset + count * SLOT_BYTES
        with mmap.mmap(self._blocks[block], length, mmap.MAP_SHARED, offset=page * mmap.PAGESIZE) as window:
            yield window, offset

    def close(self) -> None:
        """Give the descriptors back; the kernel side keeps the blocks."""
        for block in self._made:
            os.close(block)
        self._made.clear()
        if self._maker:
            self._maker.close()
            self._maker = None


def push(fd: int, number: int) -> None:
    """Put a number into a queue or onto a stack.

    Raises:
        OSError: the kernel refuses.
    """
    if load_libbpf().bpf_map_update_elem(fd, None, ct.byref(ct.c_uint32(number)), 0) < 0:
        raise refusal("bpf_map_update_elem")
