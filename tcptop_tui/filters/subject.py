"""What a filter is applied to, and its columns with what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import SESSION, TRANSITION, UNKNOWN_NS, UNKNOWN_UID, Flag, Mask, Rows
from tcptop_tui.source.batches import Names


@dataclass(frozen=True, slots=True)
class Subject:
    """Rows of dtype ROW, SESSION or TRANSITION, shape (n,), with what they do not carry."""

    rows: Rows
    now_ns: int
    """CLOCK_MONOTONIC."""
    tx_rate: NDArray[np.float64] | None
    """bytes/s, shape (n,), NaN unknown; None where this kind of row has no rates."""
    rx_rate: NDArray[np.float64] | None
    names: Names = field(default_factory=Names)
    """Of the devices in them, by the host that they are of: in a recording that is another one."""


Column: TypeAlias = tuple[NDArray[Any], Mask]
"""Numbers and which of them are known, both of shape (n,)."""

Reader: TypeAlias = Callable[[Subject], Column]


def nonzero(name: str) -> Reader:
    """A field whose 0 means unknown."""
    return lambda subject: (subject.rows[name], subject.rows[name] != 0)


def gauge(name: str) -> Reader:
    """A counter, known where the gauges were read."""
    return lambda subject: (subject.rows[name], (subject.rows["flags"] & Flag.GAUGES) != 0)


def uid(subject: Subject) -> Column:
    """The owner's number."""
    return subject.rows["uid"], subject.rows["uid"] != UNKNOWN_UID


def rtt_ns(subject: Subject) -> Column:
    """Smoothed round-trip time."""
    srtt_us = subject.rows["srtt_us"]
    return srtt_us.astype(np.uint64) * np.uint64(1000), srtt_us != 0


def age_ns(subject: Subject) -> Column:
    """From birth until now, until the end of a session, or until the transition."""
    rows = subject.rows
    if rows.dtype == SESSION:
        return _elapsed(rows["born_ns"], rows["end_ns"])
    if rows.dtype == TRANSITION:
        return _elapsed(rows["born_ns"], rows["ts_ns"])
    return _elapsed(rows["born_ns"], np.uint64(subject.now_ns))


def in_state_ns(subject: Subject) -> Column:
    """Time in the present state, or of a transition in the state it left; sessions have none."""
    rows = subject.rows
    if rows.dtype == TRANSITION:
        return rows["spent_ns"], rows["spent_ns"] != UNKNOWN_NS
    if rows.dtype == SESSION:
        return _nothing(rows)
    return _elapsed(rows["state_ns"], np.uint64(subject.now_ns))


def tx_rate(subject: Subject) -> Column:
    """Payload bytes sent per second."""
    return _rate(subject.tx_rate, subject.rows)


def rx_rate(subject: Subject) -> Column:
    """Payload bytes received per second."""
    return _rate(subject.rx_rate, subject.rows)


def _elapsed(since: NDArray[np.uint64], until: NDArray[np.uint64] | np.uint64) -> Column:
    """A row may be stamped after ``now_ns`` was read: its time is 0, not 2^64 - 1."""
    return np.maximum(since, until) - since, since != 0


def _rate(rates: NDArray[np.float64] | None, rows: Rows) -> Column:
    return _nothing(rows) if rates is None else (rates, ~np.isnan(rates))


def _nothing(rows: Rows) -> Column:
    return np.zeros(len(rows)), np.zeros(len(rows), np.bool_)
