"""``trace rtt`` as a process: the histograms against the kernel's own events, as another tool counts them."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest

from tcptop_tui.bpf.load.bcc_library import load_bcc
from tcptop_tui.export.log2_text import log2_lines
from tcptop_tui.records import RTT_SLOTS
from tests.support.other_tools import Peer, bpftrace
from tests.support.trace_process import Call, calling, streaming

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("bpf_possible")]

PROBE = 'tracepoint:tcp:tcp_probe { printf("%d,%d,%d\\n", args->sport, args->dport, args->srtt); }'


def sampled(peer: Peer) -> list[tuple[int, int, int]]:
    """Ports and smoothed time of every segment, µs."""
    return [tuple(map(int, line)) for line in peer.end() if line[0].isdigit()]


def histogram(times: list[int]) -> dict[tuple[int, int], int]:
    """Whole numbers by powers of two, [0, 1] first; those that count something."""
    counts: dict[tuple[int, int], int] = {}
    for value in times:
        bits = max(1, value.bit_length())
        bucket = (0 if bits == 1 else 1 << (bits - 1), (1 << bits) - 1)
        counts[bucket] = counts.get(bucket, 0) + 1
    return counts


def buckets(document: dict) -> dict[tuple[int, int], int]:
    return {(bucket["low"], bucket["high"]): bucket["count"] for bucket in document["buckets"] if bucket["count"]}


def busy(call: Call, rounds: int = 20) -> None:
    for number in range(rounds):
        call.exchange(100 + number, 3000)


def test_histogram_agrees_with_bpftrace_on_the_same_segments() -> None:
    with bpftrace(PROBE) as peer, streaming("rtt", "-e") as text:
        with calling() as call, streaming("rtt", "-s", "-p", str(call.client_port)) as csv:
            busy(call)
            call.close()
            lines = sampled(peer)
            csv.end()
        text.end()
    times = [srtt for sport, dport, srtt in lines if (sport, dport) == (call.client_port, call.server_port)]
    counted = {(int(low), int(high)): int(count) for *_, low, high, count in (line.split(",") for line in csv.lines)}
    assert counted == histogram(times)
    assert len(times) > 20


def test_json_has_the_exact_average() -> None:
    with bpftrace(PROBE) as peer, streaming("rtt", "--json", "-B", "-i", "0.2") as stream:
        with calling("127.0.0.77") as call:
            busy(call)
            call.close()
        lines = sampled(peer)
        stream.end()
    times = [srtt for sport, dport, srtt in lines if (sport, dport) == (call.client_port, call.server_port)]
    documents = [document for document in stream.objects() if document["key"] == "127.0.0.77"]
    for document in documents:
        assert document.keys() == {"time", "key", "unit", "count", "avg", "buckets"}
        assert document["unit"] == "us"
        assert document["count"] == sum(buckets(document).values())
    assert sum(document["count"] for document in documents) == len(times)
    assert sum(document["avg"] * document["count"] for document in documents) == pytest.approx(sum(times))


def test_milliseconds_are_counted_in_the_kernel() -> None:
    with bpftrace(PROBE) as peer, calling() as call, streaming("rtt", "-sm", "-p", str(call.client_port)) as stream:
        busy(call, 3)
        call.close()
        lines = sampled(peer)
        stream.end()
    times = [srtt // 1000 for sport, dport, srtt in lines if sport == call.client_port]
    counted = {(int(low), int(high)): int(count) for *_, low, high, count in (line.split(",") for line in stream.lines)}
    assert {line.split(",")[2] for line in stream.lines} == {"ms"}
    assert counted == histogram(times[-sum(counted.values()) :])


@pytest.fixture
def namespace():
    """A network namespace whose loopback has two addresses of each family."""
    name = "tcptop-test-rtt"
    subprocess.run(["ip", "netns", "add", name], check=True)
    for command in ("link set lo up", "addr add fd77::1/128 dev lo", "addr add 127.0.0.77/32 dev lo"):
        subprocess.run(["ip", "-n", name, *command.split()], check=True)
    yield ("ip", "netns", "exec", name)
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.parametrize("by", ["-b", "-B"])
def test_every_address_has_its_own_histogram(namespace: tuple[str, ...], by: str) -> None:
    hosts = ("::1", "fd77::1", "127.0.0.1", "127.0.0.77")
    with streaming("rtt", "-s", by, "-e", "--duration", "60") as stream:
        for host in hosts:
            with calling(host, inside=namespace) as call:
                busy(call, 3)
                call.close()
        stream.end()
    keys = {line.split(",")[1] for line in stream.lines}
    assert keys >= set(hosts)
    for key in hosts:
        cells = [line.split(",") for line in stream.lines if line.split(",")[1] == key]
        assert {int(one[7]) for one in cells} == {sum(int(one[5]) for one in cells)}
        assert len({float(one[6]) for one in cells}) == 1


def test_address_filters() -> None:
    with streaming("rtt", "-s", "-B", "-A", "::1", "-a", "::/64") as stream:
        for host in ("::1", "127.0.0.1"):
            with calling(host) as call:
                busy(call, 2)
                call.close()
        stream.end()
    assert {line.split(",")[1] for line in stream.lines} == {"::1"}


def test_text_is_what_bcc_prints() -> None:
    hist = np.zeros(RTT_SLOTS, np.uint64)
    hist[[0, 4, 5, 9]] = [1, 7, 1000, 3]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        sys.modules[load_bcc().__name__ + ".table"]._print_log2_hist([0, *map(int, hist)], "usecs", False)
    assert list(log2_lines(hist.tolist(), "usecs")) == shown.getvalue().splitlines()


def test_titles_and_averages_in_text() -> None:
    with streaming("rtt", "-e", "-B", "-T", "-i", "0.5") as stream:
        with calling("::1") as call:
            busy(call, 5)
            call.close()
        stream.end()
    assert stream.header.startswith(b"Tracing TCP RTT")
    title = next(line for line in stream.lines if line.startswith("Remote Address = ::1"))
    average, count = title.partition("[AVG ")[2].rstrip("]").split("] [COUNT ")
    assert int(average) > 0
    assert int(count) > 0
    assert any(line.endswith(": count     distribution") for line in stream.lines)
