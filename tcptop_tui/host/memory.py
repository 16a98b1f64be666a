"""How the C library keeps memory that the process has given back: one heap for all threads, and when it is trimmed."""

from __future__ import annotations

import ctypes as ct
from contextlib import suppress

from tcptop_tui.host import c_functions
from tcptop_tui.host.c_functions import Signature

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BYTES = 2**20
_SPARE_BYTES = 2**23


def use_one_heap() -> None:
    """Let all threads take from one heap; to be called before there are others. Other C libraries than glibc have one.

    glibc gives each thread a heap of its own: what the reading thread has given back nobody else gets. A
    table of 100,000 connections is 19 MB, and goes from thread to thread: half of what was resident
    was room like that. Nothing is slower for it, since most of what is taken is taken under the GIL.

    Large blocks come from the kernel and go back there at once. glibc would take them from the heap after
    the first one was given back, and what is left between them there is nobody's for long.

    Some room at the heap's end is kept: by default 128 KiB, so that a column of 100,000 numbers was new memory
    each time, and clearing its pages took longer than to calculate it.
    """
    with suppress(OSError, AttributeError):
        libc = c_functions.load_library(None, {"mallopt": Signature(ct.c_int, (ct.c_int, ct.c_int))})
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _SPARE_BYTES)


def trim_heap() -> None:
    """Let the kernel have the pages that lie free between blocks of the heap; some ms, in any thread.

    Columns of 100,000 numbers come and go among what stays: a third of the heap was room between blocks, and
    most of it was not there when somebody wanted much at once.
    """
    with suppress(OSError, AttributeError):
        c_functions.load_library(None, {"malloc_trim": Signature(ct.c_int, (ct.c_size_t,))}).malloc_trim(0)
