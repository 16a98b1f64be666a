"""Open and close loopback connections as fast as one process can, a bounded number of them.

``python benchmarks/churn.py [CONNECTIONS]`` prints how many and how fast. Each one moves ten states (five
at either end) and ends with a FIN or, half of them, with a reset, so that no TIME_WAIT piles up.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

_LINGER_RESET = struct.pack("ii", 1, 0)


def churn(connections: int) -> float:
    """Seconds that it took."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(128)
        there = server.getsockname()
        began_s = time.monotonic()
        for _ in range(connections):
            client = socket.socket()
            client.connect(there)
            accepted, _ = server.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            client.close()
            accepted.close()
        return time.monotonic() - began_s


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    took_s = churn(count)
    sys.stdout.write(f"{count} connections in {took_s:.2f} s: {count / took_s:,.0f} a second\n")
