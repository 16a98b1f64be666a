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

from tcptop_tui.bpf import headers

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
    )


class Running:
    """A started tool."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.lines = Path(tempfile.mkstemp(dir="/dev/shm", prefix="tcptop-bench-")[1])
        self._live = False
        environment = {**os.environ, **tool.environment}
        if tool.screen:
            self._start_on_screen(environment)
        else:
            with self.lines.open("wb") as out:
                self._process = subprocess.Popen(tool.command, stdout=out, stderr=out, env=environment)
        self.pid = self._process.pid

    def _start_on_screen(self, environment: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        os.set_inheritable(theirs, True)
        subprocess.run(["stty", "rows", "50", "cols", "160"], stdin=theirs, check=True)
        self._process = subprocess.Popen(
            self.tool.command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        threading.Thread(target=self._read_screen, args=(ours,), daemon=True).start()

    def _read_screen(self, terminal: int) -> None:
        try:
            while data := os.read(terminal, 65536):
                self._live |= b"ESTABLISHED" in data or b"LISTEN" in data
        except OSError:  # the terminal's other end is closed
            return

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
            return self._live
        return self.lines.read_bytes().count(b"\n") > 3

    def count_of(self, port: int) -> int | None:
        """Lines with this port; None for a screen, which has no lines."""
        if self.tool.screen:
            return None
        word = str(port).encode()
        return sum(word in line.replace(b",", b" ").split() for line in self.lines.read_bytes().splitlines())

    def settle(self) -> None:
        """Wait until no more lines come."""
        before = -1
        while before != (before := self.lines.stat().st_size):
            time.sleep(0.5)

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
