"""Owners of real sockets in real processes, with the clock in the test's hands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from tcptop_tui.host import socket_owners as module
from tcptop_tui.host.socket_owners import OwnerFinder

pytestmark = pytest.mark.host


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


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


def pids(owners: OwnerFinder, inodes: np.ndarray, *seen: int) -> list[int]:
    return owners.resolve(inodes, np.array(seen, "u4") if seen else None)["pid"].tolist()


def test_a_process_whose_first_thread_has_ended_still_has_its_sockets(sock: socket.socket) -> None:
    code = """
        import ctypes, threading
        def report():
            while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
                pass
            print(os.getpid(), flush=True)
            sys.stdin.read()
            os._exit(0)
        threading.Thread(target=report).start()
        ctypes.CDLL(None).syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)  # exit, of this thread alone
    """
    process = child(code, sock)
    mine = inode(sock)
    sock.close()
    try:
        assert pids(OwnerFinder(), mine) == [process.pid]
    finally:
        end(process)


def test_one_look_finds_all(sock: socket.socket) -> None:
    with socket.socket() as other:
        found = OwnerFinder().resolve(np.concatenate([inode(other), [0], inode(sock, other)]))
    with open("/proc/self/comm", "rb") as file:
        name = file.read()[:-1]
    me = os.getpid()
    assert found["pid"].tolist() == [me, 0, me, me]
    assert found["comm"].tolist() == [name, b"", name, name]
    assert found["holders"].tolist() == [1, 0, 1, 1]
    assert found["start_ticks"].tolist() == [start := module.start_of(me), 0, start, start]
    assert abs(start - int(psutil.Process(me).create_time() * 100 - psutil.boot_time() * 100)) < 200


def test_a_name_is_whatever_bytes_the_process_chose(sock: socket.socket) -> None:
    process = child("open('/proc/self/comm', 'wb').write(b'\\x1b[2J\\n\\xff\\xfe' + b'x' * 20)", sock)
    try:
        mine = inode(sock)
        sock.close()
        found = OwnerFinder().resolve(mine)
        assert (found["pid"].tolist(), found["comm"].tolist()) == ([process.pid], [b"\x1b[2J\n\xff\xfe" + b"x" * 8])
    finally:
        end(process)


def test_who_opened_it_first_has_it_and_then_the_heir(sock: socket.socket, clock: Clock) -> None:
    first, second = child("", sock), child("", sock)
    low, high = sorted((first, second), key=lambda process: process.pid)
    try:
        mine = inode(sock)
        sock.close()
        owners = OwnerFinder(clock=clock)
        assert pids(owners, mine) == [low.pid]
        end(low)
        clock.now_s += 60
        assert pids(owners, mine) == [high.pid]
        end(high)
        clock.now_s += 60
        assert pids(owners, mine) == [0]
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_several_have_it_and_who_was_seen_with_it_comes_first(sock: socket.socket) -> None:
    process = child("", sock)
    try:
        with socket.socket() as mine:
            asked = inode(sock, mine)
            owners = OwnerFinder(min_period_s=0)
            low, high = sorted((process.pid, os.getpid()))
            assert pids(owners, asked) == [low, os.getpid()]
            assert pids(owners, asked, high, 0) == [high, os.getpid()]
            assert pids(owners, asked, process.pid, process.pid) == [process.pid, os.getpid()]  # not any more
            assert owners.resolve(asked)["holders"].tolist() == [2, 1]
            shared = owners.holders.shared(asked.astype("u8"))
            assert (shared.rows.tolist(), shared.processes["pid"].tolist()) == ([0, 0], [low, high])
    finally:
        end(process)


def test_a_socket_that_is_handed_on_is_its_heirs(sock: socket.socket, clock: Clock) -> None:
    process = child("", sock)
    try:
        owners = OwnerFinder(clock=clock)
        mine = inode(sock)
        assert process.pid in owners.resolve(mine, np.array([process.pid], "u4"))["pid"]
        sock.close()
        clock.now_s += 2
        assert pids(owners, mine, os.getpid()) == [process.pid]
    finally:
        end(process)


RENAMES = """
import signal
def rename(*_):
    open("/proc/self/comm", "w").write("renamed")
    print("done", flush=True)
signal.signal(signal.SIGUSR1, rename)
"""


def test_the_name_is_that_of_now(sock: socket.socket, clock: Clock) -> None:
    process = child(RENAMES, sock)
    try:
        mine = inode(sock)
        sock.close()
        owners = OwnerFinder(clock=clock)
        owners.resolve(mine)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout is not None
        process.stdout.readline()
        clock.now_s += 2
        assert owners.resolve(mine)["comm"].tolist() == [b"renamed"]
    finally:
        end(process)


def test_looks_have_a_period(sock: socket.socket, clock: Clock) -> None:
    owners = OwnerFinder(min_period_s=5, clock=clock)
    owners.resolve(inode(sock))
    with socket.socket() as later:
        both = inode(sock, later)
        clock.now_s += 4.9
        assert (pids(owners, both), owners.is_fresh) == ([os.getpid(), 0], False)
        clock.now_s += 0.1
        assert (pids(owners, both), owners.is_fresh) == ([os.getpid()] * 2, True)


def test_who_has_ended_between_two_looks_has_nothing(sock: socket.socket, clock: Clock) -> None:
    process = child("", sock)
    mine = inode(sock)
    sock.close()
    owners = OwnerFinder(min_period_s=5, clock=clock)
    assert pids(owners, mine) == [process.pid]
    end(process)
    assert pids(owners, mine) == [0]


def test_a_number_that_somebody_else_has_now_is_nobodys() -> None:
    me, start = os.getpid(), module.start_of(os.getpid())
    asked = np.array([me, me, 2**31 - 1], "u4")
    assert module.ended_processes(asked[:1], np.array([start], "u4")).tolist() == []
    assert module.ended_processes(asked[:1], np.array([0], "u4")).tolist() == []
    assert module.ended_processes(asked[1:], np.array([start - 1, 5], "u4")).tolist() == [me, 2**31 - 1]


def test_a_slow_look_makes_the_next_one_wait(clock: Clock) -> None:
    looked: list[float] = []

    def slow() -> Iterator[np.ndarray]:
        looked.append(clock.now_s)
        clock.now_s += 3
        return iter([])

    owners = OwnerFinder(slow, clock=clock)
    for new in range(1, 240):
        owners.resolve(np.array([new]))
        clock.now_s += 1
    assert np.diff(looked).tolist() == [60.0] * (len(looked) - 1)
    assert len(looked) > 2


def test_what_is_not_asked_for_is_forgotten(clock: Clock) -> None:
    owners = OwnerFinder(clock=clock)
    for start in range(0, 5000, 1000):
        owners.resolve(np.arange(start, start + 1000))
        assert len(owners.holders.inodes) <= 1000
        clock.now_s += 100
    assert owners.resolve(np.zeros(0, "u4")).shape == (0,)
    assert not len(owners.holders.inodes)


def test_without_root_others_are_skipped(sock: socket.socket) -> None:
    """A user's scan passes over root's processes and still finds its own socket."""
    if os.geteuid() != 0:
        pytest.skip("root's sockets are what must not be readable")
    code = """
        import socket
        import numpy as np
        from tcptop_tui.host.socket_owners import OwnerFinder
        os.setgid(65534); os.setuid(65534)
        os.close(int(sys.argv[1]))
        own = socket.socket()
        asked = np.array([int(os.environ["THEIRS"]), os.fstat(own.fileno()).st_ino])
        pid = OwnerFinder().resolve(asked)["pid"].tolist()
        assert pid == [0, os.getpid()], pid
    """
    process = child(code, sock, env=os.environ | {"THEIRS": str(inode(sock)[0])})
    end(process)
    assert process.returncode == 0


def test_process_1_has_only_what_nobody_else_has() -> None:
    code = """
import os, socket, sys
import numpy as np
from tcptop_tui.host.socket_owners import OwnerFinder
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
print(OwnerFinder().resolve(asked)["pid"].tolist() == [child, 1])
"""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "True\n", done.stderr
