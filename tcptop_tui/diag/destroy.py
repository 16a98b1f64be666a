"""Closing one socket from outside, as ``ss -K`` does: the kernel's own socket destroy."""

from __future__ import annotations

import errno
import os

import numpy as np

from tcptop_tui.diag.decode_rows import decode_rows
from tcptop_tui.diag.messages import decode
from tcptop_tui.diag.single_query import BY_FAMILY, DESTROY, NO_COOKIE, REQUEST, REQUEST_ACK, query
from tcptop_tui.errors import TcptopError
from tcptop_tui.host.capabilities import Cap, raise_capabilities
from tcptop_tui.records import Rows, State

_WHY = {
    errno.ENOENT: ("it is not there any more", ""),
    errno.EPERM: ("closing sockets needs CAP_NET_ADMIN", "run with sudo"),
    errno.EOPNOTSUPP: (
        "this kernel does not close sockets in this state, or was built without CONFIG_INET_DIAG_DESTROY",
        "end the process instead",
    ),
}


def find_cookie(row: Rows) -> int:
    """The kernel's number of exactly this socket (``sock_gen_cookie``, net/core/sock_diag.c).

    Args:
        row: dtype ROW, shape (1,).

    Raises:
        TcptopError: it is not there any more, or cannot be asked for.
    """
    if row["state"][0] == State.LISTEN and not row["cookie"][0]:
        # of several listeners on one port the kernel gives any (SO_REUSEPORT)
        raise TcptopError("which listener it is is not known yet", hint="try again in some seconds")
    return int(_find_same(row, int(row["cookie"][0]) or NO_COOKIE)["cookie"][0])


def destroy(row: Rows, cookie: int) -> None:
    """Close the socket: its process gets ECONNABORTED, its peer a reset (``tcp_abort``, net/ipv4/tcp.c).

    Args:
        row: dtype ROW, shape (1,), as it was shown.
        cookie: of ``find_cookie``; another socket on the same addresses and ports is left alone.

    Raises:
        TcptopError: it is not there any more, it is not what was shown any more, or the kernel refuses.
    """
    _find_same(row, cookie)
    with raise_capabilities(Cap.NET_ADMIN):
        try:
            query(row, DESTROY, REQUEST_ACK, cookie)
        except FileNotFoundError:  # it was there just now
            raise _not_closed(
                row, "it has gone, or the kernel finds another one with this port first", "end the process instead"
            ) from None
        except OSError as error:
            raise _refusal(row, error.errno or 0) from error


def _find_same(row: Rows, cookie: int) -> Rows:
    """What the kernel has under this cookie, dtype DUMP_ROW, shape (1,), if that is the row that was shown.

    One socket may become another connection: connect() again after connect() to AF_UNSPEC, another device.

    Raises:
        TcptopError: it is not, or not there any more.
    """
    try:
        answer = np.frombuffer(query(row, BY_FAMILY, REQUEST, cookie), "u1")
    except OSError as error:
        raise _refusal(row, error.errno or 0) from error
    found = decode_rows(decode(answer, np.zeros(1, np.intp)), 0, int(row["netns"][0]))
    if _is_unowned(found) and not _is_unowned(row):
        raise _refusal(row, errno.ENOENT)
    if _description(found) != _description(row):
        raise _not_closed(row, "it is another connection by now, or on another device", "look at its row again")
    return found


def _is_unowned(row: Rows) -> bool:
    """Its process has it open still, and its port, if it chose one (BOUND_INACTIVE since Linux 6.8)."""
    return row["state"][0] in {State.CLOSE, State.BOUND_INACTIVE}


def _description(row: Rows) -> tuple[object, ...]:
    """By what a person knows it; a listener's other end means nothing."""
    state = int(row["state"][0])
    kind = state if state in {State.LISTEN, State.TIME_WAIT} else None
    names = ("laddr", "lport", "dev") if state == State.LISTEN else ("laddr", "lport", "raddr", "rport", "dev")
    return (kind, *(row[name].tolist() for name in names))


def _refusal(row: Rows, number: int) -> TcptopError:
    why, hint = _WHY.get(number, (os.strerror(number) if number else "the kernel does not answer", ""))
    return _not_closed(row, why, hint)


def _not_closed(row: Rows, why: str, hint: str) -> TcptopError:
    return TcptopError(f"port {int(row['lport'][0])} is not closed: {why}", hint=hint)
