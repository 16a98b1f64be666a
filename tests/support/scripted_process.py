"""Python programs that open and use sockets step by step, as a test tells them."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

_PRELUDE = """
import ctypes, os, signal, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def rename(name): libc.prctl(15, name.encode(), 0, 0, 0)
def listen(host="127.0.0.1", port=0, *options):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    for option in options: made.setsockopt(*option)
    made.bind((host, port)); made.listen(); return made
def say(*words): print(*words, flush=True)
def wait(): return sys.stdin.readline()
def call(port, host="127.0.0.1"): return socket.create_connection((host, port))
"""


class ScriptedProcess:
    """A Python program that says a line of numbers after each step, and waits to be told to go on."""

    def __init__(self, code: str, *given: socket.socket) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + textwrap.dedent(code), *[str(one.fileno()) for one in given]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[one.fileno() for one in given],
        )  # fmt: skip
        self.pid = self._process.pid

    def numbers(self) -> list[int]:
        """The numbers in its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "it has ended"
        return [int(word) for word in line.split()]

    def go_on(self) -> None:
        """Let its ``wait()`` return."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Close its input and wait until it has ended."""
        self._process.communicate()

    def kill(self) -> None:
        """Kill it, in whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


@contextmanager
def scripted_process(code: str, *given: socket.socket) -> Iterator[ScriptedProcess]:
    """A process that runs ``code``, with these sockets as its arguments, until the end of the block."""
    process = ScriptedProcess(code, *given)
    try:
        yield process
    finally:
        process.kill()


HANDED_ON = """
a, b = socket.socketpair()
worker = os.fork()
if not worker:
    rename("the-worker"); a.close()
    taken = socket.socket(fileno=socket.recv_fds(b, 1, 1)[1][0]); b.send(b"x")
    signal.pause()
server = listen(); say(server.getsockname()[1])
accepted = server.accept()[0]; accepted.recv(5); say(os.getpid(), worker); wait()
socket.send_fds(a, [b"x"], [accepted.fileno()]); a.recv(1); accepted.close(); say(0); wait(); os.kill(worker, 9)
"""
"""Accepts a connection, and hands it to a child in its second step."""


ACCEPTS = "server = socket.socket(fileno=int(sys.argv[1])); say(0)\nwhile wait(): server.accept()[0].close(); say(0)"
"""Accepts a connection at each step, and closes it."""
