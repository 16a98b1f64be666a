"""One socket, asked about by itself in its own network namespace."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tcptop_tui.diag.messages import HEADER, MESSAGE, message_runs
from tcptop_tui.diag.namespaces import NamespaceVisitor, find_namespaces
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
_MAPPED = bytes(10) + b"\xff\xff"
_OFFSETS = {name: offset for name, (_, offset, *_) in (MESSAGE.fields or {}).items()}
_ENDPOINTS = slice(_OFFSETS["sport"], _OFFSETS["iface"])
_IFACE = slice(_OFFSETS["iface"], _OFFSETS["cookie"])
_COOKIE = slice(_OFFSETS["cookie"], _OFFSETS["expires_ms"])


def query(row: Rows, command: int, flags: int, cookie: int, extensions: int = 0) -> bytes:
    """The kernel's answer, header and all.

    Without a cookie it is about the socket with exactly the row's addresses, ports and device.

    Args:
        row: the connection, dtype ROW, shape (1,).
        command: ``BY_FAMILY`` or ``DESTROY``.
        flags: ``REQUEST`` or ``REQUEST_ACK``.
        cookie: of exactly this socket, or ``NO_COOKIE``.
        extensions: bit n - 1 asks for attribute n.

    Raises:
        OSError: the kernel's answer; ENOENT: there is no such socket.
    """
    wanted, netns = _ident(row), int(row["netns"][0])
    refusal = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        answer = _answer(netns, _request(command, flags, wanted, cookie, extensions))
    except FileNotFoundError as error:
        refusal = error
    else:
        # asked for a device, the kernel may find the socket that is bound to none
        if command != BY_FAMILY or cookie != NO_COOKIE or SocketId.from_message(answer) in wanted.listed_forms():
            return answer
    listed = next(
        filter(None, (_find_in_list(netns, form, cookie, extensions) for form in wanted.listed_forms())), None
    )
    if listed is None:
        raise refusal
    if command == BY_FAMILY:
        return listed
    return _answer(netns, _request(command, flags, SocketId.from_message(listed), cookie, extensions))


def _answer(netns: int, request: bytes) -> bytes:
    with _netlink(netns) as link:
        link.send(request)
        answer = link.recv(_ANSWER_BYTES)
    _raise_refusal(answer)
    return answer


def _raise_refusal(answer: bytes) -> None:
    if int(np.frombuffer(answer, HEADER, 1)["type"][0]) == _NLMSG_ERROR:
        number = -struct.unpack_from("<i", answer, HEADER.itemsize)[0]
        if number:
            raise OSError(number, os.strerror(number))


def _find_in_list(netns: int, wanted: SocketId, cookie: int, extensions: int) -> bytes | None:
    """The socket's message from a list of all.

    The kernel looks a socket up as a segment is looked up: for a device it may find the socket that is bound to
    none, and of several listeners on a port (SO_REUSEPORT) it finds one (``inet_diag_find_one_icsk``,
    net/ipv4/inet_diag.c). A list has them all. A socket that is known by its cookie may have another device by now.
    """
    sought = np.frombuffer(wanted.endpoints, "u1")
    with _netlink(netns) as link:  # of its own: what is left of the list would answer the next question
        link.send(_request(BY_FAMILY, _DUMP, SocketId(wanted.family), NO_COOKIE, extensions))
        while True:
            data = np.frombuffer(link.recv(_LIST_BYTES), "u1")
            for first, length, count, kind in message_runs(data):
                if kind == _NLMSG_DONE:
                    return None
                _raise_refusal(data[first:].tobytes())
                messages = data[first : first + length * count].reshape(count, length)
                found = (messages[:, _ENDPOINTS] == sought).all(axis=1)
                where, value = (_IFACE, wanted.iface) if cookie == NO_COOKIE else (_COOKIE, cookie)
                width = where.stop - where.start
                found &= (messages[:, where] == np.frombuffer(value.to_bytes(width, "little"), "u1")).all(axis=1)
                for place in np.flatnonzero(found):
                    return bytes(messages[place])


def _netlink(netns: int) -> socket.socket:
    """A netlink socket in a namespace; it stays there, the thread does not."""
    if netns in {0, os.stat("/proc/thread-self/ns/net").st_ino}:  # noqa: PTH116
        return _open_netlink()
    place = find_namespaces().get(netns)
    if place is None:
        raise FileNotFoundError(errno.ENOENT, "the network namespace has gone")
    visit = NamespaceVisitor()
    try:
        return visit.open_in(netns, place.path, _open_netlink)
    finally:
        visit.close()


def _open_netlink() -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    link.settimeout(_ANSWER_S)
    return link


@dataclass(frozen=True, slots=True)
class SocketId:
    """``struct inet_diag_sockid`` without the cookie, and the family."""

    family: int
    endpoints: bytes = bytes(36)
    """Ports and addresses as they are sent."""
    iface: int = 0
    """Of the device that the socket is bound to; 0: none."""

    @classmethod
    def from_message(cls, raw: bytes) -> SocketId:
        """From the kernel's own message."""
        message = np.frombuffer(raw, MESSAGE, 1)
        return cls(int(message["family"][0]), raw[_ENDPOINTS], int(message["iface"][0]))

    def listed_forms(self) -> Iterator[SocketId]:
        """As it is listed: an IPv4 connection may be of an IPv6 socket (RFC 4291, 2.5.5.2)."""
        yield self
        if self.family == socket.AF_INET:
            ports, laddr, raddr = self.endpoints[:4], self.endpoints[4:8], self.endpoints[20:24]
            yield SocketId(socket.AF_INET6, ports + _MAPPED + laddr + _MAPPED + raddr, self.iface)


def _ident(row: Rows) -> SocketId:
    four = bool(is_ipv4(row["laddr"])[0] and is_ipv4(row["raddr"])[0])
    ends = [row["laddr"].tobytes(), row["raddr"].tobytes()]
    if row["state"][0] == State.LISTEN:
        four, ends[1] = bool(is_ipv4(row["laddr"])[0]), bytes(16)
    if four:
        ends = [end[12:].ljust(16, b"\0") for end in ends]
    ports = struct.pack(">HH", int(row["lport"][0]), int(row["rport"][0]))
    return SocketId(socket.AF_INET if four else socket.AF_INET6, ports + b"".join(ends), int(row["dev"][0]))


def _request(command: int, flags: int, wanted: SocketId, cookie: int, extensions: int) -> bytes:
    """``struct inet_diag_req_v2`` (include/uapi/linux/inet_diag.h) behind its header."""
    body = struct.pack("<BBBBI", wanted.family, socket.IPPROTO_TCP, extensions, 0, 0xFFFF_FFFF)
    body += wanted.endpoints + struct.pack("<IQ", wanted.iface, cookie)
    return struct.pack("<IHHII", HEADER.itemsize + len(body), command, flags, 1, 0) + body
