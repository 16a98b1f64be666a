"""Closing one socket from outside, as ``ss -K`` does: the kernel's own socket destroy."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

import numpy as np

from tcptop_tui.diag.messages import HEADER, MESSAGE
from tcptop_tui.diag.namespaces import Visit, find_namespaces
from tcptop_tui.errors import TcptopError
from tcptop_tui.records import Rows, State, is_ipv4

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_REQUEST, _REQUEST_ACK = 0x1, 0x5
_NLMSG_ERROR = 2
_NO_COOKIE = 2**64 - 1
_ANSWER_BYTES = 8192
_ANSWER_S = 5.0

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
    answer = _asked(row, _BY_FAMILY, _REQUEST, int(row["cookie"][0]) or _NO_COOKIE)
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
    _asked(row, _DESTROY, _REQUEST_ACK, cookie)


def _asked(row: Rows, command: int, flags: int, cookie: int) -> bytes:
    """The kernel's answer in the socket's own network namespace."""
    try:
        with _netlink(int(row["netns"][0])) as link:
            link.settimeout(_ANSWER_S)
            link.send(_request(row, command, flags, cookie))
            answer = link.recv(_ANSWER_BYTES)
    except OSError as error:
        raise _refused(row, error.errno or 0) from error
    if int(np.frombuffer(answer, HEADER, 1)["type"][0]) == _NLMSG_ERROR:
        number = -struct.unpack_from("<i", answer, HEADER.itemsize)[0]
        if number:
            raise _refused(row, number)
    return answer


def _netlink(netns: int) -> socket.socket:
    """A netlink socket in a namespace; it stays there, the thread does not."""
    make: Callable[[], socket.socket] = lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)  # noqa: E731
    if netns in {0, os.stat("/proc/thread-self/ns/net").st_ino}:  # noqa: PTH116
        return make()
    place = find_namespaces().get(netns)
    if place is None:
        raise FileNotFoundError(errno.ENOENT, "the network namespace has gone")
    visit = Visit()
    try:
        return visit.open(netns, place.path, make)
    finally:
        visit.close()


def _request(row: Rows, command: int, flags: int, cookie: int) -> bytes:
    """``struct inet_diag_req_v2`` (include/uapi/linux/inet_diag.h) behind its header."""
    four = bool(is_ipv4(row["laddr"])[0] and is_ipv4(row["raddr"])[0])
    ends = [row["laddr"].tobytes(), row["raddr"].tobytes()]
    if row["state"][0] == State.LISTEN:
        four, ends[1] = bool(is_ipv4(row["laddr"])[0]), bytes(16)
    if four:
        ends = [end[12:].ljust(16, b"\0") for end in ends]
    family = socket.AF_INET if four else socket.AF_INET6
    body = struct.pack("<BBBBI", family, socket.IPPROTO_TCP, 0, 0, 0xFFFF_FFFF)
    body += struct.pack(">HH", int(row["lport"][0]), int(row["rport"][0])) + b"".join(ends)
    body += struct.pack("<IQ", 0, cookie)
    return struct.pack("<IHHII", HEADER.itemsize + len(body), command, flags, 1, 0) + body


def _refused(row: Rows, number: int) -> TcptopError:
    why, mend = _WHY.get(number, (os.strerror(number), ""))
    return TcptopError(f"port {int(row['lport'][0])} is not closed: {why}", mend=mend)
