"""Every TCP socket of a network namespace, from the kernel's sock_diag, as numpy rows.

Raw netlink instead of a library: a dump of 18,000 sockets with TCP_INFO takes 35 ms this way, half
of them in the kernel, and 1,650 ms through pyroute2's message objects.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from fcntl import ioctl
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import TIMEWAIT_NS, decode_rows
from tcptop_tui.diag.dump import Dump, DumpBuilder
from tcptop_tui.diag.messages import HEADER, INET_DIAG_CONG, INET_DIAG_INFO, MESSAGE, decode, message_runs
from tcptop_tui.diag.socket_details import as_details
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import clock
from tcptop_tui.stream.socket_details import NO_DETAILS

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLM_F_DUMP_INTR = 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_ALL_STATES = 0xFFFFFFFF
_NO_STATES = 0
_ATTEMPTS = 3
_SIOCGIFNAME = 0x8910
_IFREQ = struct.Struct("=16si20x")
"""``struct ifreq`` (include/uapi/linux/if.h) with a number in it."""
_MOST_DEVICES = 1024
_BUFFER_BYTES = 1 << 20
_MOST_READ_BYTES = 1 << 16
"""A read is one skb of at most 32 KiB, whatever the buffer (``netlink_dump``, net/netlink/af_netlink.c)."""
_HINT = "it needs CONFIG_INET_DIAG (modprobe tcp_diag), and a sandbox to let it"


def new_buffer() -> NDArray[np.uint8]:
    """To read into; sockets of one thread may share it."""
    return np.zeros(_BUFFER_BYTES, "u1")


def _request(family: int, states: int, *, details: bool) -> bytes:
    """``struct inet_diag_req_v2`` (include/uapi/linux/inet_diag.h) behind its header."""
    wanted = 1 << (INET_DIAG_INFO - 1) | details << (INET_DIAG_CONG - 1)
    body = struct.pack("<BBBBI48x", family, socket.IPPROTO_TCP, wanted, 0, states)
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
        self._fin_timeout_ns = _fin_timeout_ns()
        self._devices: dict[int, str] = {}
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
        self._receive(socket.AF_INET, _NO_STATES, DumpBuilder())
        try:
            self._receive(socket.AF_INET6, _NO_STATES, DumpBuilder())
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
        pile, now_ns = DumpBuilder(), clock.monotonic_ns()
        self.dump_into(pile)
        return pile.finish(now_ns, frozenset([self._netns]))

    def dump_into(self, pile: DumpBuilder) -> None:
        """The same, on top of what is there.

        Raises:
            BackendUnavailable: the kernel refuses; ``pile`` is as it was.
        """
        start = pile.count
        try:
            for family in self._families:
                self._dump_consistently(family, pile)
        except OSError as error:
            pile.truncate(start)
            raise _unavailable(error) from error
        pile.drop_superseded(start)

    def _dump_consistently(self, family: int, pile: DumpBuilder) -> None:
        """Ask again when the kernel says that its tables changed meanwhile, but not for ever."""
        start = pile.count
        for _ in range(_ATTEMPTS):
            pile.truncate(start)
            if not self._receive(family, _ALL_STATES, pile):
                return

    def _receive(self, family: int, states: int, pile: DumpBuilder) -> bool:
        """One dump; was it interrupted? Made into rows each time the buffer is full.

        Raises:
            OSError: the kernel's answer.
        """
        self._socket.send(_request(family, states, details=pile.details))
        used_bytes, places, more, interrupted = 0, [np.zeros(0, np.intp)], True, False
        while more:
            read = self._socket.recv_into(self._buffer.data[used_bytes:])
            found, end_flags = _message_offsets(self._buffer[used_bytes : used_bytes + read])
            places += [place + used_bytes for place in found]
            used_bytes += read
            more = end_flags is None
            interrupted |= bool((end_flags or 0) & _NLM_F_DUMP_INTR)
            full = len(self._buffer) - used_bytes < _MOST_READ_BYTES
            if full or (not more and len(places) > 1):  # most namespaces have no sockets
                sockets = decode(self._buffer[:used_bytes], np.concatenate(places), congestion=pile.details)
                interrupted |= bool((sockets.messages["header"]["flags"] & _NLM_F_DUMP_INTR).any())
                # the clock of this part: with 400,000 sockets all of them take seconds
                now_ns = clock.monotonic_ns()
                rows = decode_rows(sockets, now_ns, self._netns, self._fin_timeout_ns)
                pile.add(rows, sockets.messages["inode"], as_details(sockets, now_ns) if pile.details else NO_DETAILS)
                used_bytes, places = 0, [np.zeros(0, np.intp)]
        return interrupted

    def device_name(self, index: int) -> str:
        """Name of the network device with this number in the socket's namespace, the last one that it had.

        Empty: there has been none. SIOCGIFNAME is answered for any socket, at once and without the kernel's big lock
        of routing (``dev_ioctl``, net/core/dev_ioctl.c), for which a dump of all devices waits.
        """
        try:
            answer = ioctl(self._socket, _SIOCGIFNAME, _IFREQ.pack(b"", index))
        except (OSError, struct.error):  # taken away meanwhile
            return self._devices.get(index, "")
        if index not in self._devices and len(self._devices) >= _MOST_DEVICES:
            self._devices.pop(next(iter(self._devices)))
        self._devices[index] = _IFREQ.unpack(answer)[0].split(b"\0", 1)[0].decode(errors="replace")
        return self._devices[index]

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._socket.close()


def _fin_timeout_ns() -> int:
    """net.ipv4.tcp_fin_timeout of this thread's network namespace; the kernel's default where it is hidden."""
    try:
        return int(Path("/proc/sys/net/ipv4/tcp_fin_timeout").read_text()) * 10**9
    except (OSError, ValueError):
        return TIMEWAIT_NS


def _unavailable(error: OSError) -> BackendUnavailable:
    return BackendUnavailable(f"sock_diag cannot be used ({error.strerror})", hint=_HINT)


def _message_offsets(data: NDArray[np.uint8]) -> tuple[list[NDArray[np.intp]], int | None]:
    """Where sockets stand in one read, and the flags of the message that ends the dump, if it does.

    Raises:
        OSError: the kernel ended the dump with it. That may stand in NLMSG_DONE too: so it does
            where tcp_diag is missing (``netlink_dump_done``, net/netlink/af_netlink.c).
    """
    places: list[NDArray[np.intp]] = []
    for offset, length, count, kind in message_runs(data):
        if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
            header = data[offset : offset + HEADER.itemsize].view(HEADER)[0]
            number = -int.from_bytes(data[offset + 16 : offset + 20].tobytes(), "little", signed=True)
            if number > 0:
                raise OSError(number, os.strerror(number))
            return places, int(header["flags"])
        if kind == _SOCK_DIAG_BY_FAMILY and length >= MESSAGE.itemsize:
            places.append(offset + length * np.arange(count))
    return places, None
