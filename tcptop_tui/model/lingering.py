"""Connections that have just ended: they stay on the screen for some seconds."""

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


def _no_hashes() -> NDArray[np.uint64]:
    return np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class LingeringRows:
    """Immutable; everything has shape (n,), oldest first.

    A row that is missing from a table has not always ended: the capture may have changed. Only
    those whose end was reported are ``ended``.
    """

    rows: Rows = field(default_factory=lambda: np.zeros(0, ROW))
    """As they were seen last, dtype ROW, without their histograms: those are in the sessions."""
    tx_rate: Rate = field(default_factory=lambda: np.zeros(0))
    rx_rate: Rate = field(default_factory=lambda: np.zeros(0))
    missing_since_ns: NDArray[np.uint64] = field(default_factory=_no_hashes)
    """When they were missed first."""
    is_ended: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))

    def subset(self, which: Mask) -> LingeringRows:
        """Those only."""
        if which.all():
            return self
        rows = picked(self.rows, which)
        return LingeringRows(
            rows, self.tx_rate[which], self.rx_rate[which], self.missing_since_ns[which], self.is_ended[which]
        )

    def concat(self, other: LingeringRows) -> LingeringRows:
        """Both."""
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


def from_missing(before: Rows, tx_rate: Rate, rx_rate: Rate, missing: NDArray[np.intp], now_ns: int) -> LingeringRows:
    """The rows number ``missing`` of a table (dtype ROW), which are not in the next one."""
    # TIME_WAIT is the end already, and takes a minute
    missing = missing[before["state"][missing] != State.TIME_WAIT]
    rows = picked(before, missing)
    clear_samples(rows)
    gone_ns = np.full(len(rows), now_ns, np.uint64)
    return LingeringRows(rows, tx_rate[missing], rx_rate[missing], gone_ns, np.zeros(len(rows), np.bool_))


def still_lingering(present: LingeringRows, ids: Ids, sessions: Rows, oldest_ns: int, limit: int) -> LingeringRows:
    """Those of ``present`` that have not come back and are not too old; ended ones marked as such.

    Args:
        present: what was missed so far.
        ids: of the connections that there are, sorted.
        sessions: what ended lately, dtype ENDED.
        oldest_ns: when it may have been missed first.
        limit: rows at most; the latest stay.
    """
    if not len(present.rows):
        return NO_LINGERING_ROWS
    back = np.searchsorted(ids, present.rows["id"], "right") > np.searchsorted(ids, present.rows["id"])
    kept = present.subset((present.missing_since_ns >= oldest_ns) & ~back)
    kept = kept.subset(np.arange(len(kept.rows)) >= len(kept.rows) - limit)
    if kept.is_ended.all():
        return kept
    return replace(kept, is_ended=kept.is_ended | _match_ended(kept.rows, sessions))


def _match_ended(rows: Rows, sessions: Rows) -> Mask:
    """Which of ``rows`` are one of ``sessions``: by socket, since its device may have changed, or by addresses."""
    by_socket: Mask = (rows["skaddr"] != 0) & np.isin(socket_key(rows), socket_key(sessions))
    return by_socket | np.isin(tuple_hash(rows), tuple_hash(sessions))
