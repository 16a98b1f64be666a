"""What the C library keeps of the memory that was given back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Let all threads take from one heap; to be called before there are others. Other C libraries than glibc have one.

    glibc gives each thread a heap of its own: what the reading thread has given back nobody else gets. A
    table of 100,000 connections is 30 MB, and goes from thread to thread: half of what was resident
    was room like that. Nothing is slower for it, since most of what is taken is taken under the GIL.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
