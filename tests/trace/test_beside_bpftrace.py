"""The same traffic side by side with bpftrace and ss: their lines and ours must agree."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from tcptop_tui.formats import state_name
from tests.support.other_tools import bpftrace, ss, tcpstates
from tests.support.trace_process import Stream, calling, refused, streaming

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("bpf_possible")]

_TCP = 6
STATES = (
    "tracepoint:sock:inet_sock_set_state { "
    'printf("%lu,%d,%d,%d,%d,%d\\n", args->skaddr, args->protocol, args->sport, args->dport, '
    "args->oldstate, args->newstate); }"
)


Moves = dict[str, list[tuple[str, str]]]


def traffic() -> set[int]:
    """Connections of both families, closed and refused; the ports that they had."""
    ports = set()
    for host in ("127.0.0.1", "::1"):
        with calling(host) as call:
            call.exchange(1000, 1000)
            call.close()
        _, free = refused(host)
        ports |= {call.client_port, call.server_port, free}
    return ports


def ours(stream: Stream, ports: set[int]) -> Moves:
    moves: Moves = defaultdict(list)
    for line in stream.objects():
        if ports & {line["lport"], line["rport"]}:
            moves[line["skaddr"]].append((line["oldstate"], line["newstate"]))
    return moves


def same_moves(found: Moves, theirs: Moves) -> None:
    """They have a buffer for each CPU and print one after the other: their lines may be out of order, ours not."""
    assert theirs
    assert {skaddr: sorted(moves) for skaddr, moves in found.items()} == {
        skaddr: sorted(moves) for skaddr, moves in theirs.items()
    }
    for moves in found.values():
        assert all(after[0] == before[1] or before[1] == "CLOSE" for before, after in pairwise(moves))


def test_states_agree_with_bpftrace() -> None:
    with bpftrace(STATES) as peer, streaming("states", "--json") as stream:
        ports = traffic()
        lines = [[int(word) for word in line] for line in peer.end() if line[0].isdigit()]
        stream.end()
    theirs: Moves = defaultdict(list)
    for skaddr, protocol, sport, dport, old, new in lines:
        if protocol == _TCP and ports & {sport, dport}:
            theirs[f"{skaddr:x}"].append((state_name(old), state_name(new)))
    same_moves(ours(stream, ports), theirs)


def test_states_agree_with_tcpstates(tmp_path: Path) -> None:
    with tcpstates(tmp_path) as peer, streaming("states", "--json") as stream:
        ports = traffic()
        lines = peer.end()
        stream.end()
    theirs: Moves = defaultdict(list)
    for skaddr, _pid, _comm, _ip, _laddr, lport, _raddr, rport, old, new, _ms in lines:
        if ports & {int(lport), int(rport)}:
            theirs[skaddr].append((old, new))
    same_moves(ours(stream, ports), theirs)


def test_bytes_and_round_trip_time_agree_with_ss() -> None:
    with calling() as call:
        call.exchange(70_000, 5_000)
        done = subprocess.run(
            [sys.executable, "-m", "tcptop_tui", "snapshot", "-f", f"lport:{call.client_port}", "--after", "0.6"],
            capture_output=True, check=True,
        )  # fmt: skip
        theirs = ss(call.client_port)
    (ours,) = json.loads(done.stdout)["connections"]
    assert ours["tx_bytes"] == int(theirs["bytes_sent"]) - int(theirs.get("bytes_retrans", 0)) == 70_000
    assert ours["rx_bytes"] == int(theirs["bytes_received"]) == 5_000
    assert ours["srtt_us"] == round(float(theirs["rtt"].split("/")[0]) * 1000)
