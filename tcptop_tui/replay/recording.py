"""The file format of a recording: every batch that a source has offered, one after the other.

The file begins with a magic line and the dtypes of all rows, so that a recording of another version is refused instead
of misread. A batch is a head of fixed size and its payload: the bytes of its rows, or JSON for batches without rows.
Before a table there are the histograms of its rows, the holders of sockets that have several, details of sockets and,
where events were behind, the time up to which they had been offered (``Table.events_ns``).

A recording may come from a stranger: nothing in it is executed, and every size in it is checked.
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
_MAGIC_1 = b"tcptop-tui recording 1\n"
"""Recordings of this version can be played too: they are the same without ``EVENTS``."""
BATCH_HEAD = struct.Struct("<BxxxIQQ")  # kind, payload bytes, now_ns, utc_ns
NUMBER = struct.Struct("<Q")
_READ_BYTES = 1 << 20
_MAX_BYTES = {11: 8, 4: 1 << 16, 5: 1 << 16, 7: 1 << 24, 3: 1 << 30, 8: 1 << 30, 9: 1 << 30, 12: 1 << 30}
"""Size limits of payloads, by kind; other kinds have ``_MAX_EVENT_BYTES``, twice what the largest ring holds."""
_MAX_EVENT_BYTES = 1 << 28
_LATEST_NS = 1 << 62
"""Times above this, which is in the year 2116, are damaged; their differences might not fit into 64 bits."""

_ROWS: dict[int, tuple[type[Any], np.dtype[Any]]] = {
    1: (Transitions, TRANSITION),
    2: (EndedConnections, ENDED),
    3: (Table, ROW),
    6: (Pings, PING),
    10: (LateEndings, LATE_ENDING),
}
HISTS, HOLDERS, EVENTS, DETAILS = 8, 9, 11, 12
_HIST = np.dtype(("<u4", (RTT_SLOTS,)))
_JSON_KINDS: dict[int, type[Any]] = {4: Loss, 5: Status, 7: Names}
KIND_OF = {batch: kind for kind, (batch, _) in _ROWS.items()} | {batch: kind for kind, batch in _JSON_KINDS.items()}
_ITEM_BYTES = (
    {kind: dtype.itemsize for kind, (_, dtype) in _ROWS.items()}
    | dict.fromkeys(_JSON_KINDS, 1)
    | {HISTS: _HIST.itemsize, HOLDERS: HOLDING.itemsize, EVENTS: NUMBER.size, DETAILS: 1}
)


def dtype_layout() -> bytes:
    """The dtypes of all rows as text, with its 16-bit length in front."""
    text = repr([*(dtype.descr for _, dtype in _ROWS.values()), HOLDING.descr, _HIST.shape]).encode()
    return struct.pack("<H", len(text)) + text


def details_payload(details: Rows) -> bytes:
    """The dtype of details as text, with its 16-bit length in front, then the rows.

    So fields of details can come and go without a new version of the format.
    """
    text = repr(SOCKET_DETAIL.descr).encode()
    return struct.pack("<H", len(text)) + text + details.tobytes()


def _details_from_payload(payload: bytes) -> Rows:
    """Dtype SOCKET_DETAIL; empty where the recording has other fields."""
    row_bytes = payload.removeprefix(details_payload(NO_DETAILS))
    has_same_fields = len(row_bytes) < len(payload) and len(row_bytes) % SOCKET_DETAIL.itemsize == 0
    return np.frombuffer(row_bytes, SOCKET_DETAIL) if has_same_fields else NO_DETAILS


def read_batches(path: Path, stopped: Callable[[], bool] = lambda: False) -> Generator[Batch, None, bool]:
    """Yield the batches of a recording in their order, up to the last complete one.

    Args:
        path: of the recording.
        stopped: called between batches and while a large one is read; True ends the reading.

    Returns:
        Whether the recording ends within a batch.

    Raises:
        UsageError: the file is not a recording, or one of another version, or damaged.
        OSError: the file cannot be read.
    """
    with _open_recording(path) as file:
        _check_magic_and_dtypes(path, file)
        last_ns, events_ns, hists, holders, details = 0, 0, NO_HISTOGRAMS, np.zeros(0, HOLDING), NO_DETAILS
        while len(head := file.read(BATCH_HEAD.size)) == BATCH_HEAD.size:
            kind, size, now_ns, utc_ns = BATCH_HEAD.unpack(head)
            if max(now_ns, utc_ns) > _LATEST_NS or (kind == KIND_OF[Table] and now_ns < last_ns):
                raise UsageError(f"{path} is damaged: a table of no time that there is")
            last_ns = max(last_ns, now_ns)
            payload = _read_payload(path, file, kind, size, stopped)
            if payload is None:
                return not stopped()
            if kind == HISTS:
                hists = HistogramStore.from_array(np.frombuffer(payload, "<u4").reshape(-1, RTT_SLOTS))
            elif kind == HOLDERS:
                holders = np.frombuffer(payload, HOLDING)
            elif kind == EVENTS:
                events_ns = int.from_bytes(payload, "little")
            elif kind == DETAILS:
                details = _details_from_payload(payload)
            else:
                batch = _batch_from_payload(path, kind, payload, now_ns, utc_ns)
                if isinstance(batch, Table):
                    events_ns = min(events_ns, now_ns)
                    batch = replace(batch, hists=hists, holders=holders, details=details, events_ns=events_ns)
                    events_ns, details = 0, NO_DETAILS
                yield batch
        return bool(head)


def _check_magic_and_dtypes(path: Path, file: IO[bytes]) -> None:
    layout = dtype_layout()
    if file.read(len(MAGIC)) not in {MAGIC, _MAGIC_1}:
        raise UsageError(f"{path} is not a recording", hint="make one with --record")
    if file.read(len(layout)) != layout:
        raise UsageError(f"{path} was recorded by another version", hint="replay it with that one")


def _read_payload(path: Path, file: IO[bytes], kind: int, size: int, stopped: Callable[[], bool]) -> bytes | None:
    """The bytes of a payload; None where the file ends before their end, or when ``stopped``.

    It reads 1 MiB at a time and refuses one that is all zeros, so that a sparse file of a stranger, which may claim
    any size, takes no memory.
    """
    if kind not in _ITEM_BYTES:
        raise UsageError(f"{path} is damaged: no batch is of kind {kind}")
    if size > _MAX_BYTES.get(kind, _MAX_EVENT_BYTES) or size % _ITEM_BYTES[kind]:
        raise UsageError(f"{path} is damaged: a batch of {size} bytes")
    if size > os.fstat(file.fileno()).st_size - file.tell():
        return None
    parts = []
    while size:
        part = file.read(min(size, _READ_BYTES))
        if not part or stopped():
            return None
        if len(part) == _READ_BYTES and not part.strip(b"\0"):
            raise UsageError(f"{path} is damaged: there is nothing where a batch should be")
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _open_recording(path: Path) -> IO[bytes]:
    """Open a plain file. Root opens only its own files and those of the user who called sudo.

    Raises:
        UsageError: the file is something else, or belongs to another user.
    """
    file = open_nonblocking(path)
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and (os.geteuid() or status.st_uid in {0, calling_user()[0]}):
        return file
    file.close()
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is not a plain file", hint="name a file made with --record")
    raise UsageError(f"{path} belongs to another user", hint="replay it without sudo: nothing in it needs root")


def _batch_from_payload(path: Path, kind: int, payload: bytes, now_ns: int, utc_ns: int) -> Batch:
    try:
        if kind in _JSON_KINDS:
            decoded: Batch = msgspec.json.decode(payload, type=_JSON_KINDS[kind])
            return decoded
        batch_class, dtype = _ROWS[kind]
        rows = np.frombuffer(payload, dtype)
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    batch: Batch = Table(rows, now_ns, utc_ns) if batch_class is Table else batch_class(rows)
    return batch


def check_recording(path: str | None, *, lines: bool = False) -> Path | None:
    """Check that a recording can be played, before anything else is started.

    Args:
        path: as the user gave it; None: no recording is to be played.
        lines: it is to be played as a line stream, which needs no table.

    Returns:
        ``path``.

    Raises:
        UsageError: the file cannot be read, or is not a recording.
        TcptopError: it has nothing to play.
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
    """Whether a recording has a complete batch of one of these kinds; payloads are skipped, not read."""
    with _open_recording(path) as file:
        _check_magic_and_dtypes(path, file)
        end = os.fstat(file.fileno()).st_size
        while len(head := file.read(BATCH_HEAD.size)) == BATCH_HEAD.size:
            kind, size, *_ = BATCH_HEAD.unpack(head)
            if kind not in _ITEM_BYTES or file.seek(size, os.SEEK_CUR) > end:
                return False
            if kind in kinds:
                return True
    return False
