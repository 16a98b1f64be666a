"""Which transitions end a connect(), and which connects still wait."""

from __future__ import annotations

import numpy as np

from tcptop_tui.records import TRANSITION, UNKNOWN_NS, Flag, Rows, State
from tcptop_tui.row_copy import picked

_COMMON = tuple(TRANSITION.names or ())


def connect_outcomes(rows: Rows) -> Rows:
    """Of transitions those that end a connect().

    With ``Capture.connects`` one from CLOSE to CLOSE is a connect() that failed before its SYN. Without Flag.ACTIVE
    it is a listener, which SOCK_DESTROY closes twice (``tcp_done`` in ``tcp_abort``, net/ipv4/tcp.c).
    """
    early = (rows["oldstate"] == State.CLOSE) & (rows["newstate"] == State.CLOSE) & ((rows["flags"] & Flag.ACTIVE) != 0)
    return picked(rows, (rows["oldstate"] == State.SYN_SENT) | early)


def waiting_connects(table: Rows, now_ns: int) -> Rows:
    """The connects that still wait, as transitions from SYN_SENT to itself; ``table`` has dtype ROW."""
    rows = picked(table, table["state"] == State.SYN_SENT)
    made = np.zeros(len(rows), TRANSITION)
    for name in _COMMON:
        if name in (rows.dtype.names or ()):
            made[name] = rows[name]
    made["ts_ns"] = now_ns
    made["oldstate"] = made["newstate"] = State.SYN_SENT
    began = rows["state_ns"]
    made["time_in_state_ns"] = np.where(began != 0, np.maximum(began, now_ns) - began, UNKNOWN_NS)
    return made
