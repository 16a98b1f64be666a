"""Finds the transitions that end a connect(), and makes rows of the same kind for connects that still wait."""

from __future__ import annotations

import numpy as np

from tcptop_tui.records import TRANSITION, UNKNOWN_NS, Flag, Rows, State
from tcptop_tui.row_copy import picked


def connect_outcomes(transitions: Rows) -> Rows:
    """The transitions (dtype TRANSITION) that end a connect().

    With ``Capture.connects`` a transition from CLOSE to CLOSE is a connect() that failed before its SYN. Without
    Flag.ACTIVE it is a listener, which SOCK_DESTROY closes twice (``tcp_done`` in ``tcp_abort``, net/ipv4/tcp.c).
    """
    is_close_to_close = (transitions["oldstate"] == State.CLOSE) & (transitions["newstate"] == State.CLOSE)
    failed_early = is_close_to_close & ((transitions["flags"] & Flag.ACTIVE) != 0)
    return picked(transitions, (transitions["oldstate"] == State.SYN_SENT) | failed_early)


def waiting_connects(rows: Rows, now_ns: int) -> Rows:
    """The rows of a table (dtype ROW) in SYN_SENT, as transitions from SYN_SENT to itself at ``now_ns``.

    ``time_in_state_ns`` is how long they have waited so far.
    """
    waiting_rows = picked(rows, rows["state"] == State.SYN_SENT)
    transitions = np.zeros(len(waiting_rows), TRANSITION)
    for name in TRANSITION.names or ():
        if name in (rows.dtype.names or ()):
            transitions[name] = waiting_rows[name]
    transitions["ts_ns"] = now_ns
    transitions["oldstate"] = transitions["newstate"] = State.SYN_SENT
    since_ns = waiting_rows["state_ns"]
    transitions["time_in_state_ns"] = np.where(since_ns != 0, np.maximum(since_ns, now_ns) - since_ns, UNKNOWN_NS)
    return transitions
