"""A link between this thread's own network namespace and another one that can be made to fall silent."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.close_cases import Pair, own_namespace
from tests.support.links import Side

HERE, THERE, SECOND, NOBODY, STRANGER = "10.9.7.1", "10.9.7.2", "10.9.7.3", "10.9.7.99", "10.9.7.77"
"""This end, the far one with its second address, and two that seem to be there: to connect to, and to connect from."""

_SETUP = """
set -e
ip link add va type veth peer name vb netns $FAR
ip addr add 10.9.7.1/24 dev va
ip link set va up
ip -n $FAR link set lo up
ip -n $FAR addr add 10.9.7.2/24 dev vb
ip -n $FAR addr add 10.9.7.3/25 dev vb
ip -n $FAR link set vb up
mac=$(ip netns exec $FAR cat /sys/class/net/vb/address)
for at in 2 3 77 99; do ip neigh add 10.9.7.$at lladdr $mac dev va nud permanent; done
cd /proc/sys/net/ipv4
echo 1 > tcp_syn_retries
echo 0 > tcp_synack_retries
echo 1 > tcp_retries2
echo 1 > tcp_orphan_retries
[ ! -e tcp_syn_linear_timeouts ] || echo 0 > tcp_syn_linear_timeouts
"""

_PAST_THE_HEADER = 28
_ETH_P_ALL = 3  # include/uapi/linux/if_ether.h
_OUTGOING = 4  # PACKET_OUTGOING, include/uapi/linux/if_packet.h
_IP_TRANSPARENT = 19  # include/uapi/linux/in.h
_RST = 4


@dataclass(frozen=True)
class Far(Side):
    """The other end."""

    def server(self) -> socket.socket:
        sock = self.make(socket.socket)
        sock.bind((THERE, 0))
        sock.listen()
        sock.settimeout(10)
        return sock

    def pair(self, server: socket.socket) -> Pair:
        """A connection from this end to ``server``."""
        here = socket.socket()
        here.connect(server.getsockname())
        return here, server.accept()[0]

    def stranger(self) -> socket.socket:
        """A socket over there whose answers reach nobody."""
        sock = self.make(socket.socket)
        sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        sock.bind((STRANGER, 0))
        sock.setblocking(False)
        return sock

    def silence(self) -> None:
        """From here on no segment is taken for its own."""
        self.ip("addr", "del", f"{THERE}/24", "dev", "vb")

    def ip(self, *words: str) -> None:
        subprocess.run(["ip", "-n", self.name, *words], check=True)

    def unreachable(self, packet: bytes, code: int) -> None:
        """Answer a packet with an ICMP message, destination unreachable (RFC 792)."""
        quoted = packet[:_PAST_THE_HEADER]
        unsummed = struct.pack("!BBHI", 3, code, 0, 0) + quoted
        message = struct.pack("!BBHI", 3, code, _checksum(unsummed), 0) + quoted
        with self.make(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as raw:
            raw.sendto(message, (HERE, 0))


def _checksum(message: bytes) -> int:
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _is_sent_tcp(kind: int, packet: bytes) -> bool:
    return kind == _OUTGOING and packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP


class Wire:
    """What leaves this end by the link, seen from now on."""

    def __init__(self) -> None:
        self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self._tap.bind(("va", _ETH_P_ALL))  # what goes out is shown to no others
        self._tap.settimeout(10)

    def segment(self, lport: int, *, without_data: bool = False) -> bytes:
        """The next segment from this port, or the next without data, as an IP packet."""
        while True:
            packet, (_, _, kind, *_) = self._tap.recvfrom(1 << 16)
            ours = _is_sent_tcp(kind, packet) and packet[20:22] == lport.to_bytes(2, "big")
            if ours and not (without_data and len(packet) > 20 + (packet[32] >> 4) * 4):
                return packet

    def resets(self) -> int:
        """Of those that have left."""
        self._tap.setblocking(False)
        count = 0
        with suppress(BlockingIOError):
            while True:
                packet, (_, _, kind, *_) = self._tap.recvfrom(1 << 16)
                count += _is_sent_tcp(kind, packet) and bool(packet[33] & _RST)
        return count

    def close(self) -> None:
        self._tap.close()


@contextmanager
def severable() -> Iterator[Far]:
    """The far side of a link from this thread's new namespace, in which timeouts are short."""
    name = f"tcptop-far-{os.getpid()}"
    with own_namespace():
        if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
            pytest.skip("network namespaces cannot be made here")
        try:
            subprocess.run(["sh", "-c", _SETUP], env={**os.environ, "FAR": name}, check=True)
            yield Far(name, Path(f"/run/netns/{name}").stat().st_ino)
        finally:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
