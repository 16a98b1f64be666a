"""ICMP echo requests that a test sends itself."""

from __future__ import annotations

import select
import socket
import struct

ECHO_ID = 0x1234
"""Identifier of the echo requests: tells them from those of other programs."""


def internet_checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def send_echo_request(host: str, seq: int, number: int = ECHO_ID) -> None:
    """Send an echo request through a raw socket, and wait for its answer."""
    six = ":" in host
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    kind, answer = (128, 129) if six else (8, 0)
    payload = struct.pack("!HH8s", number, seq, b"tcptop..")
    blank = struct.pack("!BBH", kind, 0, 0) + payload
    packet = blank if six else struct.pack("!BBH", kind, 0, internet_checksum(blank)) + payload
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.sendto(packet, (host, 0))
        while True:
            assert select.select([raw], [], [], 10)[0]
            got = raw.recv(2048)
            got = got if six else got[(got[0] & 15) * 4 :]
            if got[0] == answer and got[4:16] == payload:
                return
