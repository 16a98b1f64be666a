"""A program of its own that opens, uses and closes one connection, step by step as its stdin says.

``python actor.py serve HOST`` listens as ``actor-listen`` and answers in a child ``actor-serve``;
``python actor.py call HOST PORT`` connects as ``actor-call``. Each prints a JSON line a step, with
its own clock around every system call that moves the state.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps({"pid": os.getpid(), **facts}) + "\n")
    sys.stdout.flush()


def rename(name: str) -> None:
    Path("/proc/self/comm").write_text(name)


def exactly(sock: socket.socket, count: int) -> None:
    while count:
        count -= len(sock.recv(count))


def steps(sock: socket.socket) -> None:
    """``send N``, ``recv N``, ``close``, ``reset``, ``half`` (FIN), ``eof`` (wait for the peer's)."""
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        began_ns = time.monotonic_ns()
        if word == "send":
            sock.sendall(b"x" * int(number))
        elif word == "recv":
            exactly(sock, int(number))
        elif word == "half":
            sock.shutdown(socket.SHUT_WR)
        elif word == "eof":
            assert sock.recv(1) == b""
        elif word == "close":
            sock.close()
        say(step=word, began_ns=began_ns, ended_ns=time.monotonic_ns())
        if word == "close":
            return


def serve(host: str) -> None:
    rename("actor-listen")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        say(port=server.getsockname()[1])
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        rename("actor-serve")
        accepted, peer = server.accept()
        say(peer=peer[1])
        steps(accepted)


def call(host: str, port: str) -> None:
    rename("actor-call")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    began_ns = time.monotonic_ns()
    try:
        sock.connect((host, int(port)))
    except OSError as error:
        say(errno=error.errno, began_ns=began_ns, ended_ns=time.monotonic_ns())
        return
    say(port=sock.getsockname()[1], began_ns=began_ns, ended_ns=time.monotonic_ns())
    steps(sock)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
