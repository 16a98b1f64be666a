"""Writing a recording: every batch that another sink takes, until it cannot be written any more."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import IO

import msgspec
import numpy as np

from tcptop_tui.errors import TcptopError
from tcptop_tui.replay.recording import (
    BATCH_HEAD,
    DETAILS,
    EVENTS,
    HISTS,
    HOLDERS,
    KIND_OF,
    MAGIC,
    NUMBER,
    details_payload,
    dtype_layout,
)
from tcptop_tui.row_copy import copied
from tcptop_tui.stream.batches import Batch, Loss, Names, Sink, Status, Table


class Recorder:
    """A sink that writes every batch that another sink takes; that it cannot be written ends nothing but the file.

    Args:
        sink: where the batches go on to.
        file: open for writing bytes, without a buffer: what has been written is there; stays the caller's.
        publish: lets the file take its place.
        early: that is done when the source works, else when the first table is written.
    """

    def __init__(
        self, sink: Sink, file: IO[bytes], publish: Callable[[], None] = lambda: None, *, early: bool = False
    ) -> None:
        self.failure = ""
        """Why it has ended; empty while it has not."""
        self._sink, self._file = sink, file
        self._publish, self._early = publish, early
        self._at_batch_end = 0
        self._status = Status("")
        self._pending_status = False
        self._attempt(lambda: self._write_bytes(MAGIC + dtype_layout()))

    def offer(self, batch: Batch) -> bool:
        """Pass ``batch`` on, and write it down when it was taken."""
        if self._early:
            self._early = False
            self._attempt(self._publish)
        if isinstance(batch, Status):
            self._status, self._pending_status = batch, False
            if not self._sink.offer(self._annotate()):
                return False
        elif not self._sink.offer(batch):
            return False
        self._attempt(lambda: self._write(batch))
        if self._pending_status:
            self._pending_status = not self._sink.offer(self._annotate())
        return True

    def _annotate(self) -> Status:
        """What the source said of itself, and that the recording has ended."""
        if not self.failure:
            return self._status
        notes = filter(None, [self._status.note, f"the recording stopped: {self.failure}"])
        return replace(self._status, note="; ".join(notes))

    def _attempt(self, step: Callable[[], None]) -> None:
        if self.failure:
            return
        try:
            step()
        except (OSError, TcptopError) as error:
            self.failure = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
            self._pending_status = bool(self._status.backend)
            with suppress(OSError):  # what is not whole helps nobody
                os.ftruncate(self._file.fileno(), self._at_batch_end)

    def _write(self, batch: Batch) -> None:
        if isinstance(batch, Table):
            self._write_table(batch)
            self._publish()
            return
        payload = msgspec.json.encode(batch) if isinstance(batch, Loss | Status | Names) else batch.rows.tobytes()
        self._write_bytes(_batch(KIND_OF[type(batch)], payload))

    def _write_table(self, table: Table) -> None:
        """Histograms of those rows that have samples, then the rows with their numbers among these."""
        rows = copied(table.rows)
        found = table.hists.histograms(rows["hist"])
        sampled = found.any(axis=1)
        rows["hist"] = np.where(sampled, np.cumsum(sampled), 0)
        parts = [_batch(HISTS, found[sampled].tobytes()), _batch(HOLDERS, table.holders.tobytes())]
        if len(table.details):
            parts.append(_batch(DETAILS, details_payload(table.details)))
        if table.events_ns:
            parts.append(_batch(EVENTS, NUMBER.pack(table.events_ns)))
        self._write_bytes(b"".join([*parts, _batch(KIND_OF[Table], rows.tobytes(), table.now_ns, table.utc_ns)]))

    def _write_bytes(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._at_batch_end += len(data)


def _batch(kind: int, payload: bytes, now_ns: int = 0, utc_ns: int = 0) -> bytes:
    return BATCH_HEAD.pack(kind, len(payload), now_ns, utc_ns) + payload
