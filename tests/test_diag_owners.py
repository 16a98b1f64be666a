"""Owners of real sockets in real processes, with the clock in the test's hands."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tcptop_tui.diag import owners as module
from tcptop_tui.diag.owners import Owners


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """What each scan looked for."""
    made: list[set[int]] = []
    scan = module._scan

    def counted(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        made.append(set(wanted.tolist()))
        return scan(wanted)

    monkeypatch.setattr(module, "_scan", counted)
    return made


@pytest.fixture
def sock():
    with socket.socket() as made:
        yield made


def inode(*socks: socket.socket) -> np.ndarray:
    return np.array([os.fstat(sock.fileno()).st_ino for sock in socks], "u4")


def child(code: str, *socks: socket.socket, **more: object) -> subprocess.Popen[str]:
    """A process that has ``socks``, has run ``code`` and waits for its end."""
    code = f"import os, sys\n{textwrap.dedent(code)}\nprint(os.getpid(), flush=True)\nsys.stdin.read()"
    given = [str(sock.fileno()) for sock in socks]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        pass_fds=[sock.fileno() for sock in socks], **more,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate()


def test_one_scan_finds_all_and_is_remembered(sock: socket.socket, clock: Clock, scans: list[set[int]]) -> None:
    with socket.socket() as other:
        asked = np.concatenate([inode(other), [0], inode(sock, other)])
        owners = Owners(clock=clock)
        for _ in range(3):
            pid, comm = owners.resolve(asked)
            assert pid.tolist() == [os.getpid(), 0, os.getpid(), os.getpid()]
            with open("/proc/self/comm", "rb") as file:
                assert comm.tolist() == [name := file.read()[:-1], b"", name, name]
            assert (pid.dtype, comm.dtype) == (np.dtype("u4"), np.dtype("S16"))
            clock.now_s += 100
        assert scans == [set(inode(sock, other).tolist())]


def test_a_name_is_whatever_bytes_the_process_chose(sock: socket.socket) -> None:
    process = child("open('/proc/self/comm', 'wb').write(b'\\x1b[2J\\n\\xff\\xfe' + b'x' * 20)", sock)
    try:
        mine = inode(sock)
        sock.close()
        pid, comm = Owners().resolve(mine)
        assert (pid.tolist(), comm.tolist()) == ([process.pid], [b"\x1b[2J\n\xff\xfe" + b"x" * 8])
    finally:
        end(process)


def test_who_opened_it_first_has_it_and_then_the_heir(sock: socket.socket, clock: Clock) -> None:
    first, second = child("", sock), child("", sock)
    low, high = sorted((first, second), key=lambda process: process.pid)
    try:
        mine = inode(sock)
        sock.close()
        owners = Owners(clock=clock)
        assert owners.resolve(mine)[0].tolist() == [low.pid]
        end(low)
        clock.now_s += 60
        assert owners.resolve(mine)[0].tolist() == [high.pid]
        end(high)
        clock.now_s += 60
        assert owners.resolve(mine)[0].tolist() == [0]
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_scans_have_a_period(sock: socket.socket, clock: Clock, scans: list[set[int]]) -> None:
    owners = Owners(min_period_s=5, clock=clock)
    owners.resolve(inode(sock))
    with socket.socket() as later:
        both = inode(sock, later)
        clock.now_s += 4.9
        assert owners.resolve(both)[0].tolist() == [os.getpid(), 0]
        clock.now_s += 0.1
        assert owners.resolve(both)[0].tolist() == [os.getpid()] * 2
    assert scans == [{int(both[0])}, {int(both[1])}]


def test_a_slow_scan_makes_the_next_one_wait(
    sock: socket.socket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []

    def slow(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        looked.append(clock.now_s)
        clock.now_s += 3
        return np.zeros(len(wanted), "u4"), np.zeros(len(wanted), "S16")

    monkeypatch.setattr(module, "_scan", slow)
    owners = Owners(clock=clock)
    for new in range(1, 120):
        owners.resolve(np.array([new]))
        clock.now_s += 1
    assert np.diff(looked).tolist() == [33.0] * (len(looked) - 1)
    assert len(looked) > 2


def test_nobodys_socket_is_looked_for_ever_more_rarely(clock: Clock, scans: list[set[int]]) -> None:
    nobodys = np.array([2**32 - 1], "u4")
    owners = Owners(min_period_s=2, clock=clock)
    at: list[float] = []
    for _ in range(400):
        seen = len(scans)
        assert owners.resolve(nobodys)[0].tolist() == [0]
        at += [clock.now_s] if len(scans) > seen else []
        clock.now_s += 1
    assert np.diff(at).tolist() == [2, 4, 8, 16, 32, 64, 64, 64, 64, 64]


def test_a_socket_found_late_is_found(clock: Clock) -> None:
    owners = Owners(clock=clock)
    with socket.socket() as later:
        mine = inode(later)
        owners.resolve(np.array([1]))
        assert owners.resolve(mine)[0].tolist() == [0]  # too early for another scan
        clock.now_s += 10
        assert owners.resolve(mine)[0].tolist() == [os.getpid()]


def test_what_is_not_asked_for_is_forgotten(clock: Clock, scans: list[set[int]]) -> None:
    owners = Owners(clock=clock)
    for start in range(0, 5000, 1000):
        owners.resolve(np.arange(start, start + 1000))
        assert len(owners._known) == 1000
        clock.now_s += 100
    pid, comm = owners.resolve(np.zeros(0, "u4"))
    assert (pid.shape, comm.shape, len(owners._known)) == ((0,), (0,), 0)


def test_without_root_others_are_skipped(sock: socket.socket) -> None:
    """A user's scan passes over root's processes and still finds its own socket."""
    if os.geteuid() != 0:
        pytest.skip("root's sockets are what must not be readable")
    code = """
        import socket
        import numpy as np
        from tcptop_tui.diag.owners import Owners
        os.setgid(65534); os.setuid(65534)
        os.close(int(sys.argv[1]))
        own = socket.socket()
        asked = np.array([int(os.environ["THEIRS"]), os.fstat(own.fileno()).st_ino])
        pid = Owners().resolve(asked)[0].tolist()
        assert pid == [0, os.getpid()], pid
    """
    process = child(code, sock, env=os.environ | {"THEIRS": str(inode(sock)[0])})
    end(process)
    assert process.returncode == 0


def test_process_1_has_only_what_nobody_else_has() -> None:
    code = """
import os, socket, sys
import numpy as np
from tcptop_tui.diag.owners import Owners
assert os.getpid() == 1
shared, own = socket.socket(), socket.socket()
read, write = os.pipe()
child = os.fork()
if child == 0:
    own.close()
    os.close(write)
    os.read(read, 1)
    os._exit(0)
os.close(read)
ready = lambda: not os.path.exists(f"/proc/{child}/fd/{own.fileno()}")
while not ready():
    os.sched_yield()
asked = np.array([os.fstat(shared.fileno()).st_ino, os.fstat(own.fileno()).st_ino])
print(Owners().resolve(asked)[0].tolist() == [child, 1])
"""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "True\n", done.stderr
