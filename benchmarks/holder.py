"""Hold many loopback connections open, quiet or with a byte now and then, until standard input ends.

``python benchmarks/holder.py SOCKETS`` prints ``ready`` when they are there; both ends of a connection
count. A line on standard input is the number of round trips to make over one of them; it is
answered with ``done``.
"""

from __future__ import annotations

import os
import resource
import socket
import sys

from churn import LINGER_RESET

_PER_PROCESS = 18_000
"""Sockets: what a process may open is limited, and not everybody may raise it."""


def hold(sockets: int, place: int) -> list[tuple[socket.socket, socket.socket]]:
    """Client and accepted end of each connection, to an address of their own: each needs a port of its own there."""
    resource.setrlimit(resource.RLIMIT_NOFILE, 2 * (resource.getrlimit(resource.RLIMIT_NOFILE)[1],))
    pairs = []
    with socket.create_server((f"127.0.1.{place + 1}", 0), backlog=1024) as server:
        for _ in range(sockets // 2):
            client = socket.create_connection(server.getsockname())
            # or the next ones would meet them all in TIME_WAIT
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            pairs.append((client, server.accept()[0]))
    return pairs


def hold_elsewhere(sockets: int, place: int) -> None:
    """In a process of its own, until this one ends."""
    ready, done = os.pipe()
    alive, _ours = os.pipe()
    if os.fork() == 0:
        os.close(_ours)
        _held = hold(sockets, place)
        os.close(done)
        os.read(alive, 1)  # until whoever holds the other end has gone
        os._exit(0)
    os.close(done)
    os.read(ready, 1)


def say(word: str) -> None:
    """To whoever started this."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Until standard input ends."""
    sockets = int(sys.argv[1])
    for place in range(1, -(-sockets // _PER_PROCESS)):
        hold_elsewhere(_PER_PROCESS, place)
    pairs = hold((sockets - 1) % _PER_PROCESS + 1, 0)
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
