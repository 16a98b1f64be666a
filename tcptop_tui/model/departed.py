"""Connections that have just ended: they stay on the screen for some seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.rates import Rate
from tcptop_tui.records import ROW, Mask, Rows, State
from tcptop_tui.source.identity import tuple_hash


def _no_hashes() -> NDArray[np.uint64]:
    return np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Departed:
    """Immutable; everything has shape (n,), oldest first.

    A row that is missing from a table has not always ended: the capture may have changed. Only
    those whose end was reported are ``ended``.
    """

    rows: Rows = field(default_factory=lambda: np.zeros(0, ROW))
    """As they were seen last, dtype ROW, without their histograms: those are in the sessions."""
    tx_rate: Rate = field(default_factory=lambda: np.zeros(0))
    rx_rate: Rate = field(default_factory=lambda: np.zeros(0))
    gone_ns: NDArray[np.uint64] = field(default_factory=_no_hashes)
    """When they were missed first."""
    ended: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))

    def chosen(self, which: Mask) -> Departed:
        """Those only."""
        return Departed(
            self.rows[which], self.tx_rate[which], self.rx_rate[which], self.gone_ns[which], self.ended[which]
        )

    def joined(self, other: Departed) -> Departed:
        """Both."""
        parts = zip(
            (self.rows, self.tx_rate, self.rx_rate, self.gone_ns, self.ended),
            (other.rows, other.tx_rate, other.rx_rate, other.gone_ns, other.ended),
            strict=True,
        )
        return Departed(*(np.concatenate(pair, dtype=pair[0].dtype) for pair in parts))


NOBODY = Departed()


def depart(before: Rows, tx_rate: Rate, rx_rate: Rate, after: Rows, now_ns: int) -> Departed:
    """What of the table ``before`` is missing from ``after``; both dtype ROW, sorted by ``id``."""
    if not len(before):
        return NOBODY
    place = np.minimum(np.searchsorted(after["id"], before["id"]), max(0, len(after) - 1))
    there = after["id"][place] == before["id"] if len(after) else np.zeros(len(before), np.bool_)
    # TIME_WAIT is the end already, and takes a minute
    missing = np.flatnonzero(~there & (before["state"] != State.TIME_WAIT))
    rows = before[missing]
    rows["rtt_hist"], rows["rtt_sum_us"] = 0, 0
    gone_ns = np.full(len(rows), now_ns, np.uint64)
    return Departed(rows, tx_rate[missing], rx_rate[missing], gone_ns, np.zeros(len(rows), np.bool_))


def lingering(present: Departed, table: Rows, sessions: Rows, oldest_ns: int, limit: int) -> Departed:
    """Those of ``present`` that have not come back and are not too old; ended ones marked as such.

    Args:
        present: what was missed so far.
        table: the connections there are, dtype ROW, sorted by ``id``.
        sessions: what ended lately, dtype SESSION.
        oldest_ns: when it may have been missed first.
        limit: rows at most; the latest stay.
    """
    if not len(present.rows):
        return NOBODY
    kept = present.chosen((present.gone_ns >= oldest_ns) & ~np.isin(present.rows["id"], table["id"]))
    kept = kept.chosen(np.arange(len(kept.rows)) >= len(kept.rows) - limit)
    return replace(kept, ended=kept.ended | np.isin(tuple_hash(kept.rows), tuple_hash(sessions)))
