"""The tools that are measured, each as a process whose lines go to a file."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tcptop_tui.bpf.load import headers

_EMPTY = """
import time
from bcc import BPF
bpf = BPF(text="RAW_TRACEPOINT_PROBE(inet_sock_set_state) { return 0; }")
print("attached\\n" * 4, flush=True)
time.sleep(10000)
"""
STATES = (
    "tracepoint:sock:inet_sock_set_state /args->protocol == 6/ "
    '{ printf("%d %d %d %d %d\\n", pid, args->sport, args->dport, args->oldstate, args->newstate); }'
)
_BCC_WANTS = """#pragma once
#include <linux/types.h>
struct sock;
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define TASK_COMM_LEN 16
enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE,
       TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV };
"""
_PATIENCE_S = 60


@dataclass(frozen=True)
class Tool:
    """A command line; an empty one is the load alone."""

    name: str
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    screen: bool = False
    """Runs in a terminal of 160×50 instead of writing lines."""
    lines: bool = True
    """Writes one for each transition."""


@contextmanager
def tracefs() -> Iterator[None]:
    """Where the peers look events up; mounted for as long as it is needed."""
    folder = Path("/sys/kernel/tracing")
    mounted = not (folder / "events").exists()
    if mounted:
        subprocess.run(["mount", "-t", "tracefs", "none", str(folder)], check=True)
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def peers(folder: Path) -> tuple[Tool, ...]:
    """All of them; ``folder`` gets the header tree without which bcc's tool does not start here."""
    headers.write_tree(folder)
    (folder / "include/linux/tcp.h").write_text(_BCC_WANTS)
    (folder / "include/net").mkdir()
    (folder / "include/net/sock.h").touch()
    ours = (sys.executable, "-m", "tcptop_tui")
    return (
        Tool("load alone"),
        Tool("tcptop-tui trace states", (*ours, "trace", "states", "-s")),
        Tool("tcptop-tui dashboard", ours, {"TERM": "xterm-256color"}, screen=True),
        Tool(
            "bcc tcpstates",
            ("/usr/bin/python3", "/usr/sbin/tcpstates-bpfcc", "-s"),
            {"BCC_KERNEL_SOURCE": str(folder), "PYTHONUNBUFFERED": "1"},
        ),
        Tool("bpftrace", ("bpftrace", "-e", STATES)),
        Tool("an empty program", ("/usr/bin/python3", "-c", _EMPTY), {"BCC_KERNEL_SOURCE": str(folder)}, lines=False),
    )


class Screen:
    """A program in a terminal of 160×50, whose output is looked at as it comes."""

    def __init__(self, command: tuple[str, ...], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        os.set_inheritable(theirs, True)
        subprocess.run(["stty", "rows", "50", "cols", "160"], stdin=theirs, check=True)
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.pid = self.process.pid
        self._came = threading.Condition()
        self._output = b""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                with self._came:
                    self._output = (self._output + data)[-(1 << 20) :]
                    self._came.notify_all()
        except OSError:  # the terminal's other end is closed
            return

    def wait_for(self, wanted: bytes) -> float:
        """Seconds until it has been drawn."""
        began_s = time.perf_counter()
        with self._came:
            if not self._came.wait_for(lambda: wanted in self._output, _PATIENCE_S):
                raise RuntimeError(f"{wanted!r} does not appear: {self._output[-500:]!r}")
            return time.perf_counter() - began_s

    def has(self, wanted: bytes) -> bool:
        """Whether it has been drawn lately."""
        with self._came:
            return wanted in self._output

    def press(self, key: bytes, wanted: bytes) -> float:
        """Seconds from a key to what it brings."""
        with self._came:
            self._output = b""
        os.write(self._ours, key)
        return self.wait_for(wanted)

    def stop(self, key: bytes) -> None:
        """End it with a key, or anyhow."""
        os.write(self._ours, key)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Running:
    """A started tool."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.lines = Path(tempfile.mkstemp(dir="/dev/shm", prefix="tcptop-bench-")[1])
        environment = {**os.environ, **tool.environment}
        if tool.screen:
            self._screen = Screen(tool.command, tool.environment)
            self._process = self._screen.process
        else:
            with self.lines.open("wb") as out:
                self._process = subprocess.Popen(tool.command, stdout=out, stderr=out, env=environment)
        self.pid = self._process.pid

    def wait_until_tracing(self) -> None:
        """Make connections until the tool shows that it saw one."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while not self._shows():
            if time.monotonic() > deadline_s or self._process.poll() is not None:
                raise RuntimeError(f"{self.tool.name} does not start: {self.lines.read_bytes()[-500:]!r}")
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname()).close()
            time.sleep(0.05)

    def _shows(self) -> bool:
        if self.tool.screen:
            return self._screen.has(b"ESTABLISHED") or self._screen.has(b"LISTEN")
        return self.lines.read_bytes().count(b"\n") > 3

    def count_of(self, port: int) -> int | None:
        """Lines with this port; None for a screen, which has no lines."""
        if self.tool.screen or not self.tool.lines:
            return None
        word = str(port).encode()
        return sum(word in line.replace(b",", b" ").split() for line in self.lines.read_bytes().splitlines())

    def settle(self, seconds: float) -> None:
        """Wait until no line has come for so long."""
        before, same_s = -1, 0.0
        while same_s < seconds:
            time.sleep(0.5)
            same_s = same_s + 0.5 if before == (before := self.lines.stat().st_size) else 0.0

    def stop(self) -> None:
        """End it and take its file away."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.lines.unlink()


@contextmanager
def running(tool: Tool) -> Iterator[Running | None]:
    """``tool``, tracing; None for the load alone."""
    if not tool.command:
        yield None
        return
    started = Running(tool)
    try:
        started.wait_until_tracing()
        yield started
    finally:
        started.stop()
