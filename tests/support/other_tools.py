"""Other tools on the same events, to compare with: bpftrace, bcc's tcpstates, ss."""

from __future__ import annotations

import os
import re
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tcptop_tui.bpf.load import headers

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


class Peer:
    """A running tool that prints a line an event, with both ports among its words."""

    def __init__(self, *command: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env={**os.environ, **environment}
        )
        self.lines: list[list[str]] = []

    def _until_seen(self) -> None:
        """Make a connection, and wait until its events come out: what was before is out too."""
        assert self.process.stdout is not None
        deadline_s = time.monotonic() + _PATIENCE_S
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            here = str(server.getsockname()[1])
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
        self.lines.append(line.decode().strip().split(","))

    def end(self) -> list[list[str]]:
        """The words of all lines."""
        self._until_seen()
        self.process.kill()  # bcc's loses a KeyboardInterrupt that comes in a callback
        out, _ = self.process.communicate(timeout=_PATIENCE_S)
        for line in out.splitlines():
            self._take(line)
        return self.lines


@contextmanager
def _running(make: Callable[[], Peer]) -> Iterator[Peer]:
    with tracefs():
        peer = make()
        try:
            peer._until_seen()
            peer.lines.clear()
            yield peer
        finally:
            peer.process.kill()
            peer.process.communicate()


@contextmanager
def bpftrace(program: str) -> Iterator[Peer]:
    """An attached one-liner that prints lines of numbers with commas between."""
    require("bpftrace")
    with _running(lambda: Peer("bpftrace", "-e", program)) as peer:
        yield peer


_BCC_WANTS = """
struct sock;
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define TASK_COMM_LEN 16
enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE,
       TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV };
"""


@contextmanager
def tcpstates(folder: Path) -> Iterator[Peer]:
    """The one of bcc, against our generated header tree and the few names that it wants besides."""
    require("tcpstates-bpfcc")
    headers.write_tree(folder)
    (folder / "include/linux/tcp.h").write_text("#pragma once\n#include <linux/types.h>\n" + _BCC_WANTS)
    (folder / "include/net").mkdir()
    (folder / "include/net/sock.h").touch()
    with _running(
        lambda: Peer("/usr/bin/python3", "-u", "/usr/sbin/tcpstates-bpfcc", "-s", BCC_KERNEL_SOURCE=str(folder))
    ) as peer:
        yield peer


def ss(port: int) -> dict[str, str]:
    """``name:value`` pairs of ``ss -ti`` for the connection with this local port."""
    require("ss")
    done = subprocess.run(["ss", "-tinH", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return dict(re.findall(r"(\w+):(\S+)", done.stdout.splitlines()[-1]))
