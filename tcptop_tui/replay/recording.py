"""A recording: every batch that a source emitted, one after the other in a file.

The file begins with a magic line. A batch is a head of fixed size and its payload: the bytes of
its rows, or JSON for what has none; before a table stand the histograms of its rows, the processes
that share a socket and, where events waited, up to when they had been passed on (``Table.events_ns``).
The dtypes stand in the file once, so that a recording of another version is refused instead of misread.
Nothing in a file is ever run: a recording may come from a stranger.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Container, Generator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from tcptop_tui.errors import TcptopError, UsageError
from tcptop_tui.host.caller_files import calling_user
from tcptop_tui.host.private_files import open_nonblocking
from tcptop_tui.records import ENDED, HOLDING, LATE_ENDING, PING, ROW, RTT_SLOTS, TRANSITION, Rows
from tcptop_tui.stream.batches import (
    Batch,
    EndedConnections,
    LateEndings,
    Loss,
    Names,
    Pings,
    Status,
    Table,
    Transitions,
)
from tcptop_tui.stream.histograms import NO_HISTOGRAMS, HistogramStore
from tcptop_tui.stream.socket_details import NO_DETAILS, SOCKET_DETAIL

MAGIC = b"tcptop-tui recording 2\n"
_EARLIER = b"tcptop-tui recording 1\n"
"""The same without ``EVENTS``."""
BATCH_HEAD = struct.Struct("<BxxxIQQ")  # kind, bytes, now_ns, utc_ns
NUMBER = struct.Struct("<Q")
_PART_BYTES = 1 << 20
_MOST_BYTES = {11: 8, 4: 1 << 16, 5: 1 << 16, 7: 1 << 24, 3: 1 << 30, 8: 1 << 30, 9: 1 << 30, 12: 1 << 30}
"""Of a batch, by kind; of events as many as the largest ring holds, twice."""
_MOST_EVENT_BYTES = 1 << 28
_LATEST_NS = 1 << 62
"""In 2116: numbers beyond it are no times, and no differences in 64 bits."""

_ROWS: dict[int, tuple[type[Any], np.dtype[Any]]] = {
    1: (Transitions, TRANSITION),
    2: (EndedConnections, ENDED),
    3: (Table, ROW),
    6: (Pings, PING),
    10: (LateEndings, LATE_ENDING),
}
HISTS, HOLDERS, EVENTS, DETAILS = 8, 9, 11, 12
_HIST = np.dtype(("<u4", (RTT_SLOTS,)))
_NOTES: dict[int, type[Any]] = {4: Loss, 5: Status, 7: Names}
KIND_OF = {kind: number for number, (kind, _) in _ROWS.items()} | {kind: number for number, kind in _NOTES.items()}
_ITEM_BYTES = (
    {kind: dtype.itemsize for kind, (_, dtype) in _ROWS.items()}
    | dict.fromkeys(_NOTES, 1)
    | {HISTS: _HIST.itemsize, HOLDERS: HOLDING.itemsize, EVENTS: NUMBER.size, DETAILS: 1}
)


def dtype_layout() -> bytes:
    """The dtypes in words; 16-bit length first."""
    text = repr([*(dtype.descr for _, dtype in _ROWS.values()), HOLDING.descr, _HIST.shape]).encode()
    return struct.pack("<H", len(text)) + text


def details_payload(details: Rows) -> bytes:
    """The dtype in words, 16-bit length first, then the rows: fields come and go there without a new version."""
    text = repr(SOCKET_DETAIL.descr).encode()
    return struct.pack("<H", len(text)) + text + details.tobytes()


def _details(payload: bytes) -> Rows:
    """Dtype SOCKET_DETAIL; none where the recording has other fields."""
    rows = payload.removeprefix(details_payload(NO_DETAILS))
    known = len(rows) < len(payload) and len(rows) % SOCKET_DETAIL.itemsize == 0
    return np.frombuffer(rows, SOCKET_DETAIL) if known else NO_DETAILS


def read_batches(path: Path, stopped: Callable[[], bool] = lambda: False) -> Generator[Batch, None, bool]:
    """The batches of a recording, in their order. One that was cut off ends before its last batch.

    Args:
        path: of the recording.
        stopped: asked while it is read; True ends it.

    Returns:
        Whether it was cut off.

    Raises:
        UsageError: not a recording, or one of another version, or damaged.
        OSError: it cannot be read.
    """
    with _opened(path) as file:
        _check_beginning(path, file)
        last_ns, events_ns, hists, holders, details = 0, 0, NO_HISTOGRAMS, np.zeros(0, HOLDING), NO_DETAILS
        while len(head := file.read(BATCH_HEAD.size)) == BATCH_HEAD.size:
            kind, size, now_ns, utc_ns = BATCH_HEAD.unpack(head)
            if max(now_ns, utc_ns) > _LATEST_NS or (kind == KIND_OF[Table] and now_ns < last_ns):
                raise UsageError(f"{path} is damaged: a table of no time that there is")
            last_ns = max(last_ns, now_ns)
            payload = _payload(path, file, kind, size, stopped)
            if payload is None:
                return not stopped()
            if kind == HISTS:
                hists = HistogramStore.from_array(np.frombuffer(payload, "<u4").reshape(-1, RTT_SLOTS))
            elif kind == HOLDERS:
                holders = np.frombuffer(payload, HOLDING)
            elif kind == EVENTS:
                events_ns = int.from_bytes(payload, "little")
            elif kind == DETAILS:
                details = _details(payload)
            else:
                batch = _batch(path, kind, payload, now_ns, utc_ns)
                if isinstance(batch, Table):
                    behind_ns = min(events_ns, now_ns)
                    batch = replace(batch, hists=hists, holders=holders, details=details, events_ns=behind_ns)
                    events_ns, details = 0, NO_DETAILS
                yield batch
        return bool(head)


def _check_beginning(path: Path, file: IO[bytes]) -> None:
    known = dtype_layout()
    if file.read(len(MAGIC)) not in {MAGIC, _EARLIER}:
        raise UsageError(f"{path} is not a recording", hint="make one with --record")
    if file.read(len(known)) != known:
        raise UsageError(f"{path} was recorded by another version", hint="replay it with that one")


def _payload(path: Path, file: IO[bytes], kind: int, size: int, stopped: Callable[[], bool]) -> bytes | None:
    """The bytes of a batch; None where the file ends before them, or it is to end.

    Memory is taken for what is there only, part by part: a hole of a sparse file is no batch.
    """
    if kind not in _ITEM_BYTES:
        raise UsageError(f"{path} is damaged: no batch is of kind {kind}")
    if size > _MOST_BYTES.get(kind, _MOST_EVENT_BYTES) or size % _ITEM_BYTES[kind]:
        raise UsageError(f"{path} is damaged: a batch of {size} bytes")
    if size > os.fstat(file.fileno()).st_size - file.tell():
        return None
    parts = []
    while size:
        part = file.read(min(size, _PART_BYTES))
        if not part or stopped():
            return None
        if len(part) == _PART_BYTES and not part.strip(b"\0"):
            raise UsageError(f"{path} is damaged: there is nothing where a batch should be")
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _opened(path: Path) -> IO[bytes]:
    """Only a plain file; and under sudo a third user's is not even looked at."""
    file = open_nonblocking(path)
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and (os.geteuid() or found.st_uid in {0, calling_user()[0]}):
        return file
    file.close()
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is not a plain file", hint="name a file made with --record")
    raise UsageError(f"{path} belongs to another user", hint="replay it without sudo: nothing in it needs root")


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


def opened_recording(path: str | None, *, lines: bool = False) -> Path | None:
    """A recording that can be played, or the reason why not before anything else happens; None for none.

    Args:
        path: as the user gave it.
        lines: it is played as a stream, which wants no table.

    Raises:
        UsageError: it cannot be read.
        TcptopError: there is nothing in it.
    """
    if path is None:
        return None
    try:
        next(iter(read_batches(Path(path))), None)
        if not _contains(Path(path), set(_ROWS) if lines else {KIND_OF[Table]}):
            raise TcptopError(f"{path} has {'nothing' if lines else 'no table'} in it", hint="record for longer")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="name a file made with --record") from None
    return Path(path)


def _contains(path: Path, kinds: Container[int]) -> bool:
    """Whether there is a whole batch of one of these kinds; what lies before it is passed over."""
    with _opened(path) as file:
        _check_beginning(path, file)
        end = os.fstat(file.fileno()).st_size
        while len(head := file.read(BATCH_HEAD.size)) == BATCH_HEAD.size:
            kind, size, *_ = BATCH_HEAD.unpack(head)
            if kind not in _ITEM_BYTES or file.seek(size, os.SEEK_CUR) > end:
                return False
            if kind in kinds:
                return True
    return False
