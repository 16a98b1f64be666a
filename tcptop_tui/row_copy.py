"""Copies of rows, at the speed of memcpy: numpy copies structured rows field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import CONN_HEAD, CONN_WITHOUT_HIST, DUMP_ROW, ROW, Mask, Rows


def _as_void(rows: Rows) -> NDArray[np.void]:
    """The same memory as rows without fields: numpy copies these eight times as fast, with memcpy."""
    return rows.view(np.dtype((np.void, rows.dtype.itemsize)))


def picked(rows: Rows, which: Mask | NDArray[np.intp]) -> Rows:
    """``rows[which]``, a copy."""
    chosen: Rows = _as_void(rows)[which].view(rows.dtype)
    return chosen


def subset(rows: Rows, which: Mask) -> Rows:
    """``rows[which]``: a copy, but where all are chosen the same array."""
    return rows if which.all() else picked(rows, which)


def chunks(which: NDArray[np.intp], most: int) -> Iterator[NDArray[np.intp]]:
    """``which``, some at a time: what is made of so many stays in the CPU's cache until it is where it belongs."""
    for start in range(0, len(which), most):
        yield which[start : start + most]


def copied(rows: Rows) -> Rows:
    """``rows.copy()``."""
    return _as_void(rows).copy().view(rows.dtype)


def overwrite(rows: Rows, which: Mask | NDArray[np.intp], others: Rows) -> None:
    """``rows[which] = others``, of one dtype."""
    _as_void(rows)[which] = _as_void(others)


def rows_from_conns(conns: Rows) -> Rows:
    """Dtype ROW, with what dtype CONN_WITHOUT_HIST has; the rest is 0."""
    rows = np.empty(len(conns), ROW)  # large ones in huge pages; zeros come in small ones, 3 to 15 us each
    into, start = _bytes(rows), DUMP_ROW.itemsize - CONN_HEAD.itemsize
    end = start + CONN_WITHOUT_HIST.itemsize
    into[:, :start], into[:, end:] = 0, 0
    into[:, start:end] = _bytes(conns)
    return rows


def _bytes(rows: Rows) -> NDArray[np.uint8]:
    return rows.view("u1").reshape(len(rows), rows.dtype.itemsize)


def leading_fields(rows: Rows, dtype: np.dtype[Any]) -> Rows:
    """The first bytes of each row, as ``dtype``; a view."""
    begin = np.dtype({"names": ["it"], "formats": [dtype], "offsets": [0], "itemsize": rows.dtype.itemsize})
    return rows.view(begin)["it"]


def rows_from_dump(dumped: Rows) -> Rows:
    """Dtype ROW, with what dtype DUMP_ROW has; the rest is 0."""
    rows = np.empty(len(dumped), ROW)
    copy_into(dumped, leading_fields(rows, DUMP_ROW))
    _bytes(rows)[:, DUMP_ROW.itemsize :] = 0
    return rows


def grown(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """The same, with room for ``count`` in all: what is not written to is no memory yet."""
    room = np.empty(count, rows.dtype)
    room[: len(rows)] = rows
    return room


def appended(room: NDArray[Any], count: int, more: NDArray[Any]) -> NDArray[Any]:
    """``room``, of which ``count`` are used, with ``more`` behind these; where it is too small another one."""
    end = count + len(more)
    room = room if end <= len(room) else grown(room, 2 * end)
    copy_into(more, room[count:end])
    return room


def concat(dtype: np.dtype[Any], *parts: Rows) -> Rows:
    """Rows of ``parts``, each of dtype ``dtype``, one after the other."""
    whole = [_as_void(part) for part in parts if len(part)]
    return np.concatenate(whole).view(dtype) if whole else np.zeros(0, dtype)


def copy_into(rows: Rows, into: Rows) -> None:
    """``into[:] = rows``, which have as many and the same dtype."""
    _as_void(into)[:] = _as_void(rows)
