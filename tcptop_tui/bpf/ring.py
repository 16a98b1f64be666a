"""A BPF ring buffer, mapped into memory and decoded a batch at a time.

The layout is the kernel's (kernel/bpf/ringbuf.c): a page with the consumer's position, a page with
the producer's, then the data twice in a row, so that a record that wraps is contiguous. The second
time is not mapped here: its pages would count as resident once more, 24 MB of them. Every
record has an 8-byte header: its length with BUSY and DISCARD bits, and a page offset. The programs
submit with BPF_RB_NO_WAKEUP, so nothing is waited for: the reader comes by.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

from tcptop_tui.records import Rows, copied, picked

_HEADER_BYTES = 8
_BUSY = np.uint32(1 << 31)  # BPF_RINGBUF_BUSY_BIT: reserved, not yet submitted


def framed(record: np.dtype[Any]) -> np.dtype[Any]:
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
        page = os.sysconf("SC_PAGE_SIZE")
        self._size = size_bytes
        self._framed = framed(record)
        self._none = np.zeros(0, record)
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data_map = mmap.mmap(fd, page + size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = np.frombuffer(self._consumer_map, "<u8", 1)
        self._producer = np.frombuffer(self._data_map, "<u8", 1)
        self._data = np.frombuffer(self._data_map, "u1", size_bytes, offset=page)

    def drain(self, by: str = "") -> Rows:
        """Copy out all records that were submitted, oldest first, shape (n,), and free their room.

        Stops before the first one that a CPU has reserved and not yet submitted.

        Args:
            by: the field to sort them by; CPUs reserve in one order and may look at the clock in another.
        """
        start = int(self._consumer[0])
        used_bytes = int(self._producer[0]) - start
        if not used_bytes:
            return self._none
        available = decode(self._data, self._framed, start % self._size, used_bytes)
        records = available["record"]
        rows = picked(records, np.argsort(records[by], kind="stable")) if by else copied(records)
        # after the copy: from here on the kernel may write there
        self._consumer[0] = start + len(rows) * self._framed.itemsize
        return rows

    def close(self) -> None:
        """Unmap; may be called twice."""
        self._consumer = self._producer = self._data = np.zeros(1, "<u8")
        self._consumer_map.close()
        self._data_map.close()


def decode(data: Rows, frame: np.dtype[Any], start_bytes: int, used_bytes: int) -> Rows:
    """The submitted records at ``start_bytes`` of ``data``, as a view of dtype ``frame``, shape (n,).

    ``data`` is the data area (uint8); ``used_bytes`` lie between consumer and producer, some of them
    perhaps at its start again: then it is a copy.
    """
    count = used_bytes // frame.itemsize
    end_bytes = start_bytes + count * frame.itemsize
    used = data[start_bytes:end_bytes]
    if end_bytes > len(data):
        used = np.concatenate([used, data[: end_bytes - len(data)]])
    frames: Rows = used.view(frame)
    busy = (frames["length"] & _BUSY) != 0
    ready = int(busy.argmax()) if busy.any() else count
    return frames[:ready]
