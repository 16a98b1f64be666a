"""Memory for tables, used again when nobody looks at the table in it any more.

A table of 100,000 connections is 30 MB. New memory has to be given by the kernel and cleared page by page, and
in a virtual machine by the host before: that took longer than what was then written there.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import ROW, Rows

_NOBODY = sys.getrefcount(np.zeros(0)) + 1
"""References to a room that only the list has, as ``getrefcount`` counts them there."""


class Rooms:
    """Of one thread; the tables may be let go of by any."""

    def __init__(self) -> None:
        self._rooms: list[NDArray[np.uint8]] = []

    def take(self, count: int) -> Rows:
        """Room for ``count`` rows of dtype ROW, with anything in it: nobody else's while it or a view is there."""
        wanted = count * ROW.itemsize
        free = [number for number in range(len(self._rooms)) if sys.getrefcount(self._rooms[number]) == _NOBODY]
        fitting = [number for number in free if wanted <= len(self._rooms[number]) <= 2 * wanted]
        room = self._rooms[fitting[0]] if fitting else np.empty(wanted + wanted // 16, "u1")  # tables grow slowly
        self._rooms = [one for number, one in enumerate(self._rooms) if number not in free or one is room]
        if not fitting:
            self._rooms.append(room)
        return room[:wanted].view(ROW)
