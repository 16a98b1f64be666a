"""Hold many loopback connections open, quiet or with a byte now and then, until standard input ends.

``python benchmarks/holder.py SOCKETS`` prints ``ready`` when they are there; both ends of a connection
count. A line on standard input is the number of round trips to make over one of them; it is
answered with ``done``.
"""

from __future__ import annotations

import resource
import socket
import sys

_PER_ADDRESS = 20_000
"""Connections to one server address: each needs a port of its own."""


def hold(sockets: int) -> list[tuple[socket.socket, socket.socket]]:
    """Client and accepted end of each connection."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (sockets + 100, sockets + 100))
    pairs = []
    for first in range(0, sockets // 2, _PER_ADDRESS):
        with socket.create_server((f"127.0.1.{first // _PER_ADDRESS + 1}", 0), backlog=1024) as server:
            for _ in range(min(_PER_ADDRESS, sockets // 2 - first)):
                client = socket.create_connection(server.getsockname())
                pairs.append((client, server.accept()[0]))
    return pairs


def say(word: str) -> None:
    """To whoever started this."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Until standard input ends."""
    pairs = hold(int(sys.argv[1]))
    say("ready")
    client, accepted = pairs[0]
    for line in sys.stdin:
        for _ in range(int(line)):
            client.sendall(b"x")
            accepted.recv(1)
            accepted.sendall(b"x")
            client.recv(1)
        say("done")


if __name__ == "__main__":
    main()
