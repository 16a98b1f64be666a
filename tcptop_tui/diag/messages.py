"""sock_diag's messages from bytes to columns, a whole buffer at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Rows

INET_DIAG_INFO = 2
INET_DIAG_CONG = 4
INET_DIAG_CGROUP_ID = 21

HEADER = np.dtype([("length", "<u4"), ("type", "<u2"), ("flags", "<u2"), ("seq", "<u4"), ("pid", "<u4")])
"""``struct nlmsghdr`` (include/uapi/linux/netlink.h)."""

MESSAGE = np.dtype(
    [
        ("header", HEADER),
        ("family", "u1"), ("state", "u1"), ("timer", "u1"), ("retrans", "u1"),
        ("sport", ">u2"), ("dport", ">u2"), ("src", ">u8", (2,)), ("dst", ">u8", (2,)), ("iface", "<u4"),
        ("cookie", "V8"),  # two words at a place that is no multiple of 8
        ("expires_ms", "<u4"), ("rqueue", "<u4"), ("wqueue", "<u4"), ("uid", "<u4"), ("inode", "<u4"),
    ]
)  # fmt: skip
"""``struct nlmsghdr`` and ``struct inet_diag_msg`` (include/uapi/linux/inet_diag.h)."""

TCP_INFO = np.dtype(
    {
        "names": [
            "unacked",
            "rtt_us",
            "total_retrans",
            "bytes_acked",
            "bytes_received",
            "notsent_bytes",
            "bytes_sent",
            "bytes_retrans",
        ],
        "formats": ["<u4", "<u4", "<u4", "<u8", "<u8", "<u4", "<u8", "<u8"],
        "offsets": [24, 68, 100, 120, 128, 144, 200, 208],
        "itemsize": 216,
    }
)
"""The part of ``struct tcp_info`` (include/uapi/linux/tcp.h) that is read; before Linux 4.19 it is shorter."""

_ATTRIBUTE = np.dtype([("length", "<u2"), ("type", "<u2")])
_ID = np.dtype([("id", "<u8")])
_TEXT = np.dtype([("text", "S16")])
_DEFAULT_ATTRIBUTES = (INET_DIAG_INFO, INET_DIAG_CGROUP_ID)
_LENGTH_AND_TYPE = struct.Struct("<IH")


@dataclass(frozen=True, slots=True)
class SocketColumns:
    """What the kernel said of each socket, as columns of shape (n,)."""

    messages: Rows
    """dtype MESSAGE."""
    infos: Rows
    """dtype TCP_INFO; what the kernel did not give is 0."""
    info_bytes: NDArray[np.intp]
    """Bytes of tcp_info that the kernel gave; 0: none (TIME_WAIT, requests)."""
    cgroups: NDArray[np.uint64]
    """Ids of the sockets' cgroups (v2); 0: not given (TIME_WAIT, requests, before Linux 5.8)."""
    congestion: NDArray[np.bytes_]
    """Names of congestion control algorithms, S16; b"": not given, or not requested."""


@dataclass(slots=True, eq=False)
class _AttributePositions:
    """Where the payload of one attribute stands in each message, shape (n,); (0, 0) where there is none."""

    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    """bytes"""

    @classmethod
    def absent(cls, count: int) -> _AttributePositions:
        return cls(np.zeros(count, np.intp), np.zeros(count, np.intp))


def message_runs(data: NDArray[np.uint8]) -> Iterator[tuple[int, int, int, int]]:
    """(offset, length, count, type) of runs of netlink messages of one padded length and type.

    Stops at the first message that is not whole, whatever stands there. The messages that are like the first one are
    found at once. A loop finds the others, because only a message says where the next one begins. Comparing runs in
    numpy takes longer than that as soon as lengths alternate, as with TIME_WAIT among ESTABLISHED.
    """
    view = data.data
    size = len(view)
    first, length, count, kind = _first_run(data)
    offset = length * count
    while offset + HEADER.itemsize <= size:
        unpadded, next_kind = _LENGTH_AND_TYPE.unpack_from(view, offset)
        padded = (unpadded + 3) & ~3
        if unpadded < HEADER.itemsize or offset + padded > size:
            break
        if padded != length or next_kind != kind:
            if count:
                yield first, length, count, kind
            first, length, count, kind = offset, padded, 0, next_kind
        count += 1
        offset += padded
    if count:
        yield first, length, count, kind


def _first_run(data: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The run that the data begin with, as in ``message_runs``; zeros where the first message is not whole."""
    if len(data) < HEADER.itemsize:
        return 0, 0, 0, 0
    unpadded, kind = _LENGTH_AND_TYPE.unpack_from(data.data, 0)
    length = (unpadded + 3) & ~3
    max_count = len(data) // length if unpadded >= HEADER.itemsize else 0
    if not max_count:
        return 0, 0, 0, 0
    heads = data[: max_count * length].reshape(max_count, length)[:, : _LENGTH_AND_TYPE.size]
    differs = (heads != heads[0]).any(axis=1)
    return 0, length, int(differs.argmax()) or max_count, kind


def decode(data: NDArray[np.uint8], offsets: NDArray[np.intp], *, congestion: bool = False) -> SocketColumns:
    """Decode the messages that begin at ``offsets``, into copies: ``data`` may be used again.

    Each message must be whole, as ``message_runs`` finds them, and have at least MESSAGE's length.

    Args:
        data: as it was read.
        offsets: where the messages begin, shape (n,), bytes.
        congestion: whether the names of congestion control algorithms were requested.
    """
    padded = np.concatenate([data, np.zeros(TCP_INFO.itemsize, "u1")])
    messages = _records_at(padded, offsets, MESSAGE)
    ends = offsets + messages["header"]["length"].astype(np.intp)
    attributes = (INET_DIAG_CONG, *_DEFAULT_ATTRIBUTES) if congestion else _DEFAULT_ATTRIBUTES
    group, info, *others = reversed(_find_attributes(padded, offsets, ends, attributes))
    infos = _records_at(padded, info.starts, TCP_INFO)
    for name, (dtype, offset, *_) in (TCP_INFO.fields or {}).items():
        infos[name][info.sizes < offset + dtype.itemsize] = 0
    cgroups = _records_at(padded, group.starts, _ID)["id"].astype(np.uint64)
    cgroups[group.sizes != _ID.itemsize] = 0
    names = _names(padded, others[0] if others else _AttributePositions.absent(len(offsets)))
    return SocketColumns(messages, infos, info.sizes, cgroups, names)


def _names(data: NDArray[np.uint8], positions: _AttributePositions) -> NDArray[np.bytes_]:
    """Texts that end with a NUL, S16; b"" where there is none."""
    raw = _records_at(data, positions.starts, _TEXT)["text"].view("u1").reshape(-1, _TEXT.itemsize)
    raw[np.arange(_TEXT.itemsize) >= positions.sizes[:, None]] = 0
    return raw.view(f"S{_TEXT.itemsize}").reshape(-1)


def _records_at(data: NDArray[np.uint8], offsets: NDArray[np.intp], dtype: np.dtype[Any]) -> Rows:
    """Copies of the records that begin at ``offsets``, which need not be aligned."""
    whole = np.dtype((np.void, dtype.itemsize))  # see row_copy
    windows: Rows = np.ndarray((len(data) - dtype.itemsize + 1,), whole, data, strides=(1,))
    return windows[offsets].view(dtype)


def _find_attributes(
    data: NDArray[np.uint8], offsets: NDArray[np.intp], ends: NDArray[np.intp], kinds: tuple[int, ...]
) -> list[_AttributePositions]:
    """Find the first attribute of the first of ``kinds`` in each message, and one of each other kind before it.

    Goes from attribute to attribute in all messages at once: some half a dozen steps, since the
    kernel writes few others before INET_DIAG_INFO, and INET_DIAG_CGROUP_ID among these; INET_DIAG_CONG is next
    (``inet_sk_diag_fill`` and ``inet_diag_msg_attrs_fill``, net/ipv4/inet_diag.c).
    """
    positions = [_AttributePositions.absent(len(offsets)) for _ in kinds]
    at = offsets + MESSAGE.itemsize
    unfinished = np.flatnonzero(at + _ATTRIBUTE.itemsize <= ends)
    while len(unfinished):
        attributes = _records_at(data, at[unfinished], _ATTRIBUTE)
        length = attributes["length"].astype(np.intp)
        whole = (length >= _ATTRIBUTE.itemsize) & (at[unfinished] + length <= ends[unfinished])
        for kind, found_at in zip(kinds, positions, strict=True):
            hit = whole & (attributes["type"] == kind)
            found_at.starts[unfinished[hit]] = at[unfinished[hit]] + _ATTRIBUTE.itemsize
            found_at.sizes[unfinished[hit]] = length[hit] - _ATTRIBUTE.itemsize
        other = whole & (attributes["type"] != kinds[0])
        unfinished = unfinished[other]
        at[unfinished] += (length[other] + 3) & ~3
        unfinished = unfinished[at[unfinished] + _ATTRIBUTE.itemsize <= ends[unfinished]]
    return positions
