"""Open and close loopback connections as fast as one process can, a bounded number of them.

``python benchmarks/churn.py [CONNECTIONS [PORT]]`` prints how many and how fast. Each one changes its state
six times, both ends counted, and ends with a reset, so that no TIME_WAIT piles up.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

LINGER_RESET = struct.pack("ii", 1, 0)


TRANSITIONS = 6
"""Of each connection, both ends counted; the listener has two more."""


def churn(
    connections: int, port: int = 0, *, host: str = "127.0.0.1", per_s: float = 0, exact: bool = False,
    source_ports: Iterable[int] = (),
) -> tuple[float, int]:  # fmt: skip
    """Seconds that it took, and the listener's port; with ``per_s`` no faster than so many a second.

    ``exact``: the server closes when the reset has come, which a busy machine may bring late, so that there
    are no more transitions than ``TRANSITIONS``. ``source_ports``: of the clients, one after the other; those
    in use are passed over.
    """
    free = iter(source_ports)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(128)
        there = server.getsockname()
        began_s = time.monotonic()
        for number in range(connections):
            ahead_s = number / per_s - (time.monotonic() - began_s) if per_s else 0
            if ahead_s > 0:
                time.sleep(ahead_s)
            client = socket.socket(family)
            while source_ports:
                with suppress(OSError):
                    client.bind((host, next(free)))
                    break
            client.connect(there)
            accepted, _ = server.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            client.close()
            if exact:
                with suppress(ConnectionResetError):
                    accepted.recv(1)
            accepted.close()
        return time.monotonic() - began_s, int(there[1])


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    took_s, _ = churn(count, int(sys.argv[2]) if len(sys.argv) > 2 else 0, exact=len(sys.argv) > 2)
    sys.stdout.write(f"{count} connections in {took_s:.2f} s: {count / took_s:,.0f} a second\n")
