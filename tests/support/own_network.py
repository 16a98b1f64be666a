"""Runs a test's body in a thread that has a network namespace of its own."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tcptop_tui.diag.netlink import SockDiag
from tests.support.close_cases import own_namespace

MSG_FASTOPEN = 0x20000000
"""include/linux/socket.h: send data in the SYN."""


@contextmanager
def own_network() -> Iterator[SockDiag]:
    """Puts this thread into a new network namespace with ``lo`` and TCP Fast Open, and opens sock_diag there."""
    with own_namespace():
        subprocess.run(["sysctl", "-qw", "net.ipv4.tcp_fastopen=3"], check=True)
        diag = SockDiag(Path("/proc/thread-self/ns/net").stat().st_ino)
        try:
            yield diag
        finally:
            diag.close()


def run_in_own_network(body: Callable[[SockDiag], None]) -> None:
    """Run ``body`` in a thread with a network namespace of its own, and raise what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with own_network() as diag:
                body(diag)
        except BaseException as error:  # noqa: BLE001  the test's own thread raises it
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
