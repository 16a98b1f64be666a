"""Lingering rows: connections that have just ended stay in the list for some seconds, dimmed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.rates import Rate
from tcptop_tui.model.table_diff import Ids
from tcptop_tui.records import ROW, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.histograms import clear_samples
from tcptop_tui.stream.identity import socket_key, tuple_hash


def _no_times() -> NDArray[np.uint64]:
    return np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class LingeringRows:
    """Rows that an earlier table had and the latest one has not. Immutable; every array has shape (n,), oldest first.

    A row that is missing has not always ended: the capture filter may have changed. A row has ended when its end was
    reported, which may come later than the table that misses it.
    """

    rows: Rows = field(default_factory=lambda: np.zeros(0, ROW))
    """As the last table that had them had them, dtype ROW, without histograms: ended connections have those."""
    tx_rate: Rate = field(default_factory=lambda: np.zeros(0))
    rx_rate: Rate = field(default_factory=lambda: np.zeros(0))
    missing_since_ns: NDArray[np.uint64] = field(default_factory=_no_times)
    """Time of the first table that did not have the row."""
    is_ended: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))

    def subset(self, which: Mask) -> LingeringRows:
        """Only the rows that ``which`` chooses."""
        if which.all():
            return self
        return LingeringRows(
            picked(self.rows, which), self.tx_rate[which], self.rx_rate[which],
            self.missing_since_ns[which], self.is_ended[which],
        )  # fmt: skip

    def concat(self, other: LingeringRows) -> LingeringRows:
        """These rows, then those of ``other``."""
        if not len(other.rows):
            return self
        return LingeringRows(
            concat(ROW, self.rows, other.rows),
            np.concatenate([self.tx_rate, other.tx_rate]),
            np.concatenate([self.rx_rate, other.rx_rate]),
            np.concatenate([self.missing_since_ns, other.missing_since_ns]),
            np.concatenate([self.is_ended, other.is_ended]),
        )


NO_LINGERING_ROWS = LingeringRows()


def from_removed(
    earlier_rows: Rows, tx_rate: Rate, rx_rate: Rate, removed: NDArray[np.intp], now_ns: int
) -> LingeringRows:
    """The rows that the table of ``now_ns`` has not any more.

    Args:
        earlier_rows: the table before, dtype ROW.
        tx_rate: rates beside it, bytes/s.
        rx_rate: as ``tx_rate``.
        removed: numbers of the rows that are missing now.
        now_ns: time of the table that misses them.
    """
    # a row in TIME_WAIT has been an ended connection for a minute already
    removed = removed[earlier_rows["state"][removed] != State.TIME_WAIT]
    rows = picked(earlier_rows, removed)
    clear_samples(rows)
    missing_since_ns = np.full(len(rows), now_ns, np.uint64)
    return LingeringRows(rows, tx_rate[removed], rx_rate[removed], missing_since_ns, np.zeros(len(rows), np.bool_))


def still_lingering(lingering: LingeringRows, ids: Ids, ended_rows: Rows, oldest_ns: int, limit: int) -> LingeringRows:
    """Drop rows that have come back or are too old, and mark those that have ended.

    Args:
        lingering: all rows that are missing.
        ids: ids of the latest table, ascending.
        ended_rows: connections that have ended lately, dtype ENDED.
        oldest_ns: rows that were missing before this time are dropped.
        limit: rows at most; the latest stay.
    """
    if not len(lingering.rows):
        return NO_LINGERING_ROWS
    lingering_ids = lingering.rows["id"]
    is_back = np.searchsorted(ids, lingering_ids, "right") > np.searchsorted(ids, lingering_ids)
    remaining = lingering.subset((lingering.missing_since_ns >= oldest_ns) & ~is_back)
    remaining = remaining.subset(np.arange(len(remaining.rows)) >= len(remaining.rows) - limit)
    if remaining.is_ended.all():
        return remaining
    return replace(remaining, is_ended=remaining.is_ended | _has_ended(remaining.rows, ended_rows))


def _has_ended(rows: Rows, ended_rows: Rows) -> Mask:
    """Which of ``rows`` have ended: by socket, because the device may have changed, or by endpoints."""
    by_socket: Mask = (rows["skaddr"] != 0) & np.isin(socket_key(rows), socket_key(ended_rows))
    return by_socket | np.isin(tuple_hash(rows), tuple_hash(ended_rows))
