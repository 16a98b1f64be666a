"""Readers: each takes rows and gives a column's values, with a mask of which are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.close_reasons import CloseReason, close_reasons
from tcptop_tui.fields.connect_results import result_codes
from tcptop_tui.fields.row_context import FieldValues, Reader, RowContext
from tcptop_tui.records import ENDED, TRANSITION, UNKNOWN_NS, UNKNOWN_UID, Flag, Rows, State, speaks_ipv4
from tcptop_tui.stream import socket_details


def plain(name: str) -> Reader:
    """A column that is always known."""
    return lambda context: _known_everywhere(context.rows[name])


def nonzero(name: str) -> Reader:
    """A column whose 0 means unknown."""
    return lambda context: _known_if_nonzero(context.rows[name])


def remote_port(context: RowContext) -> FieldValues:
    """The remote port, which a listener has not. A connect() has one even where it is 0, on which nobody can listen."""
    rows = context.rows
    connects = np.full(len(rows), context.has("connects"))  # of destinations
    for name in ("state", "oldstate", "newstate"):
        if context.has(name):
            connects |= rows[name] == State.SYN_SENT
    if context.has("oldstate"):  # failed before SYN_SENT (Capture.connects); a listener may go from CLOSE to CLOSE, too
        early = (rows["oldstate"] == State.CLOSE) & (rows["newstate"] == State.CLOSE)
        connects |= early & ((rows["flags"] & Flag.ACTIVE) != 0)
    return FieldValues(rows["rport"], (rows["rport"] != 0) | (connects & rows["raddr"].any(axis=1)))


def gauge(name: str) -> Reader:
    """A counter, known where the gauges were read."""
    return lambda context: FieldValues(context.rows[name], (context.rows["flags"] & Flag.GAUGES) != 0)


def flag(bit: int) -> Reader:
    """Whether a bit of ``flags`` is set."""
    return lambda context: _known_everywhere((context.rows["flags"] & bit) != 0)


def name(column: str) -> Reader:
    """A process name, dtype S16."""
    return lambda context: FieldValues(context.rows[column], context.rows[column] != b"")


def detail(name: str) -> Reader:
    """A detail of the socket, from the block beside the table."""

    def read(context: RowContext) -> FieldValues:
        if not len(context.details) or not context.has("id"):
            return _known_nowhere(context.rows)
        index, is_found = socket_details.at(context.details, context.rows["id"])
        values = context.details[name][index]
        return FieldValues(values, is_found & (values != socket_details.unknown(values.dtype)))

    return read


def details_age_ns(context: RowContext) -> FieldValues:
    """How long ago the details were read."""
    read_ns, is_known = detail("read_ns")(context)
    return FieldValues(_elapsed(read_ns.astype(np.uint64), context.now_ns).values, is_known)


def uid(context: RowContext) -> FieldValues:
    """The socket's user id."""
    return FieldValues(context.rows["uid"], context.rows["uid"] != UNKNOWN_UID)


def version(context: RowContext) -> FieldValues:
    """4 or 6, see ``speaks_ipv4``."""
    return _known_everywhere(np.where(speaks_ipv4(context.rows), 4, 6))


def device(context: RowContext) -> FieldValues:
    """The device as one number, shape (n,): the netns in the upper 32 bits, the index in that netns in the lower."""
    dev = context.rows["dev"]
    return FieldValues(context.rows["netns"].astype(np.uint64) << np.uint64(32) | dev, dev != 0)


def time_ns(context: RowContext) -> FieldValues:
    """When the transition happened or the connection ended, CLOCK_MONOTONIC."""
    return _known_everywhere(context.rows["end_ns" if context.has("end_ns") else "ts_ns"])


def age_ns(context: RowContext) -> FieldValues:
    """Time from the birth to now, to the connection's end, or to the transition."""
    rows = context.rows
    if rows.dtype == ENDED:
        return _elapsed(rows["born_ns"], rows["end_ns"])
    return _elapsed(rows["born_ns"], rows["ts_ns"] if rows.dtype == TRANSITION else context.now_ns)


def in_state_ns(context: RowContext) -> FieldValues:
    """Time in the present state, or in the old state of a transition; ended connections have none."""
    rows = context.rows
    if rows.dtype == TRANSITION:
        return FieldValues(rows["time_in_state_ns"], rows["time_in_state_ns"] != UNKNOWN_NS)
    return _known_nowhere(rows) if rows.dtype == ENDED else _elapsed(rows["state_ns"], context.now_ns)


def handshake_ns(context: RowContext) -> FieldValues:
    """Time from the birth to ESTABLISHED."""
    elapsed_ns, has_birth = _elapsed(context.rows["born_ns"], context.rows["established_ns"])
    return FieldValues(elapsed_ns, has_birth & (context.rows["established_ns"] != 0))


def tx_rate(context: RowContext) -> FieldValues:
    """Payload bytes sent per second."""
    return _rate(context.tx_rate, context.rows)


def rx_rate(context: RowContext) -> FieldValues:
    """Payload bytes received per second."""
    return _rate(context.rx_rate, context.rows)


def average_rtt_us(context: RowContext) -> FieldValues:
    """Average of all RTT samples of each ended connection."""
    count = context.rows["rtt_hist"].sum(axis=1)
    return FieldValues(context.rows["rtt_sum_us"] / np.maximum(count, 1), count > 0)


def reason(context: RowContext) -> FieldValues:
    """The ``CloseReason``; unknown where a connection is open, or where nobody saw how it ended."""
    codes = close_reasons(context.rows)
    return FieldValues(codes, codes != CloseReason.NONE)


def result(context: RowContext) -> FieldValues:
    """What came of each connect(), see ``fields.connect_results``."""
    codes = result_codes(context.rows)
    return FieldValues(codes, codes != CloseReason.NONE)


def _elapsed(since: NDArray[np.uint64], until: NDArray[np.uint64] | int) -> FieldValues:
    """Time between two moments. A row may be stamped after ``now_ns`` was read: then it is 0, not 2^64 - 1."""
    return FieldValues(np.maximum(since, np.asarray(until, np.uint64)) - since, since != 0)


def _rate(rates: NDArray[np.float64] | None, rows: Rows) -> FieldValues:
    return _known_nowhere(rows) if rates is None else FieldValues(rates, ~np.isnan(rates))


def _known_if_nonzero(values: NDArray[Any]) -> FieldValues:
    return FieldValues(values, values != 0)


def _known_everywhere(values: NDArray[Any]) -> FieldValues:
    return FieldValues(values, np.ones(len(values), np.bool_))


def _known_nowhere(rows: Rows) -> FieldValues:
    return FieldValues(np.zeros(len(rows)), np.zeros(len(rows), np.bool_))
