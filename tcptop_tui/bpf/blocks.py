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

from tcptop_tui.bpf.capacity import CHUNK, SLOT_BYTES, meminfo_bytes, target_slots
from tcptop_tui.bpf.load.libbpf import last_error, load_libbpf
from tcptop_tui.bpf.load.map_maker import MapMaker
from tcptop_tui.bpf.load.syscalls import create_map, map_shape
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host.privileges import lift_memlock_limit

_NAME = "block"
_FREE_SHARE = 1 / 32
"""Of all memory, that a new block leaves free."""
_RETRY_S = 5.0
"""After one that could not be made."""


@dataclass(frozen=True, slots=True)
class SlotMaps:
    """Descriptors of the maps that ``c/slots.c`` works with; somebody else's."""

    slot_numbers: int
    """Hash: number of the slot by socket."""
    blocks: int
    """Array of the blocks."""
    first_block: int
    """The first of them, that all are like."""
    opened_slots: int
    """Array of one: slots of all chunks that were opened."""
    free_chunks: int
    """Queue: those that were not."""
    free_slots: int
    """Stack: slots that are nobody's, of those that were; as many as there may be at all."""


class Blocks:
    """Makes blocks, and maps what is read of them.

    Args:
        places: the maps; the first block is given to the kernel side at once.
        expected: connections that are sure to come.

    Raises:
        OSError: the kernel refuses.
    """

    def __init__(self, places: SlotMaps, expected: int = 0) -> None:
        self._slot_maps = places
        self._shape = map_shape(places.first_block)
        self.block_slots = self._shape.max_entries
        self._max_slots = map_shape(places.free_slots).max_entries
        self._block_fds: list[int] = []
        self._maker: MapMaker | None = None
        self._blocks: list[int] = []
        self._refused_s = float("-inf")
        lift_memlock_limit()  # up to 5.10 a block counts as locked memory
        self._publish_block(places.first_block)
        self.reserve(expected)

    @property
    def slot_count(self) -> int:
        """That there are, used or not."""
        return min(self._max_slots, len(self._blocks) * self.block_slots)

    @property
    def opened_slots(self) -> int:
        """What lies behind so many slots is nobody's.

        Raises:
            OSError: the kernel refuses the call.
        """
        opened = ct.c_uint64(0)
        if (
            load_libbpf().bpf_map_lookup_elem(self._slot_maps.opened_slots, ct.byref(ct.c_uint32(0)), ct.byref(opened))
            < 0
        ):
            raise last_error("bpf_map_lookup_elem")
        return opened.value

    def reserve(self, expected: int = 0) -> None:
        """Have blocks for what is in use, or ``expected``, and for what may come until the next call.

        Where memory is short, or the kernel refuses, there are none; the kernel side counts what has no room.
        """
        wanted = target_slots(max(self.opened_slots, expected), self.block_slots, self._max_slots)
        if self.slot_count >= wanted or time.monotonic() < self._refused_s + _RETRY_S:
            return
        while self.slot_count < wanted:
            if not self._add_block():
                self._refused_s = time.monotonic()
                return

    def use_map_maker(self) -> None:
        """Have another process make blocks from now on: this one, which has one thread yet, gives up what that takes.

        Without one there are as many as there are.
        """
        with suppress(OSError):
            self._maker = MapMaker(_NAME, self._slot_maps.first_block)

    def _add_block(self) -> bool:
        """One more block; False where there is no memory for it."""
        free = meminfo_bytes("MemAvailable") - self.block_slots * SLOT_BYTES
        if free < meminfo_bytes("MemTotal") * _FREE_SHARE:
            return False
        with suppress(OSError, BackendUnavailable):
            self._block_fds.append(self._maker.create_map() if self._maker else create_map(_NAME, self._shape))
            self._publish_block(self._block_fds[-1])
            return True
        return False

    def _publish_block(self, block: int) -> None:
        """Give it to the kernel side: first where it is, then the numbers of its chunks."""
        number, before = len(self._blocks), self.slot_count
        index, value = ct.c_uint32(number), ct.c_uint32(block)
        if load_libbpf().bpf_map_update_elem(self._slot_maps.blocks, ct.byref(index), ct.byref(value), 0) < 0:
            raise last_error("bpf_map_update_elem")
        self._blocks.append(block)
        for chunk in range(before // CHUNK, self.slot_count // CHUNK):
            push(self._slot_maps.free_chunks, chunk)

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
        for block in self._block_fds:
            os.close(block)
        self._block_fds.clear()
        if self._maker:
            self._maker.close()
            self._maker = None


def push(fd: int, number: int) -> None:
    """Put a number into a queue or onto a stack.

    Raises:
        OSError: the kernel refuses.
    """
    if load_libbpf().bpf_map_update_elem(fd, None, ct.byref(ct.c_uint32(number)), 0) < 0:
        raise last_error("bpf_map_update_elem")
