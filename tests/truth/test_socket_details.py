"""The details of sockets are what ``ss -tin`` says of them, on either backend, and are read only while wanted."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.fields import FIELDS
from tcptop_tui.filters import parse
from tcptop_tui.stream.batches import Capture
from tests.support.links import Side, server, two_links
from tests.support.other_tools import require
from tests.support.running_source import Running
from tests.support.sockets import port
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

SETTINGS = replace(SMALL, refresh_s=0.05, reconcile_s=0.2)
DETAILS = [field for field in FIELDS if field.detail and field.key != "details_age"]


@pytest.fixture(scope="module")
def links() -> Iterator[tuple[Side, Side]]:
    require("ss")
    with two_links("details") as sides:
        yield sides


@pytest.fixture
def talk(links: tuple[Side, Side]) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client that has sent more than its peer has read, and got answers."""
    near, far = links
    with server(far, 0, "vb0", socket.AF_INET) as listener, near.make(socket.socket) as client:
        client.settimeout(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"va0")
        client.connect(("10.9.0.2", port(listener)))
        with listener.accept()[0] as peer:
            for _ in range(20):
                client.sendall(b"a" * 30_000)  # a window and more: the receiver measures, too
                peer.recv(30_000, socket.MSG_WAITALL)
                peer.sendall(b"b" * 3000)
                client.recv(3000, socket.MSG_WAITALL)
            client.sendall(b"c" * 5000)
            yield client, peer


@pytest.fixture(params=["diag", "bpf"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    if request.param == "bpf":
        request.getfixturevalue("bpf_possible")
    kind = {"diag": DiagSource, "bpf": BpfSource}[request.param]
    source = kind(SETTINGS, Capture())
    source.want_details(wanted=True)
    at_work = Running(source, SETTINGS)
    at_work.source = source
    yield at_work
    at_work.close()


def ss(side: Side, lport: int) -> dict[str, Any]:
    """What ``ss`` says of the connection with this local port, by the names of fields; None: nothing."""
    done = subprocess.run(
        ["ip", "netns", "exec", side.name, "ss", "-tinHO", f"sport = :{lport}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = done.stdout
    words, told = line.split(), dict(re.findall(r"(\w+):(\S+)", line))

    def us(name: str) -> int | None:
        return round(float(told[name]) * 1000) if name in told else None

    def rate(name: str) -> int | None:
        found = re.search(rf"{name} (\d+)bps", line)
        return int(found[1]) // 8 if found else None

    return {
        "cwnd": int(told["cwnd"]), "min_rtt": us("minrtt"), "delivery_rate": rate("delivery_rate"),
        "pacing_rate": rate("pacing_rate"), "congestion": words[5], "rcv_rtt": us("rcv_rtt"),
        "rx_queue": int(words[1]), "tx_queue": int(words[2]), "unacked": int(told.get("unacked", "0")),
        "lost": int(re.search(r"\blost:(\d+)", line)[1]) if "lost:" in line else 0,
        "reordering": int(told.get("reordering", "3")),
    }  # fmt: skip


def ours(running: Running, side: Side, lport: int) -> dict[str, Any]:
    subject = running.store.snapshot().row_context
    rows = subject.rows
    mine = np.flatnonzero((rows["lport"] == lport) & (rows["netns"] == side.inode) & (rows["rport"] != 0))[:1]
    return {field.key: value for field in DETAILS for value in field.values(subject.select(mine))}


def test_every_detail_is_what_ss_says(
    links: tuple[Side, Side], talk: tuple[socket.socket, socket.socket], running: Running
) -> None:
    for side, sock in zip(links, talk, strict=True):
        lport = port(sock)
        running.until(lambda side=side, lport=lport: ours(running, side, lport) == ss(side, lport))
    known = ours(running, links[0], port(talk[0]))
    assert known["cwnd"] > 0
    assert known["congestion"]
    assert known["min_rtt"] > 0
    assert known["delivery_rate"] > 0
    peers = ours(running, links[1], port(talk[1]))
    assert peers["rx_queue"] == 5000
    assert peers["rcv_rtt"] > 0


def test_segments_in_flight_and_lost(
    links: tuple[Side, Side], talk: tuple[socket.socket, socket.socket], running: Running
) -> None:
    near, far = links
    far.run("ip", "link", "set", "vb0", "down")
    try:
        talk[0].sendall(b"d" * 20_000)
        lport = port(talk[0])

        def lost() -> bool:
            mine = ours(running, near, lport)
            return bool(mine and mine["unacked"] and mine["lost"] and mine["tx_queue"] == 20_000) and mine == ss(
                near, lport
            )

        running.until(lost)
        facts = running.store.snapshot()
        chosen = facts.rows[
            parse(f"lport:{lport} unacked>0 lost>0 tx_queue:20000 cwnd<1000").matches(facts.row_context)
        ]
        assert len(chosen) == 1
    finally:
        far.run("ip", "link", "set", "vb0", "up")


@pytest.mark.parametrize("backend", ["diag", "bpf"])
def test_snapshots_have_every_detail(
    backend: str, links: tuple[Side, Side], talk: tuple[socket.socket, socket.socket], request: pytest.FixtureRequest
) -> None:
    if backend == "bpf":
        request.getfixturevalue("bpf_possible")
    lport = port(talk[1])
    done = subprocess.run(
        [sys.executable, "-m", "tcptop_tui", "snapshot", "--backend", backend, "--after", "0.3", "--output", "-",
         "--format", "json", "--filter", f"lport:{lport} cwnd>0 rx_queue:5000"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    (row,) = json.loads(done.stdout)["connections"]
    told = ss(links[1], lport)
    assert {field.key: row[field.json] for field in DETAILS} == told
    assert 0 <= row["details_age_s"] < 60


def test_nobody_pays_who_does_not_want_them(
    links: tuple[Side, Side], talk: tuple[socket.socket, socket.socket], running: Running
) -> None:
    running.until(lambda: bool(ours(running, links[0], port(talk[0])).get("cwnd")))
    running.source.want_details(wanted=False)
    running.until(lambda: not len(running.store.snapshot().details))
    assert set(ours(running, links[0], port(talk[0])).values()) == {None}
