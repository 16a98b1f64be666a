"""RTT histograms against the kernel's own trace of the same segments."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.records import RTT_SLOTS
from tests.support.samples import entries_of
from tests.support.sockets import listening, pair, port

pytestmark = pytest.mark.host


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """An instance of the kernel's own tracing, with tcp:tcp_probe switched on."""
    root = tmp_path / "tracefs"
    root.mkdir()
    if subprocess.run(["mount", "-t", "tracefs", "none", str(root)], check=False, capture_output=True).returncode:
        pytest.skip("tracefs cannot be mounted")
    instance = root / "instances" / "tcptop-test"
    try:
        instance.mkdir()
        (instance / "buffer_size_kb").write_text("8192")
        (instance / "events/tcp/tcp_probe/enable").write_text("1")
        yield instance
        (instance / "events/tcp/tcp_probe/enable").write_text("0")
    finally:
        if instance.exists():
            instance.rmdir()
        subprocess.run(["umount", str(root)], check=False)


def slot_of(srtt_us: int) -> int:
    return min(max(0, srtt_us.bit_length() - 1), RTT_SLOTS - 1)


def test_histograms_equal_the_kernels_own_trace(tracer: Program, trace: Path) -> None:
    with listening() as server:
        ends = [sock for _ in range(5) for sock in pair(server)]
        for round_trip in range(200):
            for sender, receiver in zip(ends[::2], ends[1::2], strict=True):
                sender.sendall(b"x" * (1 + round_trip))
                receiver.recv(1 + round_trip)
                receiver.sendall(b"y")
                sender.recv(1)
        (trace / "tracing_on").write_text("0")
        keys, conns = entries_of(tracer)
        ours = {(int(row["lport"]), int(row["rport"])): row for row in conns}
        expected: dict[tuple[int, int], Counter[int]] = {}
        sums: Counter[tuple[int, int]] = Counter()
        for line in (trace / "trace").read_text().splitlines():
            found = re.search(r"src=[^ ]*:(\d+) dest=[^ ]*:(\d+) .*srtt=(\d+)", line)
            if found:
                remote, local, srtt = (int(number) for number in found.groups())
                if (local, remote) not in ours:  # older kernels name the ends the other way round
                    local, remote = remote, local
                expected.setdefault((local, remote), Counter())[slot_of(srtt)] += 1
                sums[local, remote] += srtt
        pairs = {(port(sock), sock.getpeername()[1]) for sock in ends}
        assert len(keys) >= len(pairs)
        both_ways = 0
        for ends_of in pairs:
            hist = {slot: int(count) for slot, count in enumerate(ours[ends_of]["rtt_hist"]) if count}
            swapped = (ends_of[1], ends_of[0])
            candidates = [dict(expected.get(key, {})) for key in (ends_of, swapped)]
            assert hist in candidates
            key = (ends_of, swapped)[candidates.index(hist)]
            assert ours[ends_of]["rtt_sum_us"] == sums[key]
            both_ways += sum(hist.values())
        assert both_ways == sum(sum(counter.values()) for key, counter in expected.items() if key in pairs)
        assert np.sum(conns["rtt_hist"]) >= both_ways
        for sock in ends:
            sock.close()
