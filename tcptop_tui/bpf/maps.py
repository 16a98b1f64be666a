"""BPF maps as numpy arrays, read and written many entries a call."""

from __future__ import annotations

import ctypes as ct
import errno
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.bpf.load.libbpf import last_error, load_libbpf
from tcptop_tui.records import Rows
from tcptop_tui.row_copy import grown

_BATCH_ENTRIES = 1024


def _pointer(array: NDArray[Any]) -> ct.c_void_p:
    return ct.c_void_p(array.ctypes.data)


class HashMap:
    """A BPF hash map with fixed-size keys and values.

    Args:
        fd: the map's descriptor; stays the caller's.
        value: dtype of a value.
        max_entries: of the map; the buffers grow with what is in it, not with this.
        key: dtype of a key.
    """

    def __init__(self, fd: int, value: np.dtype[Any], max_entries: int, key: str = "<u8") -> None:
        self._fd = fd
        self._max_entries = max_entries
        self._keys = np.empty(_BATCH_ENTRIES, key)
        self._values = np.empty(_BATCH_ENTRIES, value)

    def read(self) -> tuple[NDArray[np.uint64], Rows]:
        """All keys, shape (n,), and values, shape (n,), as views into reused buffers.

        The next call overwrites them. An entry that is added or removed meanwhile may or may not
        be there; none comes twice, since the kernel walks the buckets under their locks
        (``__htab_map_lookup_and_delete_batch``, kernel/bpf/hashtab.c).

        Raises:
            OSError: the kernel refuses the call.
        """
        done = 0
        position = (ct.c_uint64(0), ct.c_uint64(0))
        more = True
        while more:
            if done == len(self._keys):
                self._grow()
            count, more = self._read_batch(done, position)
            done += count
            position = (position[1], position[0])
        return self._keys[:done], self._values[:done]

    def _read_batch(self, done: int, position: tuple[ct.c_uint64, ct.c_uint64]) -> tuple[int, bool]:
        """Read on from ``position[0]`` into the buffers' rest; (entries, is there more)."""
        previous = ct.byref(position[0]) if done else None
        count = ct.c_uint32(len(self._keys) - done)
        result = load_libbpf().bpf_map_lookup_batch(
            self._fd,
            previous,
            ct.byref(position[1]),
            _pointer(self._keys[done:]),
            _pointer(self._values[done:]),
            ct.byref(count),
            None,
        )
        if result == 0:
            return count.value, True
        error = ct.get_errno()
        if error == errno.ENOENT:
            return count.value, False
        if error == errno.ENOSPC:  # a bucket holds more than the buffer's rest
            self._grow()
            return count.value, True
        raise last_error("bpf_map_lookup_batch")

    def _grow(self) -> None:
        rows = min(2 * len(self._keys), 2 * self._max_entries + 64)
        self._keys, self._values = grown(self._keys, rows), grown(self._values, rows)

    def delete(self, keys: NDArray[Any]) -> int:
        """Delete ``keys``, shape (n,); how many were still there."""
        deleted = 0
        for index in range(len(keys)):
            deleted += load_libbpf().bpf_map_delete_elem(self._fd, _pointer(keys[index : index + 1])) == 0
        return deleted


class CounterArray:
    """A per-CPU array of u64 counters, summed over the CPUs when read."""

    def __init__(self, fd: int, entries: int) -> None:
        self._fd = fd
        # the kernel writes a value for each *possible* CPU (bpf_percpu_array_copy)
        self._values = np.zeros((entries, possible_cpus()), "<u8")

    def read(self) -> NDArray[np.uint64]:
        """The sums, shape (entries,)."""
        for index in range(len(self._values)):
            key = ct.c_uint32(index)
            load_libbpf().bpf_map_lookup_elem(self._fd, ct.byref(key), _pointer(self._values[index]))
        sums: NDArray[np.uint64] = self._values.sum(axis=1)
        return sums


def possible_cpus() -> int:
    """From ``/sys/devices/system/cpu/possible``, e.g. ``0-127``."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        return int(file.read().strip().replace(",", "-").split("-")[-1]) + 1


def write_array(fd: int, values: NDArray[Any]) -> None:
    """Write ``values`` into a BPF array map, one entry a row, from index 0 on."""
    write_hash(fd, np.arange(len(values), dtype="<u4"), np.ascontiguousarray(values))


def write_hash(fd: int, keys: NDArray[Any], values: NDArray[Any]) -> None:
    """Write each of ``keys`` with its value into a BPF hash map."""
    for index in range(len(keys)):
        key, value = keys[index : index + 1], values[index : index + 1]
        if load_libbpf().bpf_map_update_elem(fd, _pointer(key), _pointer(value), 0) < 0:
            raise last_error("bpf_map_update_elem")
