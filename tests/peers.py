"""Other tools on the same events, to compare with: bpftrace, ss."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_TRACEFS = Path("/sys/kernel/tracing")
_PATIENCE_S = 60


def require(tool: str) -> None:
    """Skip without ``tool``; fail where the tests must be complete."""
    if shutil.which(tool):
        return
    if os.environ.get("TCPTOP_REQUIRE_BPF") == "1":
        pytest.fail(f"{tool} is required here")
    pytest.skip(f"no {tool}")


@contextmanager
def tracefs() -> Iterator[None]:
    """Where bpftrace looks events up; mounted for as long as it is needed."""
    mounted = not (_TRACEFS / "events").exists()
    if mounted:
        subprocess.run(["mount", "-t", "tracefs", "none", str(_TRACEFS)], check=True)
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", str(_TRACEFS)], check=True)


class BpfTrace:
    """A running one-liner that prints a line an event, of blank-separated numbers."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen(
            ["bpftrace", "-e", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        self.lines: list[list[int]] = []

    def _until_seen(self) -> None:
        """Make a connection, and wait until its events come out: what was before is out too."""
        assert self.process.stdout is not None
        deadline_s = time.monotonic() + _PATIENCE_S
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            here = server.getsockname()[1]
            while not any(here in line for line in self.lines):
                assert time.monotonic() < deadline_s
                assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
                client = socket.create_connection(server.getsockname())
                accepted = server.accept()[0]
                client.sendall(b"x")
                accepted.recv(1)
                client.close()
                accepted.close()
                while select.select([self.process.stdout], [], [], 0.05)[0]:
                    self._take(self.process.stdout.readline())

    def _take(self, line: bytes) -> None:
        if re.fullmatch(rb"[0-9 ]+\n", line):
            self.lines.append([int(word) for word in line.split()])

    def end(self) -> list[list[int]]:
        """All lines."""
        self._until_seen()
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=_PATIENCE_S)
        for line in out.splitlines(keepends=True):
            self._take(line)
        return self.lines


@contextmanager
def bpftrace(program: str) -> Iterator[BpfTrace]:
    """An attached one-liner."""
    require("bpftrace")
    with tracefs():
        running = BpfTrace(program)
        try:
            running._until_seen()
            running.lines.clear()
            yield running
        finally:
            running.process.kill()
            running.process.communicate()


def ss(port: int) -> dict[str, str]:
    """``name:value`` pairs of ``ss -ti`` for the connection with this local port."""
    require("ss")
    done = subprocess.run(["ss", "-tinH", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return dict(re.findall(r"(\w+):(\S+)", done.stdout.splitlines()[-1]))
