"""Why a connection ended, in a word or three; from what the kernel said at its CLOSE."""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import TRANSITION, CloseFlag, Flag, Rows, State


class CloseReason(IntEnum):
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
    """Another errno; ``close_reason_text`` says which."""
    SILENT = 12
    """Closed without FIN, reset or error: nothing was sent, as under TCP_REPAIR (tcp_disconnect, net/ipv4/tcp.c)."""


TEXT: Final = {
    CloseReason.NONE: "",
    CloseReason.FIN_BY_US: "FIN by us",
    CloseReason.FIN_BY_PEER: "FIN by peer",
    CloseReason.RESET_SENT: "reset sent",
    CloseReason.RESET_RECEIVED: "reset received",
    CloseReason.REFUSED: "refused",
    CloseReason.TIMED_OUT: "timed out",
    CloseReason.UNREACHABLE: "unreachable",
    CloseReason.GIVEN_UP: "given up",
    CloseReason.NO_PORT: "no local port (EADDRNOTAVAIL)",
    CloseReason.ABORTED: "aborted",
    CloseReason.SILENT: "nothing sent",
}

WORDS: Final = {reason: text.partition(" (")[0].replace(" ", "-").lower() for reason, text in TEXT.items() if text}
"""As a filter spells them: ``why:reset-sent``."""

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


def close_reasons(rows: Rows) -> NDArray[np.uint8]:
    """``CloseReason`` of each of ``rows`` (dtype TRANSITION, ENDED or ROW), shape (n,).

    Of transitions only those into CLOSE have one.
    """
    err, ends, flags = rows["err"], rows["close_flags"], rows["flags"]
    if rows.dtype == TRANSITION:
        closed = rows["newstate"] == State.CLOSE
        unanswered = rows["oldstate"] == State.SYN_SENT
    else:
        closed = rows["state"] == State.CLOSE
        unanswered = ((flags & Flag.ACTIVE) != 0) & (rows["established_ns"] == 0)
    seen = closed & ((flags & Flag.POLLED) == 0) & ((flags & Flag.LISTENER) == 0)
    rules = (
        (unanswered & (err == errno.ECONNREFUSED), CloseReason.REFUSED),
        (unanswered & (err == errno.EADDRNOTAVAIL), CloseReason.NO_PORT),
        (err == errno.ETIMEDOUT, CloseReason.TIMED_OUT),
        (np.isin(err, _UNREACHABLE), CloseReason.UNREACHABLE),
        (err == errno.ECONNABORTED, CloseReason.ABORTED),
        ((ends & CloseFlag.RST_RECEIVED) != 0, CloseReason.RESET_RECEIVED),
        ((ends & CloseFlag.RST_SENT) != 0, CloseReason.RESET_SENT),
        (err != 0, CloseReason.ERROR),
        (unanswered, CloseReason.GIVEN_UP),
        ((ends & CloseFlag.PEER_FIRST) != 0, CloseReason.FIN_BY_PEER),
        ((ends & CloseFlag.FIN_SENT) != 0, CloseReason.FIN_BY_US),
        (ends == 0, CloseReason.SILENT),
    )
    found: NDArray[np.uint8] = np.select([seen & holds for holds, _ in rules], [code for _, code in rules], 0).astype(
        np.uint8
    )
    return found


def close_reason_text(code: int, err: int) -> str:
    """``reset received``; for an errno without a name of its own what the C library calls it; empty for NONE."""
    reason = CloseReason(code)
    return os.strerror(err).lower() if reason is CloseReason.ERROR else TEXT[reason]
