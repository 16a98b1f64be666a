"""A BPF ring buffer, read a batch at a time where it lies in memory.

The layout is the kernel's (kernel/bpf/ringbuf.c): a page with the consumer's position, a page with
the producer's, then the data twice in a row, so that a record that wraps is contiguous. Mapped are the two
positions, and of the data what is being read: pages that are mapped count as resident, 24 MB of them for two
rings that are empty most of the time. Every record has an 8-byte header: its length with BUSY and DISCARD
bits, and a page offset. The programs submit with BPF_RB_NO_WAKEUP, so nothing is waited for: the reader comes by.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Rows
from tcptop_tui.row_copy import copied, picked

_HEADER_BYTES = 8
_BUSY = np.uint32(1 << 31)  # BPF_RINGBUF_BUSY_BIT: reserved, not yet submitted


def with_header(record: np.dtype[Any]) -> np.dtype[Any]:
    """``record`` with its header, padded as the ring pads it (to 8 bytes)."""
    stride = _HEADER_BYTES + (record.itemsize + 7) // 8 * 8
    return np.dtype(
        {
            "names": ["length", "record"],
            "formats": ["<u4", record],
            "offsets": [0, _HEADER_BYTES],
            "itemsize": stride,
        }
    )


class Ring:
    """The reading end of a ring that holds records of one size.

    Args:
        fd: the map's descriptor.
        size_bytes: of the data area, a power of two.
        record: dtype of a record.

    Raises:
        OSError: the map cannot be mapped.
    """

    def __init__(self, fd: int, size_bytes: int, record: np.dtype[Any]) -> None:
        self._fd = fd
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._size = size_bytes
        self._framed = with_header(record)
        self._none = np.zeros(0, record)
        self._consumer_map = mmap.mmap(fd, self._page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer_map = mmap.mmap(fd, self._page, mmap.MAP_SHARED, mmap.PROT_READ, offset=self._page)
        self._consumer = np.frombuffer(self._consumer_map, "<u8", 1)
        self._producer = np.frombuffer(self._producer_map, "<u8", 1)

    def read(self, by: str = "", most_bytes: int | None = None) -> Rows:
        """Copy out all records that were submitted, oldest first, shape (n,), and free their room.

        Stops before the first one that a CPU has reserved and not yet submitted.

        Args:
            by: the field to sort them by; CPUs reserve in one order and may look at the clock in another.
            most_bytes: no more of the ring than this, at least a record's room; None: all of it.
        """
        start = int(self._consumer[0])
        used_bytes = int(self._producer[0]) - start
        if not used_bytes:
            return self._none
        rows = self._copy_records(start % self._size, min(used_bytes, most_bytes or used_bytes), by)
        # after the copy: from here on the kernel may write there
        self._consumer[0] = start + len(rows) * self._framed.itemsize
        return rows

    def _copy_records(self, offset_bytes: int, used_bytes: int, by: str) -> Rows:
        first = offset_bytes // self._page * self._page
        length = offset_bytes - first + used_bytes
        with mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=2 * self._page + first) as window:
            return _records(np.frombuffer(window, "u1", used_bytes, offset_bytes - first), self._framed, by)

    def close(self) -> None:
        """Unmap; may be called twice."""
        self._consumer = self._producer = np.zeros(1, "<u8")
        self._consumer_map.close()
        self._producer_map.close()


def _records(data: NDArray[np.uint8], frame: np.dtype[Any], by: str) -> Rows:
    """Copies, so that the memory below ``data`` may go."""
    records = decode_records(data, frame)["record"]
    return picked(records, np.argsort(records[by], kind="stable")) if by else copied(records)


def decode_records(data: NDArray[np.uint8], frame: np.dtype[Any]) -> Rows:
    """The submitted records at the start of ``data``, as a view of dtype ``frame``, shape (n,)."""
    frames: Rows = data[: len(data) // frame.itemsize * frame.itemsize].view(frame)
    busy = (frames["length"] & _BUSY) != 0
    return frames[: int(busy.argmax())] if busy.any() else frames
