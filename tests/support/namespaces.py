"""Processes with sockets in network namespaces and cgroups that the tests make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tcptop_tui.host.cgroups import mount_point

INSIDE = """
import json, os, socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = socket.create_server(("127.0.0.1", 4321))
client = socket.create_connection(("127.0.0.1", 4321))
accepted, _ = server.accept()
inode = os.stat("/proc/self/ns/net").st_ino
print(json.dumps([inode, os.getpid(), client.getsockname()[1]]), flush=True)
input()
"""


class Inside:
    """A process in a namespace, with a listener and both ends of a connection."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [*command, sys.executable, "-c", INSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.inode, self.pid, self.port = json.loads(self.process.stdout.readline())

    def end(self) -> None:
        if self.process.returncode is None:
            self.process.communicate(b"\n", timeout=20)


@contextmanager
def inside(*command: str) -> Iterator[Inside]:
    if os.geteuid():
        pytest.skip("network namespaces need root")
    made = Inside(*(command or ("unshare", "--net")))
    try:
        yield made
    finally:
        made.end()


@contextmanager
def cgroup(*below: str) -> Iterator[Path]:
    """The directory of a new cgroup (v2) with these below it."""
    root = mount_point()
    made = (root or Path("/nowhere")) / f"tcptop-test-{os.getpid()}"
    try:
        made.mkdir()
        for name in below:
            (made / name).mkdir()
    except OSError as error:
        pytest.skip(f"cgroups cannot be made here: {error}")
    try:
        yield made
    finally:
        for name in below:
            (made / name).rmdir()
        made.rmdir()


def in_cgroup(group: Path, *command: str) -> tuple[str, ...]:
    """A prefix that moves what comes after it into ``group``, and runs it under ``command``."""
    return ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *(command or ("unshare", "--net")))


@contextmanager
def in_namespace() -> Iterator[tuple[tuple[str, ...], int]]:
    """How to run a program in a new network namespace with a loopback, and the namespace's inode."""
    name = f"tcptop-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces cannot be made here")
    command = ("ip", "netns", "exec", name)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        told = subprocess.run([*command, "stat", "-Lc", "%i", "/proc/self/ns/net"], capture_output=True, check=True)
        yield command, int(told.stdout)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
