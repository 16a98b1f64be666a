"""One connection: its life to scale, its process, and what the kernel knows, against what others say."""

from __future__ import annotations

import io
import os
import re
import resource
import socket
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from rich.style import Style

from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.diag.tcp_info import tcp_info
from tcptop_tui.feed import Feed
from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.host.processes import SocketAnswer, process_facts
from tcptop_tui.host.socket_owners import start_of
from tcptop_tui.records import HOLDING, ROW, UNKNOWN_NS, State
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture, EndedConnections, Table
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.details.text import facts_table
from tcptop_tui.widgets.details.timeline import state_spans, timeline
from tests.support.dashboard import dashboard, until_painted
from tests.support.namespaces import inside
from tests.support.samples import NOW, SECOND, UTC, connections, sampled, sessions, transitions
from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_as_ss_says_it(family: socket.AddressFamily) -> None:
    with listening(family) as listener:
        ours, theirs = pair(listener)
        theirs.sendall(b"x" * 3000)
        ours.recv(1000)
        diag = SockDiag()
        rows = diag.dump().rows
        diag.close()
        known = tcp_info(rows[(rows["lport"] == port(ours)) & (rows["rport"] == port(listener))])
        asked = ["ss", "-tinH", f"sport = :{port(ours)} and dport = :{port(listener)}"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        value = lambda name: re.search(rf"\b{name}:(\d+)", told).group(1)  # type: ignore[union-attr]  # noqa: E731
        assert known["rx_queue_bytes"] == int(told.split()[1]) == 2000
        assert known["tx_queue_bytes"] == int(told.split()[2]) == 0
        assert known["cwnd"] == int(value("cwnd"))
        assert known["mss_bytes"] == int(value("mss"))
        assert known["pmtu_bytes"] == int(value("pmtu"))
        assert known["bytes_received"] == int(value("bytes_received")) == 3000
        assert known["rto_us"] == int(value("rto")) * 1000
        assert str(known["congestion"]) in told.split()
        theirs.close()


def test_in_another_network_namespace() -> None:
    with inside() as other:
        row = np.zeros(1, ROW)
        row["netns"], row["lport"], row["rport"], row["state"] = other.inode, other.port, 4321, State.ESTABLISHED
        row["laddr"] = row["raddr"] = (0, 0xFFFF_7F00_0001)
        assert tcp_info(row)["cwnd"] == 10  # RFC 6928


def test_a_socket_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        tcp_info(connections({"netns": 0}))


def test_a_process() -> None:
    script = "import sys; print(1, flush=True); sys.stdin.read()"
    stranger = subprocess.Popen(
        [sys.executable, "-c", script, "\x1b]0;own\x07", "two words"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert stranger.stdout is not None
    stranger.stdout.readline()
    facts = process_facts(stranger.pid)
    assert facts is not None
    assert facts.command.endswith("\x1b]0;own\x07 two words")  # raw: whoever shows it cleans it
    assert facts.descriptors == len(os.listdir(f"/proc/{stranger.pid}/fd"))
    assert facts.memory_bytes > 1 << 20
    assert facts.descriptor_limit == resource.prlimit(stranger.pid, resource.RLIMIT_NOFILE)[0]
    stranger.communicate(b"")
    assert process_facts(stranger.pid) is None


def test_a_process_is_told_by_its_start_and_not_by_its_name() -> None:
    """A name changes with exec(), prctl() and threads; the PID may be somebody else's by now."""
    feed, me = Feed("diag", Settings(), Capture()), os.getpid()
    mine = connections({"pid": me, "comm": b"another name"})
    for started, known in ((start_of(me), True), (0, True), (start_of(me) - 1, False)):
        mine["start_ticks"] = started
        asked = feed.host_requests.read_details(mine)
        assert (asked.process is not None) == known


def test_all_who_have_it_open_are_named() -> None:
    holders = np.array([(1, 812, 5, b"nginx"), (1, 813, 5, b"\x1b[1mworker")], HOLDING)
    subject = RowContext(connections({"id": 1, "holders": 2}), NOW)
    out = io.StringIO()
    Console(file=out, width=200).print(facts_table(subject, holders, 60, alive=True))
    assert "nginx 812, " in out.getvalue()
    assert "worker 813" in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert BY_KEY["comm"].texts(subject) == ["nginx +1"]


def test_a_life_to_scale() -> None:
    moves = transitions(
        {"oldstate": State.CLOSE, "newstate": State.SYN_SENT, "time_in_state_ns": UNKNOWN_NS},
        {"oldstate": State.SYN_SENT, "newstate": State.ESTABLISHED, "time_in_state_ns": SECOND},
    )
    (row,) = connections({"state_ns": NOW - 3 * SECOND})
    spans = state_spans(row, moves, NOW)
    assert spans == [(State.CLOSE, None), (State.SYN_SENT, SECOND), (State.ESTABLISHED, 3 * SECOND)]
    drawn = timeline(spans, 43, lambda _state: Style()).plain.splitlines()
    assert drawn[2] == "?" + "▓" * 11 + "█" * 31  # seen apart without colours too
    assert drawn[3] == "CLOSE – → SYN_SENT 1.0s → ESTABLISHED 3.0s"
    assert state_spans(row, moves, 0) == spans[:2]  # it has ended
    assert "no transition of it was seen" in timeline([], 40, lambda _state: Style()).plain


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (160, 50), (40, 10)])
def test_in_a_terminal(bpf_possible: None, columns: int, lines: int) -> None:
    with listening() as listener:
        terminal = Terminal("--filter", f"rport:{port(listener)}", columns=columns, lines=lines)
        try:
            terminal.shows("Connections 0")
            ours, theirs = pair(listener)
            terminal.shows("Connections 1")
            terminal.type("\r")
            if lines < 24:
                terminal.until(lambda: "local address" in terminal.text)
            else:
                for shown in ("SYN_SENT", "→ ESTABLISHED", "Process"):
                    terminal.until(lambda shown=shown: shown in terminal.text or bool(terminal.type("\x1b[B")))
            if lines == 50:
                terminal.shows("pytest")  # the command line of who has the socket
                terminal.shows("congestion window")
                assert re.search(r"congestion window +10\b", terminal.text)
            terminal.type("\x1b")
            terminal.shows("F1Help")
            theirs.close()
            ours.close()
        finally:
            terminal.close()


async def test_a_repaint_between_the_key_and_the_page() -> None:
    """It is the screen already, and has nothing in it yet."""
    async with dashboard() as board:
        row = board.app.frame.snapshot.rows[:1].copy()
        page = DetailScreen(board.app.frame, row, lambda _row: SocketAnswer())
        page.show(board.app.frame)
        board.app.push_screen(page)
        page.show(board.app.frame)
        await until_painted(board.pilot)
        assert str(page.query_one("#history").render())


async def test_the_samples_stay_those_of_this_connection() -> None:
    """Its number may be another one's afterwards, and the end may be forgotten."""
    mine, other = {"id": 500, "lport": 4000}, {"id": 501, "lport": 4001}

    async def samples(*given: dict[str, object], counts: int, later_s: int) -> str:
        rows = connections(*given)
        hists, rows["rtt_sum_us"] = sampled(rows, 6, counts), 100 * counts
        await board.deliver(Table(rows, NOW + later_s * SECOND, UTC + later_s * SECOND, hists))
        found = re.search(r"(\d+) samples", str(page.query_one("#histogram").render()))
        return found[1] if found else ""

    async with dashboard() as board:
        page = DetailScreen(board.app.frame, connections(mine), lambda _row: SocketAnswer())
        await board.app.push_screen(page)
        assert await samples(mine, counts=7, later_s=1) == "7"
        assert await samples(other, counts=3, later_s=2) == "7"
        ended = sessions(mine)
        ended["rtt_hist"][:, 6], ended["rtt_sum_us"] = 9, 900
        await board.deliver(EndedConnections(ended))
        assert await samples(other, counts=3, later_s=3) == "9"
        board.app._store.clear()
        assert await samples(other, counts=3, later_s=4) == "9"
