"""One socket, asked about by itself in its own network namespace."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tcptop_tui.diag.messages import HEADER, MESSAGE, runs
from tcptop_tui.diag.namespaces import Visit, find_namespaces
from tcptop_tui.records import Rows, State, is_ipv4

BY_FAMILY, DESTROY = 20, 21
REQUEST, REQUEST_ACK = 0x1, 0x5
NO_COOKIE = 2**64 - 1
_NETLINK_SOCK_DIAG = 4
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP = 0x301
_LIST_BYTES = 1 << 16
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
    wanted = _ident(row)
    with _netlink(int(row["netns"][0])) as link:
        link.settimeout(_ANSWER_S)
        try:
            return _answer(link, command, flags, wanted, cookie, extensions)
        except FileNotFoundError:
            listed = _listed(link, wanted, cookie, extensions)
            if listed is None:
                raise
            if command == BY_FAMILY:
                return listed
            return _answer(link, command, flags, Ident.of(listed), cookie, extensions)


def _answer(link: socket.socket, command: int, flags: int, wanted: Ident, cookie: int, extensions: int) -> bytes:
    link.send(_request(command, flags, wanted, cookie, extensions))
    answer = link.recv(_ANSWER_BYTES)
    _raise_refusal(answer)
    return answer


def _raise_refusal(answer: bytes) -> None:
    if int(np.frombuffer(answer, HEADER, 1)["type"][0]) == _NLMSG_ERROR:
        number = -struct.unpack_from("<i", answer, HEADER.itemsize)[0]
        if number:
            raise OSError(number, os.strerror(number))


def _listed(link: socket.socket, wanted: Ident, cookie: int, extensions: int) -> bytes | None:
    """The socket's message from a list of all.

    The kernel looks a socket up as a segment is looked up: by the device too, if the socket is bound
    to one, and of several listeners on a port (SO_REUSEPORT) it finds one (``inet_diag_find_one_icsk``,
    net/ipv4/inet_diag.c). A list has them all.
    """
    link.send(_request(BY_FAMILY, _DUMP, Ident(wanted.family), NO_COOKIE, extensions))
    sought = struct.pack("<Q", cookie)
    while True:
        data = np.frombuffer(link.recv(_LIST_BYTES), "u1")
        for first, length, count, kind in runs(data):
            if kind == _NLMSG_DONE:
                return None
            _raise_refusal(data[first:].tobytes())
            for message in data[first : first + length * count].reshape(count, length):
                raw = message.tobytes()
                same = Ident.of(raw).ends == wanted.ends if cookie == NO_COOKIE else _cookie(raw) == sought
                if same:
                    return raw


def _cookie(raw: bytes) -> bytes:
    return np.frombuffer(raw, MESSAGE, 1)["cookie"].tobytes()


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


@dataclass(frozen=True, slots=True)
class Ident:
    """``struct inet_diag_sockid`` without the cookie, and the family."""

    family: int
    ends: bytes = bytes(36)
    """Ports and addresses as they are sent."""
    iface: int = 0
    """Of the device that the socket is bound to; 0: none."""

    @classmethod
    def of(cls, raw: bytes) -> Ident:
        """From the kernel's own message."""
        message = np.frombuffer(raw, MESSAGE, 1)
        ends = b"".join(message[name].tobytes() for name in ("sport", "dport", "src", "dst"))
        return cls(int(message["family"][0]), ends, int(message["iface"][0]))


def _ident(row: Rows) -> Ident:
    four = bool(is_ipv4(row["laddr"])[0] and is_ipv4(row["raddr"])[0])
    ends = [row["laddr"].tobytes(), row["raddr"].tobytes()]
    if row["state"][0] == State.LISTEN:
        four, ends[1] = bool(is_ipv4(row["laddr"])[0]), bytes(16)
    if four:
        ends = [end[12:].ljust(16, b"\0") for end in ends]
    ports = struct.pack(">HH", int(row["lport"][0]), int(row["rport"][0]))
    return Ident(socket.AF_INET if four else socket.AF_INET6, ports + b"".join(ends))


def _request(command: int, flags: int, wanted: Ident, cookie: int, extensions: int) -> bytes:
    """``struct inet_diag_req_v2`` (include/uapi/linux/inet_diag.h) behind its header."""
    body = struct.pack("<BBBBI", wanted.family, socket.IPPROTO_TCP, extensions, 0, 0xFFFF_FFFF)
    body += wanted.ends + struct.pack("<IQ", wanted.iface, cookie)
    return struct.pack("<IHHII", HEADER.itemsize + len(body), command, flags, 1, 0) + body
