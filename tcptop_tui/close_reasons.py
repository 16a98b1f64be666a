"""Why a connection ended, in a word or three; from what the kernel said at its CLOSE."""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import TRANSITION, End, Flag, Rows, State


class Reason(IntEnum):
    """Of the end of a connection. The first that holds counts, in the order of ``_RULES``."""

    NONE = 0
    """Still open, or nobody saw it end."""
    FIN_BY_US = 1
    FIN_BY_PEER = 2
    RESET_SENT = 3
    RESET_RECEIVED = 4
    REFUSED = 5
    TIMED_OUT = 6
    UNREACHABLE = 7
    GIVEN_UP = 8
    """connect() that was closed before there was an answer."""
    NO_PORT = 9
    """connect() that found no local port free, or whose own port is in use for that destination."""
    ABORTED = 10
    """Destroyed from outside: ``ss -K`` (tcp_abort, net/ipv4/tcp.c)."""
    ERROR = 11
    """Another errno; ``reason_text`` says which."""
    SILENT = 12
    """Closed without FIN, reset or error: nothing was sent, as under TCP_REPAIR (tcp_disconnect, net/ipv4/tcp.c)."""


TEXT: Final = {
    Reason.NONE: "",
    Reason.FIN_BY_US: "FIN by us",
    Reason.FIN_BY_PEER: "FIN by peer",
    Reason.RESET_SENT: "reset sent",
    Reason.RESET_RECEIVED: "reset received",
    Reason.REFUSED: "refused",
    Reason.TIMED_OUT: "timed out",
    Reason.UNREACHABLE: "unreachable",
    Reason.GIVEN_UP: "given up",
    Reason.NO_PORT: "no local port (EADDRNOTAVAIL)",
    Reason.ABORTED: "aborted",
    Reason.SILENT: "nothing sent",
}

WORDS: Final = {reason: text.partition(" (")[0].replace(" ", "-").lower() for reason, text in TEXT.items() if text}
"""As a filter spells them: ``why:reset-sent``."""

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


def reasons(rows: Rows) -> NDArray[np.uint8]:
    """``Reason`` of each of ``rows`` (dtype TRANSITION, SESSION or ROW), shape (n,).

    Of transitions only those into CLOSE have one.
    """
    err, ends, flags = rows["err"], rows["ends"], rows["flags"]
    if rows.dtype == TRANSITION:
        closed = rows["newstate"] == State.CLOSE
        unanswered = rows["oldstate"] == State.SYN_SENT
    else:
        closed = rows["state"] == State.CLOSE
        unanswered = ((flags & Flag.ACTIVE) != 0) & (rows["established_ns"] == 0)
    seen = closed & ((flags & Flag.POLLED) == 0) & ((flags & Flag.LISTENER) == 0)
    rules = (
        (unanswered & (err == errno.ECONNREFUSED), Reason.REFUSED),
        (unanswered & (err == errno.EADDRNOTAVAIL), Reason.NO_PORT),
        (err == errno.ETIMEDOUT, Reason.TIMED_OUT),
        (np.isin(err, _UNREACHABLE), Reason.UNREACHABLE),
        (err == errno.ECONNABORTED, Reason.ABORTED),
        ((ends & End.RST_RECEIVED) != 0, Reason.RESET_RECEIVED),
        ((ends & End.RST_SENT) != 0, Reason.RESET_SENT),
        (err != 0, Reason.ERROR),
        (unanswered, Reason.GIVEN_UP),
        ((ends & End.PEER_FIRST) != 0, Reason.FIN_BY_PEER),
        ((ends & End.FIN_SENT) != 0, Reason.FIN_BY_US),
        (ends == 0, Reason.SILENT),
    )
    found: NDArray[np.uint8] = np.select([seen & holds for holds, _ in rules], [code for _, code in rules], 0).astype(
        np.uint8
    )
    return found


def reason_text(code: int, err: int) -> str:
    """``reset received``; for an errno without a name of its own what the C library calls it; empty for NONE."""
    reason = Reason(code)
    return os.strerror(err).lower() if reason is Reason.ERROR else TEXT[reason]
