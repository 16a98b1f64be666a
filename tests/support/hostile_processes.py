"""Processes with hostile names and arguments that have connections."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.hostile_names import NAMES

_PROGRAM = """
import os, socket, sys
with open("/proc/self/comm", "wb") as comm:
    comm.write(bytes.fromhex(sys.argv[1]))
with socket.create_server(("127.0.0.1", 0)) as server:
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    print(server.getsockname()[1], client.getsockname()[1], flush=True)
    sys.stdin.readline()
    client.close()
    accepted.close()
    socket.create_connection(server.getsockname()).close()
    sys.stdin.readline()
"""


class HostileProcess:
    """A process of a hostile name, with hostile arguments, that talks to itself."""

    def __init__(self, name: bytes, inside: tuple[str, ...] = ()) -> None:
        arguments = [argument.replace(b"\0", b"") for argument in NAMES]
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-c", _PROGRAM, name.hex(), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port, self.client_port = map(int, self.process.stdout.readline().split())

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def hostile_processes(*names: bytes, inside: tuple[str, ...] = ()) -> Iterator[list[HostileProcess]]:
    with ExitStack() as stack:
        made = []
        for name in names:
            made.append(HostileProcess(name, inside))
            stack.callback(made[-1].end)
        yield made
