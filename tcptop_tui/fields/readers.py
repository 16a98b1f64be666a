"""Columns of a subject: its values, and which of them are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.close_reasons import Reason, reasons
from tcptop_tui.fields.results import results
from tcptop_tui.fields.subject import Column, Reader, Subject
from tcptop_tui.records import SESSION, TRANSITION, UNKNOWN_NS, UNKNOWN_UID, Flag, Rows, State, is_ipv4
from tcptop_tui.stream import socket_details


def plain(name: str) -> Reader:
    """A column that is always known."""
    return lambda subject: _known(subject.rows[name])


def nonzero(name: str) -> Reader:
    """A column whose 0 means unknown."""
    return lambda subject: _nonzero(subject.rows[name])


def remote_port(subject: Subject) -> Column:
    """A listener has none. Of a connect() it is known, though it be 0, which nobody can listen on."""
    rows = subject.rows
    connects = np.full(len(rows), subject.has("connects"))  # of destinations
    for name in ("state", "oldstate", "newstate"):
        if subject.has(name):
            connects |= rows[name] == State.SYN_SENT
    if subject.has("oldstate"):  # failed before SYN_SENT (Capture.connects); a listener may go from CLOSE to CLOSE, too
        early = (rows["oldstate"] == State.CLOSE) & (rows["newstate"] == State.CLOSE)
        connects |= early & ((rows["flags"] & Flag.ACTIVE) != 0)
    return Column(rows["rport"], (rows["rport"] != 0) | (connects & rows["raddr"].any(axis=1)))


def gauge(name: str) -> Reader:
    """A counter, known where the gauges were read."""
    return lambda subject: Column(subject.rows[name], (subject.rows["flags"] & Flag.GAUGES) != 0)


def flag(bit: int) -> Reader:
    """Whether a bit of ``flags`` is set."""
    return lambda subject: _known((subject.rows["flags"] & bit) != 0)


def name(column: str) -> Reader:
    """A process name, dtype S16."""
    return lambda subject: Column(subject.rows[column], subject.rows[column] != b"")


def detail(name: str) -> Reader:
    """A number or a name of the socket that stands beside the table."""

    def read(subject: Subject) -> Column:
        if not len(subject.details) or not subject.has("id"):
            return _nothing(subject.rows)
        place, there = socket_details.at(subject.details, subject.rows["id"])
        values = subject.details[name][place]
        return Column(values, there & (values != socket_details.unknown(values.dtype)))

    return read


def details_age_ns(subject: Subject) -> Column:
    """Since they were read."""
    read_ns, there = detail("read_ns")(subject)
    return Column(_elapsed(read_ns.astype(np.uint64), subject.now_ns).values, there)


def uid(subject: Subject) -> Column:
    """The owner's number."""
    return Column(subject.rows["uid"], subject.rows["uid"] != UNKNOWN_UID)


def version(subject: Subject) -> Column:
    """4 where both addresses are IPv4, mapped ones included; else 6."""
    return _known(np.where(is_ipv4(subject.rows["laddr"]) & is_ipv4(subject.rows["raddr"]), 4, 6))


def device(subject: Subject) -> Column:
    """A device is known by its network namespace and its number in it: both in one, shape (n,)."""
    dev = subject.rows["dev"]
    return Column(subject.rows["netns"].astype(np.uint64) << np.uint64(32) | dev, dev != 0)


def time_ns(subject: Subject) -> Column:
    """When it happened, by CLOCK_MONOTONIC."""
    return _known(subject.rows["end_ns" if subject.has("end_ns") else "ts_ns"])


def age_ns(subject: Subject) -> Column:
    """From birth until now, until the end of a session, or until the transition."""
    rows = subject.rows
    if rows.dtype == SESSION:
        return _elapsed(rows["born_ns"], rows["end_ns"])
    return _elapsed(rows["born_ns"], rows["ts_ns"] if rows.dtype == TRANSITION else subject.now_ns)


def in_state_ns(subject: Subject) -> Column:
    """Time in the present state, or of a transition in the state it left; sessions have none."""
    rows = subject.rows
    if rows.dtype == TRANSITION:
        return Column(rows["spent_ns"], rows["spent_ns"] != UNKNOWN_NS)
    return _nothing(rows) if rows.dtype == SESSION else _elapsed(rows["state_ns"], subject.now_ns)


def handshake_ns(subject: Subject) -> Column:
    """From birth to ESTABLISHED."""
    elapsed, born = _elapsed(subject.rows["born_ns"], subject.rows["established_ns"])
    return Column(elapsed, born & (subject.rows["established_ns"] != 0))


def tx_rate(subject: Subject) -> Column:
    """Payload bytes sent per second."""
    return _rate(subject.tx_rate, subject.rows)


def rx_rate(subject: Subject) -> Column:
    """Payload bytes received per second."""
    return _rate(subject.rx_rate, subject.rows)


def average_rtt_us(subject: Subject) -> Column:
    """Of all samples of each."""
    count = subject.rows["rtt_hist"].sum(axis=1)
    return Column(subject.rows["rtt_sum_us"] / np.maximum(count, 1), count > 0)


def reason(subject: Subject) -> Column:
    """``Reason`` of what has ended; of what has not, or nobody has seen end, it is not known."""
    codes = reasons(subject.rows)
    return Column(codes, codes != Reason.NONE)


def result(subject: Subject) -> Column:
    """What came of each connect(), by ``fields.results``."""
    codes = results(subject.rows)
    return Column(codes, codes != Reason.NONE)


def _elapsed(since: NDArray[np.uint64], until: NDArray[np.uint64] | int) -> Column:
    """A row may be stamped after ``now_ns`` was read: its time is 0, not 2^64 - 1."""
    return Column(np.maximum(since, np.asarray(until, np.uint64)) - since, since != 0)


def _rate(rates: NDArray[np.float64] | None, rows: Rows) -> Column:
    return _nothing(rows) if rates is None else Column(rates, ~np.isnan(rates))


def _nonzero(values: NDArray[Any]) -> Column:
    return Column(values, values != 0)


def _known(values: NDArray[Any]) -> Column:
    return Column(values, np.ones(len(values), np.bool_))


def _nothing(rows: Rows) -> Column:
    return Column(np.zeros(len(rows)), np.zeros(len(rows), np.bool_))
