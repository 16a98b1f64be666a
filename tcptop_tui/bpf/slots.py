"""The sockets' entries, read where they lie in the kernel's memory (``c/slots.c``).

As with a ring, mapped is what is being read: pages that are mapped count as resident.
"""

from __future__ import annotations

import ctypes as ct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.bpf.blocks import Blocks, SlotMaps, push
from tcptop_tui.bpf.load.libbpf import load_libbpf
from tcptop_tui.reconcile.slot_reading import SlotReading
from tcptop_tui.records import CONN, CONN_WITHOUT_HIST, Mask, Rows
from tcptop_tui.row_copy import copy_into, leading_fields, picked, subset
from tcptop_tui.stream.histograms import NO_HISTOGRAMS, HistogramStore


def _slot_dtype(conn: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype([("skaddr", "<u8"), ("generation", "<u4"), ("dirty", "<u4"), ("conn", conn)])


SLOT = _slot_dtype(CONN)
"""``struct slot``, 304 bytes: ``skaddr`` is 0 where it is nobody's, ``generation`` is odd while it changes hands.

``dirty`` is not 0 when it has been written to since ``Slots.read_changes`` looked at it.
"""

_WINDOW = 4096
"""Slots that are mapped at a time: 1.2 MB."""


class Slots:
    """Reads and takes away entries.

    Args:
        places: the maps.
        expected: connections that are sure to come.

    Raises:
        OSError: the kernel refuses.
    """

    def __init__(self, places: SlotMaps, expected: int = 0) -> None:
        self._slot_maps = places
        self._blocks = Blocks(places, expected)
        self._window_slots = min(_WINDOW, self._blocks.block_slots)
        """None goes beyond a block: both are powers of two."""
        self._hists = NO_HISTOGRAMS
        self._buffer = np.empty(0, _slot_dtype(CONN_WITHOUT_HIST))
        self._buffer_used = 0
        """Of the room, at most: so much of it is memory."""

    def read_entries(self, conn: np.dtype[Any] = CONN) -> Iterator[tuple[NDArray[np.uint64], Rows]]:
        """All sockets, shape (n,), and their entries, shape (n,), some thousand at a time; in any thread.

        The next part overwrites them. An entry that is made or given back meanwhile may or may not be there; none
        is half one socket's and half another's. Gauges may be of different moments.

        Args:
            conn: dtype of an entry: CONN, or a beginning of it.

        Raises:
            OSError: the kernel refuses the call.
        """
        opened = self.opened_slots
        scratch = np.empty(min(opened, _WINDOW), _slot_dtype(conn))
        for first, count in self._windows(opened):
            _, copies, whole = self._copy_window(first, count, lambda slots: np.flatnonzero(slots["skaddr"]), scratch)
            copies = subset(copies, whole)
            yield copies["skaddr"], copies["conn"]

    def read_changes(self, besides: NDArray[np.intp]) -> SlotReading:
        """What has changed since the last call, and the slots numbered ``besides``, ascending, shape (n,).

        The same holds of it as of ``parts``. Only one reader may ask for news: it tells the kernel side that it has
        seen them.

        Raises:
            OSError: the kernel refuses the call.
        """
        opened, numbers, done = self.opened_slots, [besides[:0]], 0
        scratch = np.empty(min(opened, _WINDOW), SLOT)
        self._reserve_buffer(opened)
        for first, count in self._windows(opened):
            asked = besides[np.searchsorted(besides, first) : np.searchsorted(besides, first + count)] - first
            which, copies, whole = self._copy_window(first, count, partial(_changed_slots, asked), scratch)
            numbers.append(first + which)
            copies["skaddr"][~whole] = 0
            self._hists = _with_changes(self._hists, numbers[-1], copies)
            copy_into(leading_fields(copies, self._buffer.dtype), self._buffer[done : done + len(copies)])
            done += len(copies)
        found, self._buffer_used = self._buffer[:done], max(self._buffer_used, done)
        return SlotReading(opened, np.concatenate(numbers), found["skaddr"], found["conn"], self._hists)

    def _reserve_buffer(self, slots: int) -> None:
        """For news of all of them; what is not written to is no memory yet, and what once was is not kept for ever."""
        if slots > len(self._buffer) or self._buffer_used > _WINDOW:
            self._buffer, self._buffer_used = np.empty(slots + slots // 8, self._buffer.dtype), 0

    def _copy_window(
        self, first: int, count: int, chosen: Callable[[Rows], NDArray[np.intp]], into: Rows
    ) -> tuple[NDArray[np.intp], Rows, Mask]:
        with self._blocks.window(first, count) as (window, offset):
            return _copy_stable(np.frombuffer(window, SLOT, count, offset), chosen, into)

    @property
    def opened_slots(self) -> int:
        """What lies behind so many slots is nobody's.

        Raises:
            OSError: the kernel refuses the call.
        """
        return self._blocks.opened_slots

    def reserve(self) -> None:
        """Have more slots before those that there are come to an end."""
        self._blocks.reserve()

    def use_map_maker(self) -> None:
        """Before capabilities are given up: see ``Blocks``."""
        self._blocks.use_map_maker()

    def close(self) -> None:
        """Let them go."""
        self._blocks.close()

    def _windows(self, opened: int) -> Iterator[tuple[int, int]]:
        """First slot and number of slots of each."""
        step = self._window_slots
        return ((first, min(step, opened - first)) for first in range(0, opened, step))

    def delete(self, keys: NDArray[np.uint64]) -> int:
        """Take the entries of ``keys``, shape (n,), away; how many were still there."""
        numbers = np.array([self._remove_from_hash(key) for key in keys.tolist()], "<i8")
        keys, numbers = keys[numbers >= 0], numbers[numbers >= 0]
        for first, which in self._in_windows(numbers):
            self._free_slots(first, numbers[which], keys[which])
        return len(numbers)

    def _in_windows(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """First slot of each window that some of the slots ``numbers`` are in; which these are."""
        for first, count in self._windows(int(numbers.max(initial=-1)) + 1):
            which = np.flatnonzero((numbers >= first) & (numbers < first + count))
            if len(which):
                yield first, which

    def correct_owners(self, keys: NDArray[np.uint64], before: NDArray[np.uint32], right: Rows) -> None:
        """Have the entries of sockets say who owns them; in any thread.

        An entry with another PID than ``before`` is left alone: the kernel side has seen somebody since.

        Args:
            keys: the sockets, shape (n,).
            before: PID that each entry had, shape (n,).
            right: what to write, shape (n,): the fields of its dtype, all of them fields of CONN.
        """
        numbers = np.array([self._slot_of(key) for key in keys.tolist()], "<i8")
        for first, which in self._in_windows(numbers):
            count = int(numbers[which].max()) - first + 1
            with self._blocks.window(first, count) as (window, offset):
                chosen = _Targets(numbers[which] - first, keys[which], before[which])
                # no name for the slots: nothing may refer to them when the window is closed
                _correct(np.frombuffer(window, SLOT, count, offset), chosen, right[which])

    def _slot_of(self, key: int) -> int:
        """Of the slot that a socket's entry is in; -1: it has none."""
        number = ct.c_uint32(0)
        found = load_libbpf().bpf_map_lookup_elem(
            self._slot_maps.slot_numbers, ct.byref(ct.c_uint64(key)), ct.byref(number)
        )
        return number.value if found == 0 else -1

    def _remove_from_hash(self, key: int) -> int:
        """Number of the slot that a socket's entry was in, and no longer is for the kernel side; -1: none was."""
        number = self._slot_of(key)
        deleted = load_libbpf().bpf_map_delete_elem(self._slot_maps.slot_numbers, ct.byref(ct.c_uint64(key))) == 0
        return number if deleted else -1

    def _free_slots(self, first: int, numbers: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        count = int(numbers.max()) - first + 1
        with self._blocks.window(first, count) as (window, offset):
            ours = _free(np.frombuffer(window, SLOT, count, offset), numbers - first, keys)
        for number in numbers[ours].tolist():
            push(self._slot_maps.free_slots, number)


def _free(slots: Rows, which: NDArray[np.int64], keys: NDArray[np.uint64]) -> Mask:
    """Give those back that are still of ``keys``, as the kernel side does it; which these were."""
    ours: Mask = slots["skaddr"][which] == keys
    slots["generation"][which[ours]] += 1
    slots["skaddr"][which[ours]] = 0
    slots["generation"][which[ours]] += 1
    slots["dirty"][which[ours]] = 1
    return ours


class _Targets(NamedTuple):
    """Slots to correct: their numbers, their sockets and the PID that each has; shape (n,)."""

    which: NDArray[np.int64]
    keys: NDArray[np.uint64]
    pid: NDArray[np.uint32]


def _correct(slots: Rows, chosen: _Targets, right: Rows) -> None:
    same = (slots["skaddr"][chosen.which] == chosen.keys) & (slots["conn"]["pid"][chosen.which] == chosen.pid)
    which = chosen.which[same]
    for name in right.dtype.names or ():
        slots["conn"][name][which] = right[name][same]
    slots["dirty"][which] = 1


def _changed_slots(asked: NDArray[np.intp], slots: Rows) -> NDArray[np.intp]:
    """And what is asked for besides."""
    which = np.flatnonzero(slots["dirty"])
    which = np.union1d(which, asked) if len(asked) else which
    slots["dirty"][which] = 0  # before they are copied: what is written meanwhile is the next call's
    return which


def _copy_stable(
    slots: Rows, chosen: Callable[[Rows], NDArray[np.intp]], into: Rows
) -> tuple[NDArray[np.intp], Rows, Mask]:
    """Those that are ``chosen``; copies of them, at the start of ``into``; which have not changed hands meanwhile."""
    which = chosen(slots)
    before = slots["generation"][which]
    copies = into[: len(which)]
    begin = leading_fields(slots, into.dtype)
    copy_into(begin if len(which) == len(slots) else picked(begin, which), copies)
    return which, copies, (before % 2 == 0) & (slots["generation"][which] == before)


def _with_changes(hists: HistogramStore, numbers: NDArray[np.intp], copies: Rows) -> HistogramStore:
    """With those of the slots with these numbers; what nobody has goes."""
    held = copies["skaddr"] != 0
    return hists.with_cleared(numbers[~held] + 1).with_histograms(numbers[held] + 1, copies["conn"]["rtt_hist"][held])
