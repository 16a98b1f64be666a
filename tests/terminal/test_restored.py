"""The terminal is given back whatever ends the dashboard, and taken again when it comes back to the foreground."""

from __future__ import annotations

import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.terminal import Terminal, closed_at_the_end

pytestmark = pytest.mark.host

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
SOON_S = 5
DIAG = ("--backend", "diag")


@pytest.fixture
def start() -> Iterator[Callable[..., Terminal]]:
    with closed_at_the_end() as begin:
        yield begin


def is_given_back(terminal: Terminal) -> bool:
    output = terminal.output
    return (
        termios.tcgetattr(terminal._other) == terminal.settings
        and output.rfind(LEAVE) >= output.rfind(ENTER)
        and output.rfind(b"\x1b[?1003l") >= output.rfind(b"\x1b[?1003h")
        and output.rfind(b"\x1b[?25h") >= output.rfind(b"\x1b[?25l")
    )


@pytest.mark.parametrize(
    "number", ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "PROF", "ABRT", "SEGV", "BUS", "KILL", "RTMIN"]
)
def test_whatever_signal_ends_it(start: Callable[..., Terminal], number: str) -> None:
    terminal = start(*DIAG)
    terminal.shows("F1Help")
    sent = getattr(signal, f"SIG{number}")
    terminal.process.send_signal(sent)
    assert terminal.ended() in {-sent, 128 + sent}
    terminal.until(lambda: is_given_back(terminal), SOON_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV])
@pytest.mark.parametrize("bytes_before", [1, 60, 2000])
def test_in_the_first_moments_of_the_screen(
    start: Callable[..., Terminal], number: signal.Signals, bytes_before: int
) -> None:
    terminal = start(*DIAG)
    terminal.until(lambda: len(terminal.output) >= bytes_before)
    terminal.process.send_signal(number)
    assert terminal.ended() in {-number, 128 + number}
    terminal.until(lambda: is_given_back(terminal), SOON_S)


def block(terminal: Terminal) -> None:
    """Read no more, until the dashboard waits for room."""
    for _ in range(50):
        terminal.type("\x0c")  # all of the screen again
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("flow", ["nobody reads", "XOFF"])
def test_a_terminal_that_takes_nothing(start: Callable[..., Terminal], number: signal.Signals, flow: str) -> None:
    terminal = start(*DIAG)
    terminal.shows("F1Help")
    if flow == "XOFF":
        termios.tcflow(terminal._other, termios.TCOOFF)
    block(terminal)
    terminal.process.send_signal(number)
    assert terminal.process.wait(SOON_S) == 128 + number
    terminal.until(lambda: is_given_back(terminal), SOON_S)


def test_q_on_a_terminal_that_takes_nothing(start: Callable[..., Terminal]) -> None:
    terminal = start(*DIAG)
    terminal.shows("F1Help")
    block(terminal)
    terminal.type("q")
    assert terminal.process.wait(10) == 0
    terminal.until(lambda: is_given_back(terminal), SOON_S)


def test_nothing_is_left_behind(start: Callable[..., Terminal]) -> None:
    terminal = start(*DIAG)
    terminal.shows("F1Help")
    pid = terminal.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert children
    terminal.type("q")
    assert terminal.ended() == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)


# -- jobs of a shell ---------------------------------------------------------------------------


@pytest.fixture
def shell(start: Callable[..., Terminal]) -> Terminal:
    terminal = start("--norc", "-i", program=("bash",), PS1="ready> ", HISTFILE="")
    terminal.shows("ready>")
    return terminal


def command(*more: str) -> str:
    return " ".join([sys.executable, "-m", "tcptop_tui", *DIAG, *more])


def drawn(shell: Terminal) -> None:
    shell.until(lambda: shell.output.rfind(ENTER) > shell.output.rfind(LEAVE))
    shell.until(lambda: b"F10" in shell.output[shell.output.rfind(ENTER) :])


def quits(shell: Terminal) -> None:
    shell.type("q")
    shell.until(lambda: shell.output.rfind(LEAVE) > shell.output.rfind(ENTER) and b"ready>" in shell.output[-40:])
    shell.type("echo over $?\r")
    shell.shows("over 0")


def test_ctrl_z_and_fg(shell: Terminal) -> None:
    shell.type(f"{command()}\r")
    drawn(shell)
    for _ in range(2):
        shell.type("\x1a")
        shell.shows("Stopped")
        shell.until(lambda: shell.output.rfind(LEAVE) > shell.output.rfind(ENTER))
        shell.type("clear; fg\r")
        drawn(shell)
        shell.type("2")
        shell.shows("LATENCY")
        shell.type("1")
    quits(shell)


def stopped(shell: Terminal) -> None:
    shell.type(f"{command()}\r")
    drawn(shell)
    shell.type("\x1a")
    shell.shows("Stopped")
    shell.until(lambda: shell.output.endswith(b"ready> "))


def test_killed_while_stopped_it_leaves_the_terminal_to_who_has_it(shell: Terminal) -> None:
    """Which is the line that is typed in: with the settings of before, bash showed each key twice."""
    stopped(shell)
    edits, (dashboard,) = termios.tcgetattr(shell._other), psutil.Process(shell.process.pid).children()
    (watcher,) = dashboard.children()
    before = len(shell.output)
    dashboard.kill()
    watcher.wait(SOON_S)
    shell.read_for(0.1)
    assert (termios.tcgetattr(shell._other), shell.output[before:]) == (edits, b"")


def stopped_from_outside(shell: Terminal) -> psutil.Process:
    """As somebody on another terminal does it: the dashboard cannot give this one back before. Returns it."""
    shell.type(f"{command()}\r")
    drawn(shell)
    (dashboard,) = psutil.Process(shell.process.pid).children()
    raw = termios.tcgetattr(shell._other)
    dashboard.suspend()
    shell.until(lambda: shell.output.endswith(b"ready> ") and termios.tcgetattr(shell._other) != raw)
    return dashboard


def foreground(shell: Terminal) -> int:
    """The process group that has the terminal: tpgid of proc(5)."""
    return int(Path(f"/proc/{shell.process.pid}/stat").read_text().rpartition(")")[2].split()[5])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_shell_that_has_got_the_terminal_keeps_its_settings(shell: Terminal, number: signal.Signals) -> None:
    dashboard = stopped_from_outside(shell)
    edits = termios.tcgetattr(shell._other)
    (watcher,) = dashboard.children()
    dashboard.send_signal(number)
    if number != signal.SIGKILL:
        dashboard.resume()
    watcher.wait(SOON_S)
    assert termios.tcgetattr(shell._other) == edits
    shell.until(lambda: shell.output.rfind(LEAVE) > shell.output.rfind(ENTER))
    shell.type("echo over $((40 + 2))\r")
    shell.shows("over 42")


def test_a_program_that_has_got_the_terminal_keeps_its_screen(shell: Terminal) -> None:
    dashboard = stopped_from_outside(shell)
    shell.type("stty -icanon -echo; cat >/dev/null\r")
    shell.until(lambda: foreground(shell) != shell.process.pid)
    (watcher,) = dashboard.children()
    before, settings = len(shell.output), termios.tcgetattr(shell._other)
    dashboard.kill()
    watcher.wait(SOON_S)
    shell.read_for(0.1)
    assert LEAVE not in shell.output[before:]
    assert termios.tcgetattr(shell._other) == settings


@pytest.mark.parametrize("how", ["kill %1", "kill -HUP %1", "kill %1; fg", "kill $!; bg"])
def test_a_signal_while_stopped_ends_it(shell: Terminal, how: str) -> None:
    stopped(shell)
    shell.type(f"{how.replace('$!', '$(jobs -p)')}\r")
    shell.until(lambda: not psutil.Process(shell.process.pid).children(), SOON_S)
    shell.until(lambda: shell.output.rfind(LEAVE) > shell.output.rfind(ENTER))


def test_begun_in_the_background(shell: Terminal) -> None:
    shell.type(f"{command()} &\r")
    shell.until(lambda: "Stopped" in shell.text or shell.type("\r") is not None or time.sleep(0.2) is not None)
    assert ENTER not in shell.output
    shell.type("fg\r")
    drawn(shell)
    shell.type("\x1a")
    shell.shows("Stopped")
    shell.type("bg\r")
    shell.type("\r\r")
    shell.type("fg\r")
    drawn(shell)
    quits(shell)


def test_the_only_program_of_a_session_does_not_stop_for_ever(start: Callable[..., Terminal]) -> None:
    """Nobody could continue it: the kernel ignores SIGTSTP then."""
    terminal = start(*DIAG)
    terminal.shows("F1Help")
    terminal.type("\x1a")
    terminal.until(lambda: terminal.output.count(ENTER) == 2)
    terminal.type("q")
    assert terminal.ended() == 0
    assert is_given_back(terminal)
