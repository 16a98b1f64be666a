"""The details of a socket that its row does not have: numbers of its tcp_info, its queues, its congestion control.

They stand in a block beside a table, 80 bytes a connection, which is made only while somebody wants one of them.
``fields.registry`` has an entry for each.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Mask, Rows
from tcptop_tui.row_copy import picked


class InfoField(NamedTuple):
    """A number in ``struct tcp_info`` (include/uapi/linux/tcp.h)."""

    name: str
    format: str
    offset: int
    """Bytes."""
    nothing: int | None = None
    """What the kernel has while there is none yet."""


INFO_FIELDS: Final = (
    InfoField("unacked", "<u4", 24),
    InfoField("lost", "<u4", 32),
    InfoField("cwnd", "<u4", 80, 0),
    InfoField("reordering", "<u4", 88, 0),
    InfoField("rcv_rtt_us", "<u4", 92, 0),
    InfoField("pacing_rate", "<u8", 104, 2**64 - 1),
    InfoField("min_rtt_us", "<u4", 148, 2**32 - 1),
    InfoField("delivery_rate", "<u8", 160, 0),
)

SOCKET_DETAIL: Final = np.dtype([
    ("id", "<u8"),  # of the row
    ("read_ns", "<u8"),  # CLOCK_MONOTONIC
    *((field.name, field.format) for field in INFO_FIELDS),
    ("rx_queue", "<u4"),  # bytes that the process has not read
    ("tx_queue", "<u4"),  # bytes that the peer has not acknowledged
    ("congestion", "S16"),  # name of the algorithm; b"": not known
])  # fmt: skip
"""A socket's details; of numbers the largest possible one stands for unknown (``unknown``)."""


def unknown(kind: str | np.dtype[Any]) -> int | bytes:
    """What stands for a value that is not known."""
    dtype = np.dtype(kind)
    return b"" if dtype.kind == "S" else int(np.iinfo(dtype).max)


NO_DETAILS: Final[Rows] = np.zeros(0, SOCKET_DETAIL)
NO_DETAILS.flags.writeable = False


def numbered(details: Rows, ids: NDArray[np.uint64]) -> Rows:
    """A copy with these ``ids``, sorted by them; empty where ``details`` are."""
    if not len(details):
        return NO_DETAILS
    order = np.argsort(ids)
    with_ids = picked(details, order)
    with_ids["id"] = ids[order]
    return with_ids


def at(details: Rows, ids: NDArray[np.uint64]) -> tuple[NDArray[np.intp], Mask]:
    """Row of ``details``, sorted by ``id``, for each of ``ids`` (0 where it has none), and which have one."""
    detail_row = np.searchsorted(details["id"], ids)
    detail_row[detail_row == len(details)] = 0
    return detail_row, details["id"][detail_row] == ids if len(details) else np.zeros(len(ids), np.bool_)
