"""The source that plays a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from tcptop_tui.cgroups import Cgroups
from tcptop_tui.diag.chosen import Chosen
from tcptop_tui.records import only
from tcptop_tui.replay.recording import read_batches
from tcptop_tui.source.batches import Batch, Capture, Sessions, Sink, Status, Table, Transitions

EVERYTHING: Final = Capture()


class ReplaySource:
    """Plays a recording at the pace at which it was made.

    Args:
        path: of the recording.
        capture: what of it to pass on.
    """

    backend = "replay"

    def __init__(self, path: Path, capture: Capture = EVERYTHING) -> None:
        self._path = path
        self._chosen = Chosen(capture, Cgroups())
        self._all = capture == EVERYTHING
        self._batches: Iterator[Batch] = iter(())

    def open(self) -> None:
        """Look at the file's beginning.

        Raises:
            UsageError: not a recording.
            OSError: it cannot be read.
        """
        self._batches = read_batches(self._path)

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Play to the end, then say that it is the end and wait for ``stopped``."""
        sink.offer(Status(self.backend, f"recording {self._path.name}"))
        last_ns = 0
        for batch in self._batches:
            if isinstance(batch, Table):
                if last_ns and stopped(max(0, batch.now_ns - last_ns) / 1e9):
                    return
                last_ns = batch.now_ns
            while not sink.offer(self._as_ours(batch)):
                if stopped(0.01):
                    return
        sink.offer(Status(self.backend, f"recording {self._path.name}: the end", ended=True))
        while not stopped(1.0):
            pass

    def _as_ours(self, batch: Batch) -> Batch:
        """What the recorded source said of itself is not true of this one; and only what is wanted."""
        if isinstance(batch, Table | Transitions | Sessions) and not self._all:
            return replace(batch, rows=only(batch.rows, self._chosen.mask(batch.rows, unknown=False)))
        if not isinstance(batch, Status):
            return batch
        return Status(self.backend, f"recording {self._path.name} of backend {batch.backend} {batch.note}")

    def recapture(self, capture: Capture) -> None:
        """From any thread: pass on something else from now on."""
        self._chosen, self._all = Chosen(capture, Cgroups()), capture == EVERYTHING

    def close(self) -> None:
        """Close the file."""
        self._batches = iter(())
