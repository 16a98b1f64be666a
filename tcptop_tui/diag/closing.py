"""Closing one socket from outside, as ``ss -K`` does: the kernel's own socket destroy."""

from __future__ import annotations

import errno
import os

import numpy as np

from tcptop_tui.capabilities import Cap, raised
from tcptop_tui.diag.messages import MESSAGE
from tcptop_tui.diag.one import BY_FAMILY, DESTROY, NO_COOKIE, REQUEST, REQUEST_ACK, ask
from tcptop_tui.errors import TcptopError
from tcptop_tui.records import Rows, State

_WHY = {
    errno.ENOENT: ("it is not there any more", ""),
    errno.EPERM: ("closing sockets needs CAP_NET_ADMIN", "run with sudo"),
    errno.EOPNOTSUPP: (
        "this kernel does not close sockets in this state, or was built without CONFIG_INET_DIAG_DESTROY",
        "end the process instead",
    ),
}


def cookie_of(row: Rows) -> int:
    """The kernel's number of exactly this socket (``sock_gen_cookie``, net/core/sock_diag.c).

    Args:
        row: dtype ROW, shape (1,).

    Raises:
        TcptopError: it is not there any more, or cannot be asked for.
    """
    if row["state"][0] == State.LISTEN and not row["cookie"][0]:
        # of several listeners on one port the kernel gives any (SO_REUSEPORT)
        raise TcptopError("which listener it is is not known yet", mend="try again in some seconds")
    answer = _asked(row, BY_FAMILY, REQUEST, int(row["cookie"][0]) or NO_COOKIE)
    message = np.frombuffer(answer, MESSAGE, 1)[0]
    return int.from_bytes(message["cookie"].tobytes(), "little")


def destroy(row: Rows, cookie: int) -> None:
    """Close the socket: its process gets ECONNABORTED, its peer a reset (``tcp_abort``, net/ipv4/tcp.c).

    Args:
        row: dtype ROW, shape (1,).
        cookie: of ``cookie_of``; another socket on the same addresses and ports is left alone.

    Raises:
        TcptopError: it is not there any more, or the kernel refuses.
    """
    with raised(Cap.NET_ADMIN):
        _asked(row, DESTROY, REQUEST_ACK, cookie)


def _asked(row: Rows, command: int, flags: int, cookie: int) -> bytes:
    try:
        return ask(row, command, flags, cookie)
    except OSError as error:
        raise _refused(row, error.errno or 0) from error


def _refused(row: Rows, number: int) -> TcptopError:
    why, mend = _WHY.get(number, (os.strerror(number) if number else "the kernel does not answer", ""))
    if number == errno.ENOENT and row["state"][0] == State.LISTEN:
        why, mend = "it has gone, or the kernel finds another listener on this port first", "end the process instead"
    return TcptopError(f"port {int(row['lport'][0])} is not closed: {why}", mend=mend)
