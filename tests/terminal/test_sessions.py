"""The program in a real terminal, on real traffic, as users start and end it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal, closed_at_the_end

pytestmark = pytest.mark.host

ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture
def start(bpf_possible: None) -> Iterator[Callable[..., Terminal]]:
    with closed_at_the_end() as begin:
        yield begin


def programs_of(pid: int) -> int:
    """BPF programs that a process holds."""
    held = 0
    for link in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            held += "prog_id" in link.read_text()
        except OSError:
            continue
    return held


def test_a_whole_visit(start: Callable[..., Terminal], tmp_path: Path) -> None:
    """Look, filter to one port, sort by RTT, open one connection, export, quit."""
    with listening() as server:
        client, accepted = pair(server)
        terminal = start(cwd=tmp_path)
        terminal.shows("backend bpf")
        for _ in range(20):
            client.sendall(b"x" * 1000)
            accepted.recv(1000)
        terminal.type(f"/port:{port(server)}\r")
        terminal.shows("3 of ")
        terminal.shows("ESTABLISHED")
        terminal.shows("avg")
        for _ in range(4):
            terminal.type(">")
        terminal.type("\x1b[B\r")
        terminal.shows("History")
        terminal.type("\x1b")
        terminal.until(lambda: "History" not in terminal.text)
        terminal.type("e")
        terminal.shows("Export what the filter shows")
        terminal.type("\r")
        terminal.shows("wrote")
        (written,) = tmp_path.glob("tcptop-*.json")
        assert str(port(client)).encode() in written.read_bytes()
        client.close()
        accepted.close()
        terminal.shows("FIN_WAIT1")
        assert programs_of(terminal.process.pid) >= 6
        terminal.type("q")
        assert terminal.ended() == 0
        assert LEAVE_SCREEN in terminal.output
        assert termios.tcgetattr(terminal._other)[3] == terminal.settings[3]


def test_a_fast_hand_opens_a_view_and_the_filter_on_it(start: Callable[..., Terminal]) -> None:
    terminal = start()
    terminal.shows("F1Help")
    for keys in ("4", "3/"):
        terminal.type(keys)
    terminal.shows("ENDED")
    terminal.type("zzzz")
    terminal.shows("zzzz")


def test_a_fast_hand_reaches_the_filter_and_the_view_behind_it(start: Callable[..., Terminal]) -> None:
    terminal = start()
    terminal.shows("Connections")
    terminal.shows("LISTEN")
    terminal.type("/!port:1\rp")  # one write: the terminal has them all at once
    terminal.shows("PAUSED")
    terminal.shows("match !port:1 ")
    terminal.type("/port:\rp\x7f\x7f")  # an invalid one is not ended by Enter: p is typed, and taken back
    # "port" and, behind the cursor, how it could go on; no complaint any more
    terminal.until(lambda: "Filter:  port:" in terminal.text and "port:p" not in terminal.text)
    terminal.type("q\x03\x03")  # the first one leaves the line
    terminal.ended()


def test_every_view_on_real_traffic(start: Callable[..., Terminal]) -> None:
    terminal = start(columns=80, lines=24)
    terminal.shows("LISTEN")
    with listening() as server:
        client, accepted = pair(server)
        client.close()
        accepted.close()
        free = port(server)
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free))
    for key, seen in (("2", "refused"), ("3", "FIN by us"), ("4", "RTT"), ("5", "The probe is attached only"),
                      ("1t", "groups by process"), ("tttt", "Connections")):  # fmt: skip
        terminal.type(key)
        terminal.shows(seen)
    terminal.type("q")
    assert terminal.ended() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_signals_give_the_terminal_back(start: Callable[..., Terminal], number: int, code: int) -> None:
    terminal = start()
    terminal.shows("backend bpf")
    terminal.process.send_signal(number)
    assert terminal.ended() == code
    assert LEAVE_SCREEN in terminal.output
    assert termios.tcgetattr(terminal._other)[3] == terminal.settings[3]


def test_a_dropped_link_leaves_nothing_behind(start: Callable[..., Terminal]) -> None:
    terminal = start()
    terminal.shows("backend bpf")
    terminal.hang_up()
    os.close(terminal._other)
    terminal.process.wait(timeout=20)


def test_a_terminal_that_goes_without_a_signal_ends_it(start: Callable[..., Terminal]) -> None:
    terminal = start(controls=False)
    terminal.shows("backend bpf")
    os.close(terminal._other)
    terminal.hang_up()
    assert terminal.process.wait(timeout=20) == 129


def test_80_by_24_and_a_resize(start: Callable[..., Terminal]) -> None:
    terminal = start(columns=80, lines=24)
    terminal.shows("PROCESS")
    terminal.shows("F1Help")
    assert "LADDR" not in terminal.text
    ioctl(terminal._main, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    terminal.screen.resize(50, 160)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.shows("LADDR")
    terminal.type("q")
    assert terminal.ended() == 0


def test_a_hostile_process_name_does_not_reach_the_terminal(start: Callable[..., Terminal]) -> None:
    script = (
        "import socket; open('/proc/self/comm', 'wb', 0).write(b'\\x1b]0;own\\x07ed'); "
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print(s.getsockname()[1], flush=True); input()"
    )
    stranger = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    listener = stranger.stdout.readline().decode().strip()
    try:
        terminal = start("--filter", f"lport:{listener}")
        terminal.shows("·]0;own·ed")
        assert b"\x1b]0;own" not in terminal.output
        terminal.type("q")
        terminal.ended()
    finally:
        stranger.communicate(b"\n", timeout=10)


def test_without_bpf_the_reason_stands_on_the_screen(start: Callable[..., Terminal]) -> None:
    terminal = start("--backend", "diag")
    terminal.shows("backend diag")
    terminal.shows("transitions between two polls are not seen")
    terminal.type("q")
    assert terminal.ended() == 0


def test_in_tmux(bpf_possible: None, tmp_path: Path) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("no tmux")
    socket_path = str(tmp_path / "tmux")

    def tmux(*arguments: str) -> str:
        told = subprocess.run(
            ["tmux", "-S", socket_path, *arguments], capture_output=True, text=True, check=False, timeout=20
        )
        return told.stdout

    tmux("new-session", "-d", "-x", "100", "-y", "30", f"'{sys.executable}' -m tcptop_tui; echo over $?; cat")

    def until(happened: Callable[[str], bool], keys: str = "") -> None:
        deadline_s = time.monotonic() + 30
        while not happened(tmux("capture-pane", "-p")):
            assert time.monotonic() < deadline_s, tmux("capture-pane", "-p")
            time.sleep(0.05)
        if keys:
            tmux("send-keys", keys)

    try:
        until(lambda text: "backend bpf" in text, "?")
        until(lambda text: "Views and panels" in text, "Escape")
        until(lambda text: "Views and panels" not in text, "q")
        until(lambda text: "over 0" in text)
    finally:
        tmux("kill-server")


def test_stopped_and_continued_from_elsewhere(start: Callable[..., Terminal]) -> None:
    """Textual takes the terminal up again after each SIGCONT, and then has the raw mode for the usual one."""
    terminal = start()
    terminal.shows("backend bpf")
    for key, shown in (("2", "RESULT"), ("3", "ENDED"), ("1", "IN STATE")):
        terminal.process.send_signal(signal.SIGSTOP)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.type(key)
        terminal.shows(shown)
    terminal.type("q")
    assert terminal.ended() == 0
    assert terminal.output.count(ENTER_SCREEN) == 1
    assert termios.tcgetattr(terminal._other) == terminal.settings


def test_a_hang_up_that_comes_with_sigcont_ends_it(start: Callable[..., Terminal]) -> None:
    terminal = start()
    terminal.shows("backend bpf")
    os.close(terminal._other)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.hang_up()
    terminal.process.send_signal(signal.SIGCONT)
    assert terminal.process.wait(timeout=20) == 129
