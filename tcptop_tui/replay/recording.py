"""A recording: every batch that a source emitted, one after the other in a file.

The file begins with a magic line. A batch is a head of fixed size and its payload: the bytes of
its rows, or JSON for what has none; before a table stand the histograms of its rows and the processes
that share a socket. The dtypes stand in the file once, so that a recording of another version is refused instead
of misread.
Nothing in a file is ever run: a recording may come from a stranger.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from tcptop_tui.config.own_files import open_at_once
from tcptop_tui.errors import UsageError
from tcptop_tui.export.files import caller
from tcptop_tui.records import ENDING, HOLDING, PING, ROW, RTT_SLOTS, SESSION, TRANSITION, Rows, copied
from tcptop_tui.source.batches import Batch, Endings, Loss, Names, Pings, Sessions, Sink, Status, Table, Transitions
from tcptop_tui.source.hists import NO_HISTS, Hists

_MAGIC = b"tcptop-tui recording 1\n"
_HEAD = struct.Struct("<BxxxIQQ")  # kind, bytes, now_ns, utc_ns
_MAX_BATCH_BYTES = 1 << 30
_LATEST_NS = 1 << 62
"""In 2116: numbers beyond it are no times, and no differences in 64 bits."""

_ROWS: dict[int, tuple[type[Any], np.dtype[Any]]] = {
    1: (Transitions, TRANSITION),
    2: (Sessions, SESSION),
    3: (Table, ROW),
    6: (Pings, PING),
    10: (Endings, ENDING),
}
_HISTS, _HOLDERS = 8, 9
_HIST = np.dtype(("<u4", (RTT_SLOTS,)))
_NOTES: dict[int, type[Any]] = {4: Loss, 5: Status, 7: Names}
_KIND_OF = {kind: number for number, (kind, _) in _ROWS.items()} | {kind: number for number, kind in _NOTES.items()}


def _layout() -> bytes:
    """The dtypes in words; 16-bit length first."""
    text = repr([*(dtype.descr for _, dtype in _ROWS.values()), HOLDING.descr, _HIST.shape]).encode()
    return struct.pack("<H", len(text)) + text


class Recorder:
    """A sink that writes every batch that another sink takes.

    Args:
        sink: where the batches go on to.
        file: open for writing bytes; stays the caller's.
    """

    def __init__(self, sink: Sink, file: IO[bytes]) -> None:
        self._sink, self._file = sink, file
        file.write(_MAGIC + _layout())

    def offer(self, batch: Batch) -> bool:
        """Pass ``batch`` on, and write it down when it was taken."""
        taken = self._sink.offer(batch)
        if taken and isinstance(batch, Table):
            self._write_table(batch)
        elif taken:
            payload = msgspec.json.encode(batch) if isinstance(batch, Loss | Status | Names) else batch.rows.tobytes()
            self._write(_KIND_OF[type(batch)], payload)
        return taken

    def _write_table(self, table: Table) -> None:
        """Histograms of those rows that have samples, then the rows with their numbers among these."""
        rows = copied(table.rows)
        found = table.hists.at(rows["hist"])
        sampled = found.any(axis=1)
        rows["hist"] = np.where(sampled, np.cumsum(sampled), 0)
        self._write(_HISTS, found[sampled].tobytes())
        self._write(_HOLDERS, table.holders.tobytes())
        self._write(_KIND_OF[Table], rows.tobytes(), table.now_ns, table.utc_ns)

    def _write(self, kind: int, payload: bytes, now_ns: int = 0, utc_ns: int = 0) -> None:
        self._file.write(_HEAD.pack(kind, len(payload), now_ns, utc_ns) + payload)


def read_batches(path: Path) -> Iterator[Batch]:
    """The batches of a recording, in their order. One that was cut off ends before its last batch.

    Raises:
        UsageError: not a recording, or one of another version, or damaged.
        OSError: it cannot be read.
    """
    with _opened(path) as file:
        layout = _layout()
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UsageError(f"{path} is not a recording", mend="make one with --record")
        if file.read(len(layout)) != layout:
            raise UsageError(f"{path} was recorded by another version", mend="replay it with that one")
        last_ns, hists, holders = 0, NO_HISTS, np.zeros(0, HOLDING)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, size, now_ns, utc_ns = _HEAD.unpack(head)
            if size > _MAX_BATCH_BYTES:
                raise UsageError(f"{path} is damaged: a batch of {size} bytes")
            if max(now_ns, utc_ns) > _LATEST_NS or (kind == _KIND_OF[Table] and now_ns < last_ns):
                raise UsageError(f"{path} is damaged: a table of no time that there is")
            last_ns = max(last_ns, now_ns)
            payload = file.read(size)
            if len(payload) < size:
                return
            if kind == _HISTS:
                hists = _hists(path, payload)
            elif kind == _HOLDERS:
                holders = _holders(path, payload)
            else:
                batch = _batch(path, kind, payload, now_ns, utc_ns)
                yield replace(batch, hists=hists, holders=holders) if isinstance(batch, Table) else batch


def _opened(path: Path) -> IO[bytes]:
    """Only a plain file; and under sudo a third user's is not even looked at."""
    file = open_at_once(path)
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and (os.geteuid() or found.st_uid in {0, caller()[0]}):
        return file
    file.close()
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is not a plain file", mend="name a file made with --record")
    raise UsageError(f"{path} belongs to another user", mend="replay it without sudo: nothing in it needs root")


def _hists(path: Path, payload: bytes) -> Hists:
    if len(payload) % _HIST.itemsize:
        raise UsageError(f"{path} is damaged: half a histogram")
    return Hists.of(np.frombuffer(payload, "<u4").reshape(-1, RTT_SLOTS))


def _holders(path: Path, payload: bytes) -> Rows:
    if len(payload) % HOLDING.itemsize:
        raise UsageError(f"{path} is damaged: half a process")
    return np.frombuffer(payload, HOLDING)


def _batch(path: Path, kind: int, payload: bytes, now_ns: int, utc_ns: int) -> Batch:
    try:
        if kind in _NOTES:
            note: Batch = msgspec.json.decode(payload, type=_NOTES[kind])
            return note
        make, dtype = _ROWS[kind]
        rows = np.frombuffer(payload, dtype)
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    made: Batch = Table(rows, now_ns, utc_ns) if make is Table else make(rows)
    return made


def opened_recording(path: str | None) -> Path | None:
    """A recording that can be read, or the reason why not before anything else happens; None for none.

    Raises:
        UsageError: it cannot.
    """
    if path is None:
        return None
    try:
        next(iter(read_batches(Path(path))), None)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", mend="name a file made with --record") from None
    return Path(path)
