"""Batches from the worker thread to the event loop, bounded on the producer's side.

asyncio's own ``maxsize`` bounds nothing here: with the loop blocked for a second, 50,000
``call_soon_threadsafe`` callbacks piled up while the queue was empty. So the producer counts what
is in flight, and what does not fit stays where losing it is counted: in the kernel's ring.
"""

from __future__ import annotations

import asyncio
import threading

from tcptop_tui.stream.batches import Batch, EndedConnections, LateEndings, Pings, Table, Transitions

_MAX_BATCHES = 64
_MAX_BYTES = 16 * 2**20
"""A batch is as large as what the rings held, up to 16 MiB."""


class BatchQueue:
    """Few producer threads, one consumer on the event loop.

    Args:
        max_batches: in flight at most; a further ``offer`` is refused.
        max_bytes: of their rows; a batch that is larger by itself goes when nothing else is in flight.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_batches: int = _MAX_BATCHES, max_bytes: int = _MAX_BYTES
    ) -> None:
        self._loop = loop
        self._max_batches, self._max_bytes = max_batches, max_bytes
        self._in_flight = self._bytes = 0
        self._tables = 0
        self._lock = threading.Lock()
        self._queue: asyncio.Queue[Batch] = asyncio.Queue()

    def offer(self, batch: Batch) -> bool:
        """From the thread: hand ``batch`` over, or return False at once when there is no room.

        Of tables only one is ever in flight: the next reading makes an older one worthless.
        Status and loss are small and always taken.
        """
        size = _size_bytes(batch)
        with self._lock:
            if isinstance(batch, Table):
                if self._tables:
                    return False
                self._tables += 1
            elif size and self._is_full(size):
                return False
            self._in_flight += 1
            self._bytes += size
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, batch)
        except RuntimeError:  # the loop is closed: the program is ending
            return False
        return True

    def _is_full(self, more_bytes: int) -> bool:
        """Whether there is no room for so much more."""
        too_large = bool(self._bytes) and self._bytes + more_bytes > self._max_bytes
        return self._in_flight >= self._max_batches or too_large

    async def get(self) -> Batch:
        """On the loop: the next batch."""
        batch = await self._queue.get()
        self._release(batch)
        return batch

    def _release(self, batch: Batch) -> None:
        with self._lock:
            self._in_flight -= 1
            self._bytes -= _size_bytes(batch)
            self._tables -= isinstance(batch, Table)


def _size_bytes(batch: Batch) -> int:
    """What counts: of a table there is never more than one."""
    return batch.rows.nbytes if isinstance(batch, Transitions | EndedConnections | LateEndings | Pings) else 0
