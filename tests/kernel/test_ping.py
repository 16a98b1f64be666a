"""Echo requests that the test sends itself are answered in somebody's time, each exactly once."""

from __future__ import annotations

import csv
import ctypes as ct
import os
import socket
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf.packets import PingSource
from tcptop_tui.host import c_functions
from tcptop_tui.host.c_functions import Signature
from tcptop_tui.records import PING, Rows
from tcptop_tui.row_copy import concat
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Loss, Pings
from tests.support.echo_requests import ECHO_ID, internet_checksum, send_echo_request
from tests.support.samples import words
from tests.support.trace_process import Stream

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("bpf_possible")]

SMALL = Settings(poll_s=0.02)


class Collected:
    """What a source offered."""

    def __init__(self) -> None:
        self.rows: Rows = np.zeros(0, PING)
        self.lost = self.said_lost = 0

    def offer(self, batch: Batch) -> bool:
        if isinstance(batch, Pings):
            self.rows = concat(PING, self.rows, batch.rows)
            self.said_lost = batch.lost
        if isinstance(batch, Loss):
            self.lost = batch.ring_full
        return True


def traced(source: PingSource, *hosts: str) -> Collected:
    """Ask each of ``hosts`` while ``source`` is attached."""
    sink = Collected()
    source.open()
    for seq, host in enumerate(hosts):
        send_echo_request(host, seq)
    source.run(sink, lambda _: True)
    source.close()
    return sink


def test_each_once_with_what_was_sent() -> None:
    rows = traced(PingSource(SMALL), "127.0.0.1", "::1", "127.0.0.1").rows
    rows = rows[rows["id"] == ECHO_ID]
    assert rows["seq"].tolist() == [0, 1, 2]
    assert [tuple(one) for one in rows["saddr"].tolist()] == [words("127.0.0.1"), words("::1"), words("127.0.0.1")]
    assert set(rows["netns"].tolist()) == {Path("/proc/self/ns/net").stat().st_ino}
    assert rows["cpu"].max() < (os.cpu_count() or 1)
    # on the loopback the softirq runs when the sender's own call is over
    assert set(rows["tgid"].tolist()) <= {os.getpid(), 0, *ksoftirqds()}
    assert all(rows["comm"])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_pings_that_look_the_same_are_all_there(host: str) -> None:
    source, sink = PingSource(SMALL), Collected()
    source.open()
    for _ in range(50):
        send_echo_request(host, 7)
    source.run(sink, lambda _: True)
    source.close()
    assert sink.rows[sink.rows["id"] == ECHO_ID]["seq"].tolist() == [7] * 50


def test_a_reply_of_a_raw_socket_answers_nobody() -> None:
    source, sink = PingSource(SMALL), Collected()
    source.open()
    blank = struct.pack("!BBHHH", 0, 0, 0, ECHO_ID, 9)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(blank[:2] + struct.pack("!H", internet_checksum(blank)) + blank[4:], ("127.0.0.1", 0))
    send_echo_request("127.0.0.1", 10)
    source.run(sink, lambda _: True)
    source.close()
    assert sink.rows[sink.rows["id"] == ECHO_ID]["seq"].tolist() == [10]


def ksoftirqds() -> set[int]:
    return {
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and (folder / "comm").read_text().startswith("ksoftirqd")
    }


def test_filters_by_process_and_cpu() -> None:
    assert not len(traced(PingSource(SMALL, pid=1), "127.0.0.1").rows)
    assert not len(traced(PingSource(SMALL, cpu=4095), "127.0.0.1").rows)
    both = [traced(PingSource(SMALL, cpu=cpu), "127.0.0.1").rows for cpu in range(os.cpu_count() or 1)]
    assert {int(cpu) for rows in both for cpu in rows["cpu"]} <= set(range(len(both)))


def test_a_full_ring_is_counted_to_the_unit() -> None:
    room = 2**20 // (8 + PING.itemsize)
    sink = Collected()
    source = PingSource(SMALL)
    source.open()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sent = room + 500
        blank = struct.pack("!BBHHH", 8, 0, 0, ECHO_ID, 0)
        for seq in range(sent):
            packet = blank[:6] + struct.pack("!H", seq & 0xFFFF)
            raw.sendto(packet[:2] + struct.pack("!H", internet_checksum(packet)) + packet[4:], ("127.0.0.1", 0))
    send_echo_request("127.0.0.1", 65_000)  # the last answer is out
    source.run(sink, lambda _: True)
    source.close()
    assert len(sink.rows) + sink.lost == sent + 1
    assert sink.lost == sink.said_lost > 0


@pytest.fixture
def routed():
    """Three namespaces in a row: a – r – b; r forwards."""
    names = [f"tcptop-test-{letter}" for letter in "arb"]
    commands = [f"netns add {name}" for name in names]
    for here, there, net in ((names[0], names[1], "10.77.1"), (names[2], names[1], "10.77.2")):
        end = net[-1]
        commands += [
            f"-n {here} link add v{end} type veth peer name w{end} netns {there}",
            f"-n {here} addr add {net}.1/24 dev v{end}",
            f"-n {there} addr add {net}.2/24 dev w{end}",
            f"-n {here} link set v{end} up",
            f"-n {there} link set w{end} up",
            f"-n {here} route add default via {net}.2",
        ]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    subprocess.run(["ip", "netns", "exec", names[1], "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], check=True)
    yield names
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_forwarded_request_is_answered_once(routed: list[str]) -> None:
    asker, _, answerer = routed
    source, sink = PingSource(SMALL), Collected()
    source.open()
    child = os.fork()
    if not child:
        with Path(f"/run/netns/{asker}").open() as namespace:
            c_functions.load_library(None, {"setns": Signature(ct.c_int, (ct.c_int, ct.c_int))}).setns(
                namespace.fileno(), 0
            )
        send_echo_request("10.77.2.1", 3)
        os._exit(0)
    os.waitpid(child, 0)
    source.run(sink, lambda _: True)
    source.close()
    (row,) = sink.rows[sink.rows["id"] == ECHO_ID]
    netns = int(Path(f"/run/netns/{answerer}").stat().st_ino)
    assert (int(row["seq"]), int(row["netns"]), tuple(row["saddr"].tolist())) == (3, netns, words("10.77.1.1"))


def test_stream_has_every_column() -> None:
    stream = Stream("ping", "-s", "-w")
    assert stream.process.stdout is not None
    header = stream.process.stdout.readline().decode().strip()
    send_echo_request("::1", 77)
    send_echo_request("127.0.0.1", 78)
    assert stream.end() == 0
    assert header == "TIME,CPU,TGID,PID,COMM,SADDR,ID,SEQ,DADDR,NETNS"
    rows = [row for row in csv.reader(stream.lines) if row[6] == str(ECHO_ID)]
    assert [(row[5], row[7], row[8]) for row in rows] == [("::1", "77", "::1"), ("127.0.0.1", "78", "127.0.0.1")]


@pytest.mark.parametrize(
    "options", [["--filter", "x"], ["--cgroup", "/x"], ["--backend", "diag"], ["-p", "1", "-p", "2"], ["--replay", "x"]]
)
def test_what_has_no_meaning_here_is_refused(options: list[str]) -> None:
    stream = Stream("ping", *options)
    assert stream.wait() == 2
    assert stream.said.startswith("tcptop-tui: trace ping")
