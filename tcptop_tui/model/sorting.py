"""The order of the table: one number (or two words) a row for each sortable column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.model.facts import Facts
from tcptop_tui.records import UNKNOWN_UID, Flag, Rows, State

Key = NDArray[Any]

DEFAULT_SORT = "rx_rate"
DESCENDING = frozenset({"rx_rate", "tx_rate", "rx_bytes", "tx_bytes", "srtt", "retrans", "age", "in_state"})
"""Columns that are looked at from the largest value down, unless asked otherwise."""


_STATES = (
    State.ESTABLISHED, State.SYN_SENT, State.SYN_RECV, State.NEW_SYN_RECV, State.CLOSE_WAIT, State.FIN_WAIT1,
    State.FIN_WAIT2, State.CLOSING, State.LAST_ACK, State.LISTEN, State.BOUND_INACTIVE, State.CLOSE, State.TIME_WAIT,
)  # fmt: skip
"""Of rows that are equal otherwise those in an earlier one of these stand first: a busy host has mostly TIME_WAIT."""
_WEIGHT = np.full(256, len(_STATES) - 1, np.uint8)
_WEIGHT[list(_STATES)] = np.arange(len(_STATES))


def known(values: Key, which: Key) -> Key:
    """``values`` as floats, NaN where not ``which``."""
    return np.where(which, values.astype(np.float64), np.nan)


def _gauge(name: str) -> Callable[[Facts], Key]:
    return lambda facts: known(facts.rows[name], (facts.rows["flags"] & Flag.GAUGES) != 0)


def _nonzero(name: str) -> Callable[[Facts], Key]:
    return lambda facts: known(facts.rows[name], facts.rows[name] != 0)


def _since(name: str) -> Callable[[Facts], Key]:
    def age(facts: Facts) -> Key:
        began = facts.rows[name]
        return known(facts.now_ns - began.astype(np.int64), began != 0)

    return age


def words(rows: Rows, name: str) -> Key:
    """A field of 16 bytes as two numbers a row that sort as text does, shape (2, n)."""
    return np.ascontiguousarray(rows[name]).view(">u8").reshape(-1, 2).T.astype("<u8")


def _words(name: str) -> Callable[[Facts], Key]:
    """Addresses and names as pairs of big-endian words, shape (2, n): they sort as text does."""
    return lambda facts: words(facts.rows, name)


_KEYS: dict[str, Callable[[Facts], Key]] = {
    "pid": _nonzero("pid"),
    "comm": _words("comm"),
    "user": lambda facts: known(facts.rows["uid"], facts.rows["uid"] != UNKNOWN_UID),
    "netns": _nonzero("netns"),
    "cgroup": _nonzero("cgroup"),
    "dev": _nonzero("dev"),
    "laddr": _words("laddr"),
    "lport": _nonzero("lport"),
    "raddr": _words("raddr"),
    "rport": _nonzero("rport"),
    "state": lambda facts: facts.rows["state"],
    "in_state": _since("state_ns"),
    "age": _since("born_ns"),
    "tx_bytes": _gauge("tx_bytes"),
    "rx_bytes": _gauge("rx_bytes"),
    "tx_rate": lambda facts: facts.tx_rate,
    "rx_rate": lambda facts: facts.rx_rate,
    "srtt": _nonzero("srtt_us"),
    "retrans": _gauge("retrans"),
}

SORT_KEYS = tuple(_KEYS)


def ordered(parts: Sequence[Facts], chosen: NDArray[np.intp], key: str, *, descending: bool) -> NDArray[np.intp]:
    """``chosen`` row numbers, counted through the rows of all ``parts``, sorted by ``key``.

    Equal rows stand by their state, TIME_WAIT last, then by their numbers, so that nothing moves
    without a reason; what is unknown comes last either way.
    """
    weight = np.concatenate([_WEIGHT[part.rows["state"]] for part in parts] or [np.zeros(0, np.uint8)])[chosen]
    chosen = chosen[np.argsort(weight, kind="stable")]
    values = np.concatenate([_KEYS[key](part) for part in parts if len(part.rows)] or [np.zeros(0)], axis=-1)
    return arranged(values[..., chosen], chosen, descending=descending)


def arranged(values: Key, chosen: NDArray[np.intp], *, descending: bool) -> NDArray[np.intp]:
    """``chosen`` by ``values`` beside it: numbers, shape (n,), NaN last, or pairs of words, shape (2, n)."""
    if values.ndim == 2:
        if descending:
            values = ~values
        order = stable_order(values[1])
        return chosen[order[stable_order(values[0][order])]]
    if descending:
        values = -values.astype(np.float64)
    return chosen[stable_order(values)]


def stable_order(values: Key) -> NDArray[np.intp]:
    """``np.argsort(values, kind="stable")``, three times as fast where values differ: numpy's other sort is."""
    sample = values[:: max(1, len(values) // 256)]
    if values.dtype.itemsize < 8 or len(np.unique(sample)) < len(sample) * 3 // 4:
        return np.argsort(values, kind="stable")  # made for runs of equal ones, and for small numbers
    order = np.argsort(values)
    there = values[order]
    differs = there[1:] != there[:-1]
    differs[len(values) - np.count_nonzero(np.isnan(values)) :] = False
    if differs.all():
        return order
    # equal ones stand together now, but in any order: sorted once more by number of their run and their own
    run = np.concatenate([[0], np.cumsum(differs)]) * len(values)
    found: NDArray[np.intp] = np.sort(run + order) - run
    return found
