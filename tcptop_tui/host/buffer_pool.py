"""Large buffers that are used again as soon as no array refers to their memory.

New memory has to be given by the kernel and cleared page by page, in a virtual machine by its host as well. For a table
of 100,000 connections that takes longer than writing its rows.

The pool lends a buffer as an array, the *owner*. Every array, row (``np.void``) and memoryview that is made from the
owner keeps the owner alive, so the owner dies last, in whatever order and thread the others die. Its death
(``weakref.finalize``) puts the buffer back into the pool.
"""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True, eq=False)
class Buffer:
    """Memory that a ``BufferPool`` lends; a subclass may add what is known of its content."""

    memory: memoryview
    """Bytes. A memoryview, because numpy would make a view of an array over another array refer to that one alone."""


BufferT = TypeVar("BufferT", bound=Buffer)


def new_memory(size_bytes: int) -> memoryview:
    """Memory for a ``Buffer``, whose content is undefined; from 4 MiB on numpy asks the kernel for huge pages."""
    return np.empty(size_bytes, np.uint8).data


class BufferPool(Generic[BufferT]):
    """The buffers that nobody uses. One thread at a time takes and lends; arrays may die in any.

    Args:
        max_free: free buffers to keep at most, the ones that came back last. None: any number.
    """

    def __init__(self, max_free: int | None = None) -> None:
        self._free: deque[BufferT] = deque(maxlen=max_free)

    def take_free(self) -> list[BufferT]:
        """Take all free buffers out of the pool; the memory of those that the caller drops goes back to the kernel."""
        return [self._free.popleft() for _ in range(len(self._free))]

    def lend(self, buffer: BufferT) -> NDArray[np.uint8]:
        """Lend a buffer that is not in the pool until the array over its memory and all views of it have died."""
        owner = np.frombuffer(buffer.memory, np.uint8)
        # no cycle: the finalizer refers to the buffer, and the buffer does not refer to the owner
        weakref.finalize(owner, self._free.append, buffer).atexit = False
        return owner
