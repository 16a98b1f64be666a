"""Whose a row is, and who did what a line says: by what real processes do with real sockets."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import socket
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.records import CloseFlag, Flag, HolderLookup, Rows, State
from tcptop_tui.stream.batches import Capture
from tests.support.running_source import Running
from tests.support.scripted_process import ACCEPTS, HANDED_ON, scripted_process
from tests.support.sockets import listening, port, until_closed
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

SETTINGS = dataclasses.replace(SMALL, refresh_s=0.05, reconcile_s=0.2, ring_bytes=8 * 2**20)


@pytest.fixture(scope="module")
def bpf(bpf_possible: None) -> Iterator[Running]:
    running = Running(BpfSource(SETTINGS, Capture()), SETTINGS)
    running.until(lambda: bool(running.store.snapshot().now_ns))
    yield running
    running.close()


@pytest.fixture(params=["bpf", "diag"])
def feed(request: pytest.FixtureRequest, bpf: Running) -> Iterator[Running]:
    """Both backends: whose a row is now both can tell."""
    if request.param == "bpf":
        yield bpf
        return
    running = Running(DiagSource(SETTINGS, Capture()), SETTINGS)
    running.until(lambda: bool(running.store.snapshot().now_ns))
    yield running
    running.close()


def owners(rows: Rows) -> list[tuple[int, bytes]]:
    return [(int(row["pid"]), bytes(row["comm"])) for row in rows]


def named(pid: int) -> tuple[int, bytes]:
    return pid, Path(f"/proc/{pid}/comm").read_bytes()[:-1]


def until_owner(feed: Running, pid: int, lport: int, rport: int = 0) -> None:
    feed.until(lambda: owners(feed.rows(lport, rport)) == [named(pid)])


def ended(feed: Running, lport: int, rport: int | None = None) -> Rows:
    rows = feed.store.snapshot().ended_rows
    return rows[(rows["lport"] == lport) & ((rows["rport"] == rport) | (rport is None))]


DAEMON = """
first = listen() if {listens} else call({port})
if os.fork(): os._exit(0)
rename("the-daemon")
say(first.getsockname()[1], os.getpid()); wait()
"""


@pytest.mark.parametrize("listens", [True, False], ids=["listen", "connect"])
def test_a_daemon_that_forks_after_it_has_opened(feed: Running, listens: bool) -> None:
    with (
        listening() as server,
        scripted_process(DAEMON.format(listens=listens, port=port(server))) as actor,
    ):
        lport, pid = actor.numbers()
        until_owner(feed, pid, lport, 0 if listens else port(server))
        assert owners(feed.rows(lport))[0] == (pid, b"the-daemon")
        actor.go_on()


def test_a_connection_that_is_passed_on_and_lies_idle(feed: Running) -> None:
    """Nothing is read and nothing sent after that: nothing but a look at the descriptors can tell."""
    with scripted_process(HANDED_ON) as actor:
        (there,) = actor.numbers()
        with socket.create_connection(("127.0.0.1", there)) as client:
            client.sendall(b"first")
            master, worker = actor.numbers()
            until_owner(feed, master, there, port(client))
            actor.go_on()
            actor.numbers()
            until_owner(feed, worker, there, port(client))
            actor.go_on()
            actor.end()


FORKED = """
server = listen(); say(server.getsockname()[1])
accepted = server.accept()[0]; accepted.recv(5)
if not (child := os.fork()):
    rename("the-child"); server.close(); signal.pause()
say(os.getpid(), child); wait()
accepted.close(); say(0); wait(); os.kill(child, 9)
"""


def test_who_has_read_last_comes_first_of_several(feed: Running) -> None:
    with scripted_process(FORKED) as actor:
        (there,) = actor.numbers()
        with socket.create_connection(("127.0.0.1", there)) as client:
            client.sendall(b"first")
            parent, child = actor.numbers()
            ends = there, port(client)
            feed.until(lambda: feed.rows(*ends)["holders"].tolist() == [2])
            (row,) = feed.rows(*ends)
            assert (int(row["pid"]), int(row["holder_lookup"])) == (parent, HolderLookup.DONE)
            holders = feed.store.snapshot().holders
            mine = holders[holders["id"] == row["id"]]
            assert owners(mine) == sorted([named(parent), named(child)])
            actor.go_on()
            actor.numbers()
            until_owner(feed, child, *ends)
            assert feed.rows(*ends)["holders"].tolist() == [1]
            actor.go_on()
            actor.end()


THREADS = """
def thread():
    rename("a-thread"); global accepted
    accepted = server.accept()[0]; accepted.recv(1); say(os.getpid()); signal.pause()
rename("the-process"); server = listen(); say(server.getsockname()[1])
threading.Thread(target=thread, daemon=True).start()
wait(); rename("later-name"); say(0); wait(); os.set_inheritable(accepted.fileno(), True)
os.execvp("sleep", ["sleep", "60"])
"""


def test_the_name_is_the_processs_as_it_is_now(feed: Running) -> None:
    with scripted_process(THREADS) as actor:
        (there,) = actor.numbers()
        with socket.create_connection(("127.0.0.1", there)) as client:
            client.sendall(b"x")
            (pid,) = actor.numbers()
            ends = there, port(client)
            feed.until(lambda: owners(feed.rows(*ends)) == [(pid, b"the-process")])
            actor.go_on()
            actor.numbers()
            feed.until(lambda: owners(feed.rows(*ends)) == [(pid, b"later-name")])
            actor.go_on()
            feed.until(lambda: owners(feed.rows(*ends)) == [(pid, b"sleep")])


def test_a_bound_socket_has_an_owner(feed: Running) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        until_owner(feed, os.getpid(), port(bound))


def reuseport(host: str = "127.0.0.1", number: int = 0) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, number))
    made.listen()
    return made


def test_who_accepted_and_closed_without_a_word_is_the_one_who_closed(bpf: Running) -> None:
    """Each of two processes has a listener of its own on one address (SO_REUSEPORT), and one inherited each."""
    with reuseport() as first, reuseport(number=port(first)) as second, ExitStack() as stack:
        workers = [stack.enter_context(scripted_process(ACCEPTS, one)) for one in (first, second)]
        for worker in workers:
            worker.numbers()
        there, seen = port(first), set()
        while len(seen) < 2:
            with socket.create_connection(("127.0.0.1", there)) as client:
                ready = select_listener(first, second)
                workers[ready].go_on()
                workers[ready].numbers()
                until_closed(client)
                ends = there, port(client)
            bpf.until(lambda ends=ends: len(ended(bpf, *ends)) == 1)
            assert ended(bpf, *ends)["pid"].tolist() == [workers[ready].pid]
            seen.add(ready)


def select_listener(*listeners: socket.socket) -> int:
    """Which of them has a connection waiting."""
    (ready,) = select.select(listeners, [], [], 10)[0]
    return listeners.index(ready)


def test_nobody_has_accepted_and_several_may(bpf: Running) -> None:
    """Until then a connection is its listener's process's; and nobody's, where two processes have the listener."""
    with listening() as server:
        there = port(server)
        with socket.create_connection(server.getsockname()) as client:
            until_owner(bpf, os.getpid(), there, port(client))
        with scripted_process(ACCEPTS, server) as worker:
            worker.numbers()
            # before a survey has counted them, and after
            for counted in (False, True):
                if counted:
                    bpf.until(lambda: bpf.rows(there, 0)["holders"].tolist() == [2])
                with socket.create_connection(server.getsockname()) as client:
                    ends = there, port(client)
                    bpf.until(lambda ends=ends: bpf.rows(*ends)["pid"].tolist() == [0])
            worker.end()


def test_the_listener_of_the_address(bpf: Running) -> None:
    """Two processes listen on one port, at an address each; the last one closes, and neither is the other's."""
    with scripted_process('server = listen("127.0.0.1"); say(server.getsockname()[1])\nwait()') as here:
        (there,) = here.numbers()
        code = f'server = listen("127.0.0.2", {there}); say(0); wait(); server.close(); say(0); wait()'
        with scripted_process(code) as other:
            other.numbers()
            for host, actor in (("127.0.0.1", here), ("127.0.0.2", other)):
                with socket.create_connection((host, there)) as client:
                    ends = there, port(client)
                    bpf.until(lambda ends=ends, actor=actor: owners(bpf.rows(*ends)) == [named(actor.pid)])
            other.go_on()
            other.numbers()
            with socket.create_connection(("127.0.0.1", there)) as client:
                ends = there, port(client)
                bpf.until(lambda: owners(bpf.rows(*ends)) == [named(here.pid)])


def test_the_user_is_who_accepts_and_then_who_it_is_given_to(bpf: Running) -> None:
    code = """
    server = listen(); say(server.getsockname()[1]); os.setuid(65534)
    accepted = server.accept()[0]; accepted.recv(1); say(0); wait(); accepted.close(); say(0); wait()
    """
    with scripted_process(code) as actor:
        (there,) = actor.numbers()
        with socket.create_connection(("127.0.0.1", there)) as client:
            os.fchown(client.fileno(), 4321, -1)
            client.sendall(b"x")
            actor.numbers()
            ends = there, port(client)
            bpf.until(lambda: bpf.rows(*ends)["uid"].tolist() == [65534])
            bpf.until(lambda: bpf.rows(*ends[::-1])["uid"].tolist() == [4321])
            os.fchown(client.fileno(), 4322, -1)  # and nothing moves
            bpf.until(lambda: bpf.rows(*ends[::-1])["uid"].tolist() == [4322])
            actor.go_on()
            actor.numbers()
            until_closed(client)
        bpf.until(lambda: len(ended(bpf, *ends)) == 1)
        assert ended(bpf, *ends)["uid"].tolist() == [65534]


SOCKMAP = """
def bpf(command, attr):
    room = ctypes.create_string_buffer(attr.ljust(144, b"\\0"), 144)
    made = libc.syscall(321, command, room, 144)
    if made < 0: raise OSError(ctypes.get_errno(), "bpf")
    return made
def load(code):
    text, license = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(4096)
    given = 14, len(code) // 8, ctypes.addressof(text), ctypes.addressof(license), 1, 4096, ctypes.addressof(log)
    return bpf(5, struct.pack("IIQQIIQ", *given))
sockets = bpf(0, struct.pack("IIII", 15, 4, 4, 8))
leave = bytes([0x95] + [0] * 7)
parser, verdict = load(bytes([0x61, 0x10] + [0] * 6) + leave), load(bytes([0xB7, 0, 0, 0, 1, 0, 0, 0]) + leave)
bpf(8, struct.pack("IIII", sockets, parser, 4, 0)); bpf(8, struct.pack("IIII", sockets, verdict, 5, 0))
server = listen(); say(server.getsockname()[1]); accepted = server.accept()[0]
key, value = (ctypes.create_string_buffer(struct.pack("I", number)) for number in (0, accepted.fileno()))
bpf(2, struct.pack("IIQQQ", sockets, 0, ctypes.addressof(key), ctypes.addressof(value), 0)); say(os.getpid()); wait()
accepted.recv(100); say(0); wait()
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of bpf(2)")
def test_softirq_sees_nobody(bpf: Running) -> None:
    """A socket in a sockmap with a parser is read in softirq, while the one that sends is on the CPU."""
    with scripted_process(SOCKMAP) as actor:
        (there,) = actor.numbers()
        with socket.create_connection(("127.0.0.1", there)) as client:
            (pid,) = actor.numbers()
            client.sendall(b"abcdef")
            actor.go_on()
            actor.numbers()
            client.close()
            bpf.until(lambda: bool(len(bpf.rows(there))))
            log = bpf.store.snapshot().log
            log = log[(log["lport"] == there) & (log["flags"] & Flag.PASSIVE != 0)]
            assert set(log["pid"].tolist()) <= {0, pid}


def test_what_ss_closes_is_not_its(bpf: Running) -> None:
    """SOCK_DESTROY closes in the context of whoever asks for it."""
    with listening() as server, socket.create_connection(server.getsockname()) as client, server.accept()[0]:
        ends = port(client), port(server)
        done = subprocess.run(
            ["ss", "-K", "-t", f"sport = :{ends[0]}", f"dport = :{ends[1]}"], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("ss cannot close sockets here")
        bpf.until(lambda: len(ended(bpf, *ends)) == 1)
        assert ended(bpf, *ends)["pid"].tolist() == [os.getpid()]
        assert not ended(bpf, *ends)["close_flags"][0] & CloseFlag.FIN_SENT


def test_each_line_says_who_did_it(bpf: Running) -> None:
    """The parent reads, the child closes: the last line is the child's, and so is the end."""
    code = """
    server = listen(); say(server.getsockname()[1])
    accepted = server.accept()[0]; accepted.recv(1)
    if not (child := os.fork()):
        rename("the-closer"); server.close(); signal.sigwait([signal.SIGUSR1]); accepted.close(); say(0); signal.pause()
    accepted.close(); say(os.getpid(), child); wait(); os.kill(child, 9)
    """
    with scripted_process(
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n" + textwrap.dedent(code)
    ) as actor:
        (there,) = actor.numbers()
        with socket.create_connection(("127.0.0.1", there)) as client:
            client.sendall(b"x")
            _, child = actor.numbers()
            ends = there, port(client)
            os.kill(child, signal.SIGUSR1)
            actor.numbers()
            until_closed(client)
        bpf.until(lambda: len(ended(bpf, *ends)) == 1)
        assert owners(ended(bpf, *ends)) == [(child, b"the-closer")]
        log = bpf.store.snapshot().log
        (line,) = log[(log["lport"] == there) & (log["newstate"] == State.FIN_WAIT1)]
        assert (int(line["pid"]), bytes(line["comm"])) == (child, b"the-closer")
        actor.go_on()
