"""Every TCP socket of a network namespace, from the kernel's sock_diag, as numpy rows.

Raw netlink instead of a library: a dump of 18,000 sockets with TCP_INFO takes 35 ms this way, half
of them in the kernel, and 1,650 ms through pyroute2's message objects.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import clock
from tcptop_tui.diag.messages import HEADER, INET_DIAG_INFO, MESSAGE, decode, runs
from tcptop_tui.diag.rows import as_rows
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.records import ROW, Mask, Rows, picked, poured

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLM_F_DUMP_INTR = 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_ALL_STATES = 0xFFFFFFFF
_NO_STATES = 0
_ATTEMPTS = 3
_BUFFER_BYTES = 1 << 20
_MOST_READ_BYTES = 1 << 16
"""A read is one skb of at most 32 KiB, whatever the buffer (``netlink_dump``, net/netlink/af_netlink.c)."""
_MEND = "it needs CONFIG_INET_DIAG (modprobe tcp_diag), and a sandbox to let it"


_Part: TypeAlias = tuple[Rows, NDArray[np.uint32]]
"""Rows of dtype ROW and their inodes."""


@dataclass(frozen=True, slots=True)
class Dump:
    """The sockets of one moment, or of the few ms that the kernel took."""

    rows: Rows
    """dtype ROW, shape (n,), no ``cookie`` twice; no ``id``, no ``skaddr``, no owner."""
    inode: NDArray[np.uint32]
    """Of each socket, 0 where no process has it; shape (n,)."""
    now_ns: int
    """CLOCK_MONOTONIC just before."""
    netns: frozenset[int]
    """Inode numbers of the network namespaces that were read; one may have no socket."""

    def only(self, which: Mask) -> Dump:
        """Of the same moment, with ``which`` of the sockets."""
        if which.all():
            return self
        return Dump(picked(self.rows, which), self.inode[which], self.now_ns, self.netns)


def new_buffer() -> NDArray[np.uint8]:
    """To read into; sockets of one thread may share it."""
    return np.zeros(_BUFFER_BYTES, "u1")


def _request(family: int, states: int) -> bytes:
    """``struct inet_diag_req_v2`` (include/uapi/linux/inet_diag.h) behind its header."""
    body = struct.pack("<BBBBI48x", family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0, states)
    return struct.pack("<IHHII", HEADER.itemsize + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0) + body


class SockDiag:
    """A netlink socket for dumps.

    Args:
        netns: inode number of the network namespace that the thread is in; by default this process's.
        buffer: to read into, from ``new_buffer``; by default one of its own.

    Raises:
        BackendUnavailable: the kernel has no sock_diag for TCP, or this process may not use it.
    """

    def __init__(self, netns: int | None = None, buffer: NDArray[np.uint8] | None = None) -> None:
        self._netns = Path("/proc/self/ns/net").stat().st_ino if netns is None else netns
        self._buffer = new_buffer() if buffer is None else buffer
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        except OSError as error:
            raise _unavailable(error) from error
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._families = self._supported()
        except OSError as error:
            self.close()
            raise _unavailable(error) from error

    def _supported(self) -> list[int]:
        """The families that the kernel answers for; a kernel without IPv6 knows no sockets of it."""
        self._receive(socket.AF_INET, _NO_STATES)
        try:
            self._receive(socket.AF_INET6, _NO_STATES)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return [socket.AF_INET]
        return [socket.AF_INET, socket.AF_INET6]

    def dump(self) -> Dump:
        """All TCP sockets, IPv4 and IPv6, in all states.

        Raises:
            BackendUnavailable: the kernel refuses.
        """
        now_ns = clock.monotonic_ns()
        try:
            parts = [part for family in self._families for part in self._consistent(family, now_ns)]
        except OSError as error:
            raise _unavailable(error) from error
        inode = np.concatenate([np.zeros(0, np.uint32), *(part for _, part in parts)])
        rows_of = [part for part, _ in parts]
        parts.clear()
        rows = poured(ROW, rows_of)
        latest = _latest(rows["cookie"])
        if not latest.all():
            rows, inode = picked(rows, latest), inode[latest]
        return Dump(rows, inode, now_ns, frozenset([self._netns]))

    def _consistent(self, family: int, now_ns: int) -> list[_Part]:
        """Ask again when the kernel says that its tables changed meanwhile, but not for ever."""
        for _ in range(_ATTEMPTS):
            parts, interrupted = self._receive(family, _ALL_STATES, now_ns)
            if not interrupted:
                break
        return parts

    def _receive(self, family: int, states: int, now_ns: int = 0) -> tuple[list[_Part], bool]:
        """One dump, and whether it was interrupted; made into rows each time the buffer is full.

        Raises:
            OSError: the kernel's answer.
        """
        self._socket.send(_request(family, states))
        parts: list[_Part] = []
        used_bytes, places, more, interrupted = 0, [np.zeros(0, np.intp)], True, False
        while more:
            read = self._socket.recv_into(self._buffer.data[used_bytes:])
            found, end_flags = _places(self._buffer[used_bytes : used_bytes + read])
            places += [place + used_bytes for place in found]
            used_bytes += read
            more = end_flags is None
            interrupted |= bool((end_flags or 0) & _NLM_F_DUMP_INTR)
            full = len(self._buffer) - used_bytes < _MOST_READ_BYTES
            if full or (not more and len(places) > 1):  # most namespaces have no sockets
                sockets = decode(self._buffer[:used_bytes], np.concatenate(places))
                interrupted |= bool((sockets.messages["header"]["flags"] & _NLM_F_DUMP_INTR).any())
                parts.append((as_rows(sockets, now_ns, self._netns), sockets.messages["inode"].copy()))
                used_bytes, places = 0, [np.zeros(0, np.intp)]
        return parts, interrupted

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._socket.close()


def _unavailable(error: OSError) -> BackendUnavailable:
    return BackendUnavailable(f"sock_diag cannot be used ({error.strerror})", mend=_MEND)


def _places(data: NDArray[np.uint8]) -> tuple[list[NDArray[np.intp]], int | None]:
    """Where sockets stand in one read, and the flags of the message that ends the dump, if it does.

    Raises:
        OSError: the kernel ended the dump with it. That may stand in NLMSG_DONE too: so it does
            where tcp_diag is missing (``netlink_dump_done``, net/netlink/af_netlink.c).
    """
    places: list[NDArray[np.intp]] = []
    for offset, length, count, kind in runs(data):
        if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
            header = data[offset : offset + HEADER.itemsize].view(HEADER)[0]
            number = -int.from_bytes(data[offset + 16 : offset + 20].tobytes(), "little", signed=True)
            if number > 0:
                raise OSError(number, os.strerror(number))
            return places, int(header["flags"])
        if kind == _SOCK_DIAG_BY_FAMILY and length >= MESSAGE.itemsize:
            places.append(offset + length * np.arange(count))
    return places, None


def _latest(cookie: NDArray[np.uint64]) -> Mask:
    """All but the earlier readings of one and the same socket.

    A bound socket that connects while the kernel walks its tables is met in two of them.
    """
    _, from_end = np.unique(cookie[::-1], return_index=True)
    latest: Mask = cookie == 0
    latest[len(cookie) - 1 - from_end] = True
    return latest
