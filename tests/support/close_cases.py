"""Connections that are brought into a state and ended in some way, in a network namespace with its own counters."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tcptop_tui.host import c_functions
from tcptop_tui.host.c_functions import Signature
from tcptop_tui.records import State
from tests.support.sockets import CG, CW, F1, F2, LA, E, reset, until_state

TCP_REPAIR, TCP_REPAIR_ON = 19, 1  # include/uapi/linux/tcp.h
UNSPECIFIED = bytes(16)
"""``struct sockaddr`` of AF_UNSPEC: connect() with it dissolves a connection."""
CLONE_NEWNET = 0x4000_0000
LIBC = c_functions.load_library(
    None,
    {
        "connect": Signature(ctypes.c_int, (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)),
        "unshare": Signature(ctypes.c_int, (ctypes.c_int,)),
        "setns": Signature(ctypes.c_int, (ctypes.c_int, ctypes.c_int)),
    },
)

Pair = tuple[socket.socket, socket.socket]


@contextmanager
def own_namespace() -> Iterator[None]:
    """This thread makes its sockets in a new network namespace with a loopback."""
    with Path("/proc/thread-self/ns/net").open() as before:
        if LIBC.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            LIBC.setns(before.fileno(), CLONE_NEWNET)


def counted(name: str) -> int:
    """A counter of this thread's network namespace, as ``nstat`` has it: ``OutRsts``, ``TCPAbortOnData``."""
    for file in ("snmp", "netstat"):
        lines = Path(f"/proc/thread-self/net/{file}").read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            found = dict(zip(names.split(), values.split(), strict=True))
            if name in found:
                return int(found[name])
    raise KeyError(name)


def fill(one: socket.socket) -> None:
    """Send until nothing more is taken: what comes behind it, as a FIN, waits."""
    one.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            one.send(bytes(1 << 16))


def _established(here: socket.socket, there: socket.socket) -> None:
    until_state(here, E)
    until_state(there, E)


def _close_wait(here: socket.socket, there: socket.socket) -> None:
    there.shutdown(socket.SHUT_WR)
    until_state(here, CW)
    until_state(there, F2)


def _fin_wait1(here: socket.socket, there: socket.socket) -> None:
    fill(here)
    here.shutdown(socket.SHUT_WR)
    until_state(here, F1)


def _fin_wait2(here: socket.socket, there: socket.socket) -> None:
    here.shutdown(socket.SHUT_WR)
    until_state(here, F2)
    until_state(there, CW)


def _last_ack(here: socket.socket, there: socket.socket) -> None:
    _close_wait(here, there)
    fill(here)
    here.shutdown(socket.SHUT_WR)
    until_state(here, LA)


def _closing(here: socket.socket, there: socket.socket) -> None:
    _fin_wait1(here, there)
    there.shutdown(socket.SHUT_WR)
    until_state(here, CG)


STATES: dict[State, Callable[[socket.socket, socket.socket], None]] = {
    E: _established, CW: _close_wait, F1: _fin_wait1, F2: _fin_wait2, LA: _last_ack, CG: _closing,
}  # fmt: skip


def dissolve(one: socket.socket) -> None:
    """connect() to AF_UNSPEC (tcp_disconnect)."""
    LIBC.connect(one.fileno(), UNSPECIFIED, len(UNSPECIFIED))


def repair(one: socket.socket) -> None:
    """From here on nothing is sent (TCP_REPAIR)."""
    one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON)


def destroy(one: socket.socket) -> None:
    """``ss -K`` (tcp_abort)."""
    port = one.getsockname()[1]
    subprocess.run(["ss", "-KH", "sport", "=", str(port)], check=True, capture_output=True)


def _close(here: socket.socket, _: socket.socket) -> None:
    here.close()


def _linger_0(here: socket.socket, _: socket.socket) -> None:
    reset(here)


def _linger2(here: socket.socket, _: socket.socket) -> None:
    here.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, -1)
    here.close()


def _dissolve(here: socket.socket, _: socket.socket) -> None:
    dissolve(here)
    here.close()


def _repair(here: socket.socket, there: socket.socket) -> None:
    repair(there)  # or its FIN would be answered by nobody
    repair(here)
    here.close()


def _repair_dissolve(here: socket.socket, there: socket.socket) -> None:
    repair(there)
    repair(here)
    _dissolve(here, there)


def _destroy(here: socket.socket, _: socket.socket) -> None:
    destroy(here)


def _peer_resets(_: socket.socket, there: socket.socket) -> None:
    reset(there)


def _late_data(here: socket.socket, there: socket.socket) -> None:
    here.close()
    with suppress(OSError):
        there.send(b"late")


def _shut_late_data(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        here.shutdown(socket.SHUT_RDWR)
        there.send(b"late")


def _peer_reads_and_closes(here: socket.socket, there: socket.socket) -> None:
    """The normal way, whatever the state."""
    here.setblocking(True)
    here.close()
    there.setblocking(True)
    with suppress(OSError):
        while there.recv(1 << 20):
            pass


WAYS: dict[str, Callable[[socket.socket, socket.socket], None]] = {
    "close": _close, "linger 0": _linger_0, "linger2 -1": _linger2, "dissolve": _dissolve, "repair": _repair,
    "repair, dissolve": _repair_dissolve, "ss -K": _destroy, "peer resets": _peer_resets, "late data": _late_data,
    "shutdown, late data": _shut_late_data, "peer reads": _peer_reads_and_closes,
}  # fmt: skip


def made(server: socket.socket, state: State, lport: int, *, unread: bool) -> Pair:
    """A connection whose first end is in ``state``; with ``unread`` bytes for that end, or none.

    Its port is given: of 132 that the kernel chooses every third time two are the same, since resets free them.
    """
    here = socket.socket()
    here.bind(("127.0.0.1", lport))
    here.connect(server.getsockname())
    there, _ = server.accept()
    if unread:
        there.sendall(b"unread")
    STATES[state](here, there)
    return here, there


def until_quiet() -> None:
    """Wait until no timer is left that sends something soon: a delayed ACK, a retransmit (``ss`` shows them)."""
    deadline_s = time.monotonic() + 20
    while any(" timer:(" in line and "timewait" not in line for line in _ss().splitlines()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(_ss())
        time.sleep(0.02)


def _ss() -> str:
    return subprocess.run(["ss", "-tonH"], check=True, capture_output=True, text=True).stdout
