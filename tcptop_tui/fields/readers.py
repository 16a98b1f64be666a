"""Columns of a subject: its values, and which of them are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.close_reasons import CloseReason, close_reasons
from tcptop_tui.fields.connect_results import result_codes
from tcptop_tui.fields.row_context import FieldValues, Reader, RowContext
from tcptop_tui.records import ENDED, TRANSITION, UNKNOWN_NS, UNKNOWN_UID, Flag, Rows, State, is_ipv4
from tcptop_tui.stream import socket_details


def plain(name: str) -> Reader:
    """A column that is always known."""
    return lambda subject: _known_everywhere(subject.rows[name])


def nonzero(name: str) -> Reader:
    """A column whose 0 means unknown."""
    return lambda subject: _known_if_nonzero(subject.rows[name])


def remote_port(subject: RowContext) -> FieldValues:
    """A listener has none. Of a connect() it is known, though it be 0, which nobody can listen on."""
    rows = subject.rows
    connects = np.full(len(rows), subject.has("connects"))  # of destinations
    for name in ("state", "oldstate", "newstate"):
        if subject.has(name):
            connects |= rows[name] == State.SYN_SENT
    if subject.has("oldstate"):  # failed before SYN_SENT (Capture.connects); a listener may go from CLOSE to CLOSE, too
        early = (rows["oldstate"] == State.CLOSE) & (rows["newstate"] == State.CLOSE)
        connects |= early & ((rows["flags"] & Flag.ACTIVE) != 0)
    return FieldValues(rows["rport"], (rows["rport"] != 0) | (connects & rows["raddr"].any(axis=1)))


def gauge(name: str) -> Reader:
    """A counter, known where the gauges were read."""
    return lambda subject: FieldValues(subject.rows[name], (subject.rows["flags"] & Flag.GAUGES) != 0)


def flag(bit: int) -> Reader:
    """Whether a bit of ``flags`` is set."""
    return lambda subject: _known_everywhere((subject.rows["flags"] & bit) != 0)


def name(column: str) -> Reader:
    """A process name, dtype S16."""
    return lambda subject: FieldValues(subject.rows[column], subject.rows[column] != b"")


def detail(name: str) -> Reader:
    """A number or a name of the socket that stands beside the table."""

    def read(subject: RowContext) -> FieldValues:
        if not len(subject.details) or not subject.has("id"):
            return _known_nowhere(subject.rows)
        place, there = socket_details.at(subject.details, subject.rows["id"])
        values = subject.details[name][place]
        return FieldValues(values, there & (values != socket_details.unknown(values.dtype)))

    return read


def details_age_ns(subject: RowContext) -> FieldValues:
    """Since they were read."""
    read_ns, there = detail("read_ns")(subject)
    return FieldValues(_elapsed(read_ns.astype(np.uint64), subject.now_ns).values, there)


def uid(subject: RowContext) -> FieldValues:
    """The owner's number."""
    return FieldValues(subject.rows["uid"], subject.rows["uid"] != UNKNOWN_UID)


def version(subject: RowContext) -> FieldValues:
    """4 where both addresses are IPv4, mapped ones included; else 6."""
    return _known_everywhere(np.where(is_ipv4(subject.rows["laddr"]) & is_ipv4(subject.rows["raddr"]), 4, 6))


def device(subject: RowContext) -> FieldValues:
    """A device is known by its network namespace and its number in it: both in one, shape (n,)."""
    dev = subject.rows["dev"]
    return FieldValues(subject.rows["netns"].astype(np.uint64) << np.uint64(32) | dev, dev != 0)


def time_ns(subject: RowContext) -> FieldValues:
    """When it happened, by CLOCK_MONOTONIC."""
    return _known_everywhere(subject.rows["end_ns" if subject.has("end_ns") else "ts_ns"])


def age_ns(subject: RowContext) -> FieldValues:
    """From birth until now, until the end of a session, or until the transition."""
    rows = subject.rows
    if rows.dtype == ENDED:
        return _elapsed(rows["born_ns"], rows["end_ns"])
    return _elapsed(rows["born_ns"], rows["ts_ns"] if rows.dtype == TRANSITION else subject.now_ns)


def in_state_ns(subject: RowContext) -> FieldValues:
    """Time in the present state, or of a transition in the state it left; sessions have none."""
    rows = subject.rows
    if rows.dtype == TRANSITION:
        return FieldValues(rows["time_in_state_ns"], rows["time_in_state_ns"] != UNKNOWN_NS)
    return _known_nowhere(rows) if rows.dtype == ENDED else _elapsed(rows["state_ns"], subject.now_ns)


def handshake_ns(subject: RowContext) -> FieldValues:
    """From birth to ESTABLISHED."""
    elapsed, born = _elapsed(subject.rows["born_ns"], subject.rows["established_ns"])
    return FieldValues(elapsed, born & (subject.rows["established_ns"] != 0))


def tx_rate(subject: RowContext) -> FieldValues:
    """Payload bytes sent per second."""
    return _rate(subject.tx_rate, subject.rows)


def rx_rate(subject: RowContext) -> FieldValues:
    """Payload bytes received per second."""
    return _rate(subject.rx_rate, subject.rows)


def average_rtt_us(subject: RowContext) -> FieldValues:
    """Of all samples of each."""
    count = subject.rows["rtt_hist"].sum(axis=1)
    return FieldValues(subject.rows["rtt_sum_us"] / np.maximum(count, 1), count > 0)


def reason(subject: RowContext) -> FieldValues:
    """``CloseReason`` of what has ended; of what has not, or nobody has seen end, it is not known."""
    codes = close_reasons(subject.rows)
    return FieldValues(codes, codes != CloseReason.NONE)


def result(subject: RowContext) -> FieldValues:
    """What came of each connect(), by ``fields.connect_results``."""
    codes = result_codes(subject.rows)
    return FieldValues(codes, codes != CloseReason.NONE)


def _elapsed(since: NDArray[np.uint64], until: NDArray[np.uint64] | int) -> FieldValues:
    """A row may be stamped after ``now_ns`` was read: its time is 0, not 2^64 - 1."""
    return FieldValues(np.maximum(since, np.asarray(until, np.uint64)) - since, since != 0)


def _rate(rates: NDArray[np.float64] | None, rows: Rows) -> FieldValues:
    return _known_nowhere(rows) if rates is None else FieldValues(rates, ~np.isnan(rates))


def _known_if_nonzero(values: NDArray[Any]) -> FieldValues:
    return FieldValues(values, values != 0)


def _known_everywhere(values: NDArray[Any]) -> FieldValues:
    return FieldValues(values, np.ones(len(values), np.bool_))


def _known_nowhere(rows: Rows) -> FieldValues:
    return FieldValues(np.zeros(len(rows)), np.zeros(len(rows), np.bool_))
