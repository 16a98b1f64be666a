"""The connections that have ended, in the order that somebody wants to see them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.facts import Facts
from tcptop_tui.model.sorting import Key, arranged, known, words
from tcptop_tui.reasons import reasons
from tcptop_tui.records import Flag, Mask, Rows, picked


def is_connection(sessions: Rows) -> Mask:
    """Which of ``sessions`` (dtype SESSION) had two ends: listeners have not."""
    connected: Mask = ((sessions["flags"] & Flag.LISTENER) == 0) & (sessions["rport"] != 0)
    return connected


def ended_order(facts: Facts, matches: Mask, sort: str, *, descending: bool) -> NDArray[np.intp]:
    """Numbers of ``facts.sessions`` that match, listeners left out, sorted by a column's key."""
    chosen = np.flatnonzero(matches & is_connection(facts.sessions))
    return arranged(_key(picked(facts.sessions, chosen), sort), chosen, descending=descending)


def average_rtt_us(sessions: Rows) -> NDArray[np.float64]:
    """Of all samples of each; NaN where there was none."""
    count = sessions["rtt_hist"].sum(axis=1)
    return known(sessions["rtt_sum_us"] / np.maximum(count, 1), count > 0)


def _key(rows: Rows, sort: str) -> Key:
    if sort in {"comm", "laddr", "raddr"}:
        return words(rows, sort)
    special = _KEYS.get(sort)
    return known(rows[sort], rows[sort] != 0) if special is None else special(rows)


def _gauge(name: str) -> Callable[[Rows], Key]:
    return lambda rows: known(rows[name], (rows["flags"] & Flag.GAUGES) != 0)


def _lived_ns(rows: Rows) -> Key:
    return known(rows["end_ns"].astype(np.int64) - rows["born_ns"].astype(np.int64), rows["born_ns"] != 0)


_KEYS: dict[str, Callable[[Rows], Key]] = {
    "time": lambda rows: rows["end_ns"].astype(np.float64),
    "lived": _lived_ns,
    "rtt": average_rtt_us,
    "why": reasons,
    **{name: _gauge(name) for name in ("tx_bytes", "rx_bytes", "retrans")},
}
