"""The source that plays a recording, at the pace at which it was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.replay.recording import read_batches
from tcptop_tui.row_copy import subset
from tcptop_tui.stream.batches import Batch, Capture, EndedConnections, Sink, Source, Status, Table, Transitions
from tcptop_tui.stream.capture_match import CaptureMatch

EVERYTHING: Final = Capture()
CUT_OFF: Final = "cut off here, played to where it is whole"
"""What the status says at the end of a recording that ends within a batch."""
_LONGEST_GAP_S = 120.0
"""A longer time between two tables is not waited for: the longest period is a minute."""


class ReplaySource(Source):
    """Offers the batches of a recording.

    Args:
        path: of the recording.
        capture: the capture filter chooses from the recording.
    """

    backend = "replay"

    def __init__(self, path: Path, capture: Capture = EVERYTHING) -> None:
        self._path = path
        self._capture_match = CaptureMatch(capture, Cgroups())
        self._is_unfiltered = capture == EVERYTHING

    def open(self) -> None:
        """Read the first batch.

        Raises:
            UsageError: the file is not a recording.
            OSError: the file cannot be read.
        """
        next(iter(read_batches(self._path)), None)

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Play to the end, then offer a status that says so and wait until ``stopped``."""
        note = f"recording {self._path.name}"
        sink.offer(Status(self.backend, note))
        is_cut_off = self._play(sink, stopped)
        if is_cut_off is None:
            return
        sink.offer(Status(self.backend, f"{note}: {CUT_OFF if is_cut_off else 'the end'}", ended=True))
        while not stopped(1.0):
            pass

    def _play(self, sink: Sink, stopped: Callable[[float], bool]) -> bool | None:
        """Offer every batch. Returns whether the recording ends within a batch; None: playing was stopped."""
        batches, last_ns = read_batches(self._path, lambda: stopped(0)), 0
        while True:
            try:
                batch = next(batches)
            except StopIteration as end:
                return None if stopped(0) else bool(end.value)
            if isinstance(batch, Table):
                gap_s = (batch.now_ns - last_ns) / 1e9 if last_ns else 0.0
                last_ns = batch.now_ns
                if stopped(gap_s if gap_s <= _LONGEST_GAP_S else 0):
                    return None
            while not sink.offer(self._adapt(batch)):
                if stopped(0.01):
                    return None
            if stopped(0):
                return None

    def _adapt(self, batch: Batch) -> Batch:
        """A batch as this source offers it: chosen by the capture filter, and with this source's status."""
        if isinstance(batch, Table | Transitions | EndedConnections) and not self._is_unfiltered:
            return replace(batch, rows=subset(batch.rows, self._capture_match.mask(batch.rows, unknown=False)))
        if not isinstance(batch, Status):
            return batch
        return Status(self.backend, f"recording {self._path.name} of backend {batch.backend} {batch.note}")

    def set_capture(self, capture: Capture) -> None:
        """From any thread: choose by another capture filter from now on."""
        self._capture_match, self._is_unfiltered = CaptureMatch(capture, Cgroups()), capture == EVERYTHING

    def close(self) -> None:
        """See ``Source``. There is nothing to close."""
