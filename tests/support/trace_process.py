"""``tcptop-tui trace`` as a process, beside programs whose every move the test gives."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

_ACTOR = Path(__file__).with_name("actor.py")
_PATIENCE_S = 30


class Stream:
    """A running stream; ``lines`` are complete when ``end`` has returned."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tcptop_tui", "trace", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # communicate() would not see what a buffer holds
        )
        self.header = b""
        self.lines: list[str] = []
        self.said = ""
        self.calls_port = 0
        """Where the calls went that were to show something: whose they were may come out after their line."""

    def wait_until_tracing(self) -> None:
        """The header appears when the tracer is attached; JSON has none, and shows a call of ours."""
        assert self.process.stdout is not None
        deadline_s = time.monotonic() + _PATIENCE_S
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            self.calls_port = server.getsockname()[1]
            while not select.select([self.process.stdout], [], [], 0.05)[0]:
                assert time.monotonic() < deadline_s
                socket.create_connection(server.getsockname()).close()
                server.accept()[0].close()
        self.header = self.process.stdout.readline()
        assert self.header, self.process.stderr.read() if self.process.stderr else ""

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Interrupt it and take the rest of what it says; the exit code."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        """Take the rest of what it says until it ends by itself; the exit code."""
        out, err = self.process.communicate(timeout=_PATIENCE_S)
        self.lines = out.decode().splitlines()
        self.said = err.decode()
        return self.process.returncode

    def objects(self) -> list[dict[str, Any]]:
        """The lines as JSON."""
        found = []
        for line in self.lines:
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise AssertionError(f"not JSON: {line}") from error
        return found


@contextmanager
def streaming(*arguments: str) -> Iterator[Stream]:
    """A stream whose tracer is attached."""
    stream = Stream(*arguments)
    try:
        stream.wait_until_tracing()
        yield stream
    finally:
        stream.process.kill()
        stream.process.communicate()


class Actor:
    """One of the programs; ``facts`` is what it said last."""

    def __init__(self, *arguments: str, inside: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*inside, sys.executable, str(_ACTOR), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.facts: dict[str, Any] = {}
        self.listen()

    def listen(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        self.facts = json.loads(self.process.stdout.readline())
        return self.facts

    def do(self, step: str) -> dict[str, Any]:
        """Have it do one step, and wait for that."""
        self.begin(step)
        return self.listen()

    def begin(self, step: str) -> None:
        """Have it do one step."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{step}\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.communicate()


class Call:
    """A server and a client of it, connected."""

    def __init__(self, stack: ExitStack, host: str = "127.0.0.1", inside: tuple[str, ...] = ()) -> None:
        self.server = Actor("serve", host, inside=inside)
        stack.callback(self.server.stop)
        self.listener_pid, self.server_port = self.server.facts["pid"], self.server.facts["port"]
        self.client = Actor("call", host, str(self.server_port), inside=inside)
        stack.callback(self.client.stop)
        self.client_pid, self.client_port = self.client.facts["pid"], self.client.facts["port"]
        self.connected = self.client.facts
        self.server_pid = self.server.listen()["pid"]

    def exchange(self, sent: int, answered: int) -> None:
        """Payload there and back."""
        self.client.begin(f"send {sent}")
        self.server.do(f"recv {sent}")
        self.client.listen()
        self.server.begin(f"send {answered}")
        self.client.do(f"recv {answered}")
        self.server.listen()

    def close(self) -> None:
        """The client first; the server when it has seen that."""
        self.closed = self.client.do("close")
        self.server.do("eof")
        self.server.do("close")
        self.client.process.wait(_PATIENCE_S)
        self.server.process.wait(_PATIENCE_S)


@contextmanager
def calling(host: str = "127.0.0.1", inside: tuple[str, ...] = ()) -> Iterator[Call]:
    """A connected pair of programs."""
    with ExitStack() as stack:
        yield Call(stack, host, inside)


def refused(host: str = "127.0.0.1") -> tuple[Actor, int]:
    """A client that was refused, and the port that nobody listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as reserved:
        reserved.bind((host, 0))
        free = reserved.getsockname()[1]
    actor = Actor("call", host, str(free))
    actor.process.wait(_PATIENCE_S)
    return actor, free
