"""Two network namespaces with two links between them, and the same addresses on both of these."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tcptop_tui.diag.namespaces import NamespaceVisitor

T = TypeVar("T")

NEAR, FAR = ("va0", "va1"), ("vb0", "vb1")
"""The links' names at either end."""

_SETUP = """
set -e
ip netns add $A; ip netns add $B; ip -n $A link set lo up; ip -n $B link set lo up
for n in 0 1; do
  ip -n $A link add va$n type veth peer name vb$n netns $B
  ip -n $A link set va$n addrgenmode none up; ip -n $B link set vb$n addrgenmode none up
  ip -n $A addr add fe80::1/64 dev va$n nodad; ip -n $B addr add fe80::2/64 dev vb$n nodad
  ip -n $A addr add 10.9.0.1/24 dev va$n; ip -n $B addr add 10.9.0.2/24 dev vb$n
done
for n in $A $B; do ip netns exec $n sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done'; done
"""


@dataclass(frozen=True)
class Side:
    """One of the namespaces."""

    name: str
    inode: int

    def make(self, there: Callable[[], T]) -> T:
        """What ``there`` gives in the namespace; a socket stays in it."""
        visit = NamespaceVisitor()
        try:
            return visit.open_in(self.inode, f"/run/netns/{self.name}", there)
        finally:
            visit.close()

    def index(self, device: str) -> int:
        return self.make(lambda: socket.if_nametoindex(device))

    def run(self, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.name, *command], check=True)


VRFS = ("red", "blue")

_ENSLAVE = """
set -e
for n in 0 1; do
  vrf=$([ $n = 0 ] && echo red || echo blue)
  for at in $A:va$n $B:vb$n; do
    ip -n ${at%:*} link add $vrf type vrf table 10$n
    ip -n ${at%:*} link set $vrf up
    ip -n ${at%:*} link set ${at#*:} master $vrf
  done
done
ip netns exec $B sh -c 'echo 1 > /proc/sys/net/ipv4/tcp_l3mdev_accept'
"""


@contextmanager
def two_vrfs() -> Iterator[tuple[Side, Side]]:
    """Each link in a VRF of its own, ``VRFS``, at both ends."""
    with two_links("vrf") as (near, far):
        made = subprocess.run(
            ["sh", "-c", _ENSLAVE],
            env={**os.environ, "A": near.name, "B": far.name}, check=False, capture_output=True,
        )  # fmt: skip
        if made.returncode:
            pytest.skip(f"no VRF here: {made.stderr.decode()}")
        yield near, far


@contextmanager
def two_links(what: str = "links") -> Iterator[tuple[Side, Side]]:
    """The near and the far side."""
    names = [f"tcptop-{side}-{what}-{os.getpid()}" for side in "ab"]
    made = subprocess.run(
        ["sh", "-c", _SETUP], env={**os.environ, "A": names[0], "B": names[1]}, check=False, capture_output=True
    )
    try:
        if made.returncode:
            pytest.skip(f"two links cannot be made here: {made.stderr.decode()}")
        near, far = (Side(name, Path(f"/run/netns/{name}").stat().st_ino) for name in names)
        yield near, far
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def server(side: Side, port: int, device: str = "", family: int = socket.AF_INET6) -> socket.socket:
    """A listener, bound to a device if there is one."""
    sock = side.make(lambda: socket.socket(family))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.bind(("", port))
    sock.listen()
    sock.settimeout(10)
    return sock


def linked(near: Side, device: str, lport: int, rport: int) -> socket.socket:
    """A connection over one of the links, from the same addresses and ports as over the other."""
    index = near.index(device)
    sock = near.make(lambda: socket.socket(socket.AF_INET6))
    sock.settimeout(10)
    sock.bind(("fe80::1", lport, 0, index))
    sock.connect(("fe80::2", rport, 0, index))
    return sock


def bound(near: Side, device: str, lport: int, rport: int) -> socket.socket:
    """The same with IPv4, bound to the device."""
    sock = near.make(socket.socket)
    sock.settimeout(10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.bind(("10.9.0.1", lport))
    sock.connect(("10.9.0.2", rport))
    return sock
