"""Writes a recording: every batch that another sink accepts, until the file cannot be written any more."""

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
    """A sink in front of another one. When the file cannot be written, only the recording ends, not the feed.

    Args:
        sink: where the batches go on to.
        file: open for writing bytes, without a buffer, so that a batch is in the file once it has been written.
            The caller closes it.
        publish: puts the file into its place.
        early: call ``publish`` at the first batch, when the source has proved to work; otherwise at the first table.
    """

    def __init__(
        self, sink: Sink, file: IO[bytes], publish: Callable[[], None] = lambda: None, *, early: bool = False
    ) -> None:
        self.failure = ""
        """Why the recording has ended; empty while it goes on."""
        self._sink, self._file = sink, file
        self._publish, self._publishes_early = publish, early
        self._batch_end = 0
        """Position in the file behind the last complete batch."""
        self._status = Status("")
        self._has_unsent_status = False
        self._attempt(lambda: self._write_bytes(MAGIC + dtype_layout()))

    def offer(self, batch: Batch) -> bool:
        """Pass ``batch`` on, and write it if it was accepted."""
        if self._publishes_early:
            self._publishes_early = False
            self._attempt(self._publish)
        if isinstance(batch, Status):
            self._status, self._has_unsent_status = batch, False
            if not self._sink.offer(self._annotated_status()):
                return False
        elif not self._sink.offer(batch):
            return False
        self._attempt(lambda: self._write(batch))
        if self._has_unsent_status:
            self._has_unsent_status = not self._sink.offer(self._annotated_status())
        return True

    def _annotated_status(self) -> Status:
        """The source's latest status, with a note if the recording has ended."""
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
            self._has_unsent_status = bool(self._status.backend)
            with suppress(OSError):  # an incomplete batch is of no use
                os.ftruncate(self._file.fileno(), self._batch_end)

    def _write(self, batch: Batch) -> None:
        if isinstance(batch, Table):
            self._write_table(batch)
            self._publish()
            return
        payload = msgspec.json.encode(batch) if isinstance(batch, Loss | Status | Names) else batch.rows.tobytes()
        self._write_bytes(_batch_bytes(KIND_OF[type(batch)], payload))

    def _write_table(self, table: Table) -> None:
        """Write the histograms that have samples, then the rows, with their numbers among these histograms."""
        rows = copied(table.rows)
        hists = table.hists.histograms(rows["hist"])
        has_samples = hists.any(axis=1)
        rows["hist"] = np.where(has_samples, np.cumsum(has_samples), 0)
        parts = [_batch_bytes(HISTS, hists[has_samples].tobytes()), _batch_bytes(HOLDERS, table.holders.tobytes())]
        if len(table.details):
            parts.append(_batch_bytes(DETAILS, details_payload(table.details)))
        if table.events_ns:
            parts.append(_batch_bytes(EVENTS, NUMBER.pack(table.events_ns)))
        parts.append(_batch_bytes(KIND_OF[Table], rows.tobytes(), table.now_ns, table.utc_ns))
        self._write_bytes(b"".join(parts))

    def _write_bytes(self, data: bytes) -> None:
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[self._file.write(remaining) :]
        self._batch_end += len(data)


def _batch_bytes(kind: int, payload: bytes, now_ns: int = 0, utc_ns: int = 0) -> bytes:
    return BATCH_HEAD.pack(kind, len(payload), now_ns, utc_ns) + payload
