"""One socket, asked about by itself in its own network namespace."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

import numpy as np

from tcptop_tui.diag.messages import HEADER
from tcptop_tui.diag.namespaces import Visit, find_namespaces
from tcptop_tui.records import Rows, State, is_ipv4

BY_FAMILY, DESTROY = 20, 21
REQUEST, REQUEST_ACK = 0x1, 0x5
NO_COOKIE = 2**64 - 1
_NETLINK_SOCK_DIAG = 4
_NLMSG_ERROR = 2
_ANSWER_BYTES = 8192
_ANSWER_S = 5.0


def ask(row: Rows, command: int, flags: int, cookie: int, extensions: int = 0) -> bytes:
    """The kernel's answer, header and all.

    Args:
        row: the connection, dtype ROW, shape (1,).
        command: ``BY_FAMILY`` or ``DESTROY``.
        flags: ``REQUEST`` or ``REQUEST_ACK``.
        cookie: of exactly this socket, or ``NO_COOKIE``.
        extensions: bit n - 1 asks for attribute n.

    Raises:
        OSError: the kernel's answer; ENOENT: there is no such socket.
    """
    with _netlink(int(row["netns"][0])) as link:
        link.settimeout(_ANSWER_S)
        link.send(_request(row, command, flags, cookie, extensions))
        answer = link.recv(_ANSWER_BYTES)
    if int(np.frombuffer(answer, HEADER, 1)["type"][0]) == _NLMSG_ERROR:
        number = -struct.unpack_from("<i", answer, HEADER.itemsize)[0]
        if number:
            raise OSError(number, os.strerror(number))
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


def _request(row: Rows, command: int, flags: int, cookie: int, extensions: int) -> bytes:
    """``struct inet_diag_req_v2`` (include/uapi/linux/inet_diag.h) behind its header."""
    four = bool(is_ipv4(row["laddr"])[0] and is_ipv4(row["raddr"])[0])
    ends = [row["laddr"].tobytes(), row["raddr"].tobytes()]
    if row["state"][0] == State.LISTEN:
        four, ends[1] = bool(is_ipv4(row["laddr"])[0]), bytes(16)
    if four:
        ends = [end[12:].ljust(16, b"\0") for end in ends]
    family = socket.AF_INET if four else socket.AF_INET6
    body = struct.pack("<BBBBI", family, socket.IPPROTO_TCP, extensions, 0, 0xFFFF_FFFF)
    body += struct.pack(">HH", int(row["lport"][0]), int(row["rport"][0])) + b"".join(ends)
    body += struct.pack("<IQ", 0, cookie)
    return struct.pack("<IHHII", HEADER.itemsize + len(body), command, flags, 1, 0) + body
