"""``trace connect`` as a process: every outcome of connect(), and what it is counted by."""

from __future__ import annotations

import csv
import errno
import os
import platform
import socket
import subprocess
import sys

import pytest

from tests.support.sockets import listening, port
from tests.support.trace_process import Actor, calling, refused, streaming

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("bpf_possible")]

NOBODY = 65534


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_json_name(host: str) -> None:
    with streaming("connect", "--json") as stream:
        with calling(host) as call:
            call.close()
        actor, free = refused(host)
        assert stream.end() == 0
    (good,) = (line for line in stream.objects() if line["rport"] == call.server_port)
    (bad,) = (line for line in stream.objects() if line["rport"] == free)
    assert (good["pid"], good["comm"], good["uid"]) == (call.client_pid, "actor-call", 0)
    assert (good["laddr"], good["lport"], good["raddr"]) == (host, call.client_port, host)
    assert (good["ip"], good["result"], bad["result"]) == (6 if ":" in host else 4, "connected", "refused")
    assert bad["pid"] == actor.facts["pid"]
    for line, facts in ((good, call.connected), (bad, actor.facts)):
        assert 0 < line["ms"] * 1e6 <= facts["ended_ns"] - facts["began_ns"]


def test_every_text_column() -> None:
    with streaming("connect", "-t", "-U", "-L") as stream:
        with calling() as call:
            call.close()
        stream.end()
    titles = stream.header.decode().split()
    assert " ".join(titles) == "TIME(s) UID PID COMM IP SADDR LPORT DADDR DPORT MS RESULT"
    (mine,) = (
        dict(zip(titles, line.split(None, len(titles) - 1), strict=True))
        for line in stream.lines
        if f" {call.server_port} " in line
    )
    assert (mine["UID"], mine["PID"], mine["COMM"], mine["IP"]) == ("0", str(call.client_pid), "actor-call", "4")
    assert (mine["SADDR"], mine["LPORT"], mine["DADDR"]) == ("127.0.0.1", str(call.client_port), "127.0.0.1")
    assert mine["RESULT"] == "connected"


def test_csv_without_and_with_the_local_port() -> None:
    with streaming("connect", "-s") as stream, streaming("connect", "-s", "-L") as with_port:
        with calling() as call:
            call.close()
        stream.end()
        with_port.end()
    assert stream.header.decode().strip() == "PID,COMM,IP,SADDR,DADDR,DPORT"
    assert with_port.header.decode().strip() == "PID,COMM,IP,SADDR,LPORT,DADDR,DPORT"
    (mine,) = (row for row in csv.reader(with_port.lines) if row[6] == str(call.server_port))
    assert mine[4] == str(call.client_port)


@pytest.fixture
def nowhere():
    """A network namespace in which nothing is reachable but its loopback."""
    name = "tcptop-test-nowhere"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "-n", name, "route", "add", "prohibit", "10.98.0.0/16"], check=True)
    yield ("ip", "netns", "exec", name)
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="pt_regs are known for x86-64")
def test_connects_that_fail_before_a_syn(nowhere: tuple[str, ...]) -> None:
    wanted = {"10.1.2.3": "unreachable", "2001:db8::7": "unreachable", "10.98.0.1": "permission denied"}
    with streaming("connect", "-sw") as stream:
        pids = {}
        for host in wanted:
            actor = Actor("call", host, "4242", inside=nowhere)
            actor.process.wait(30)
            assert actor.facts["errno"] in {errno.ENETUNREACH, errno.EACCES}
            pids[host] = str(actor.facts["pid"])
        stream.end()
    mine = [row for row in csv.reader(stream.lines) if row[5] == "4242"]
    assert {row[4]: (row[0], row[1], row[7]) for row in mine} == {
        host: (pids[host], "actor-call", result) for host, result in wanted.items()
    }
    assert len(mine) == len(wanted)  # each once
    assert {row[6] for row in mine} == {""}  # how long it took nobody saw


def test_counts() -> None:
    with listening() as server:
        there = port(server)
        with streaming("connect", "-c", "-P", str(there)) as stream:
            for _ in range(5):
                socket.create_connection(server.getsockname()).close()
                server.accept()[0].close()
            stream.end()
    assert [line.split() for line in stream.lines] == [
        ["LADDR", "RADDR", "RPORT", "CONNECTS", "FAILED"],
        ["127.0.0.1", "127.0.0.1", str(there), "5", "0"],
    ]


def test_user_and_port_filters() -> None:
    with listening() as server, listening() as other:
        here = str(port(server))
        with streaming("connect", "-s", "-U", "-P", here, "-u", str(NOBODY)) as stream:
            for target in (server, other):
                for user in (0, NOBODY):
                    child = os.fork()
                    if not child:
                        os.setuid(user)
                        socket.create_connection(target.getsockname())
                        os._exit(0)
                    os.waitpid(child, 0)
            stream.end()
    rows = list(csv.reader(stream.lines))
    assert [(row[0], row[6]) for row in rows] == [(str(NOBODY), here)]


def test_waiting_ones_are_told_at_the_end() -> None:
    with listening(backlog=0) as server:
        filler = socket.create_connection(server.getsockname())
        with streaming("connect", "-swL", "-P", str(port(server))) as stream:
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            stream.end()
        client.close()
        filler.close()
    (line,) = csv.reader(stream.lines)
    assert (line[0], line[8]) == (str(os.getpid()), "waiting")
    assert float(line[7]) > 0


def test_counts_and_names_exclude_each_other() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tcptop_tui", "trace", "connect", "-c", "-d"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "tcptop-tui: -c and -d exclude each other: leave one out\n"
