"""Recordings with known content."""

from __future__ import annotations

from pathlib import Path

from tcptop_tui.replay.recorder import Recorder
from tcptop_tui.stream.batches import Batch, Sink, Table
from tests.support.samples import NOW, UTC, connections

RECORDED_FIELDS = {"lport": 22, "rport": 7001}
"""What is particular to the one connection of ``one_row_table``."""


class BatchList(Sink):
    """A sink that keeps every batch."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def offer(self, batch: Batch) -> bool:
        """See ``Sink``."""
        self.batches.append(batch)
        return True


def one_row_table(after_ns: int = 0) -> Table:
    """A table of one connection, ``after_ns`` later than ``NOW``."""
    return Table(connections(RECORDED_FIELDS), NOW + after_ns, UTC + after_ns)


def write_recording(path: Path, *batches: Batch) -> Path:
    """Record these batches to ``path``."""
    with path.open("wb", buffering=0) as file:
        recorder = Recorder(BatchList(), file)
        for batch in batches:
            recorder.offer(batch)
    return path
