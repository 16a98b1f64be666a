"""The own SSH connection, hidden with a key: known by what sshd tells, whoever dropped it on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made import NOW, SECOND, UTC, connections
from sockets import listening, pair, port
from terminals import Terminal
from test_keys import dashboard

from tcptop_tui.filters import Subject, parse
from tcptop_tui.source.batches import Table

GIVEN = "192.0.2.7 50022 10.0.0.1 22"
ASK = [sys.executable, "-c", "from tcptop_tui.own_session import own_session; print(own_session())"]


def asked(*prefix: str, **environ: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in {"TMUX", "SSH_CONNECTION"}}
    return subprocess.run(
        [*prefix, *ASK], env=kept | environ, capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


def test_as_sshd_says_it() -> None:
    told = asked(SSH_CONNECTION=GIVEN)
    rows = connections(
        {"laddr": "10.0.0.1", "lport": 22, "raddr": "192.0.2.7", "rport": 50022},
        {"laddr": "10.0.0.1", "lport": 22, "raddr": "192.0.2.7", "rport": 50023},
    )
    assert parse(told).matches(Subject(rows, NOW, None, None)).tolist() == [True, False]


def test_where_sudo_dropped_it() -> None:
    assert asked("sh", "-c", 'env -u SSH_CONNECTION "$@"; true', "sh", SSH_CONNECTION=GIVEN) == asked(
        SSH_CONNECTION=GIVEN
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        "1.2.3.4 x 5.6.7.8 22",
        "a b c",
        "x 1 y 2",
        "UNKNOWN 65535 UNKNOWN 65535",
        "1.2.3.4 99999 1.2.3.4 22",
    ],
)
def test_where_there_is_none(value: str) -> None:
    assert asked(SSH_CONNECTION=value) == ""


def test_addresses_with_a_zone() -> None:
    assert "raddr:fe80::1 " in asked(SSH_CONNECTION="fe80::1%eth0 50022 fe80::2%eth0 22")


async def test_the_key_hides_it_everywhere_and_shows_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard() as board:
        monkeypatch.delenv("TMUX", raising=False)
        monkeypatch.setenv("SSH_CONNECTION", "10.0.1.10 50010 10.0.0.1 22")
        await board.press("o")
        while board.app.look.hidden is None:
            await board.pilot.pause()
        await board.more(Table(board.app.frame.facts.rows, NOW + SECOND, UTC))
        assert board.shown == 99
        assert "own SSH hidden" in board.header
        assert board.app.look.filter.text == ""
        await board.press("slash", *"sshd", "enter")
        assert board.shown == 9
        await board.press("o")
        while board.app.look.hidden is not None:
            await board.pilot.pause()
        await board.press("f12")
        assert board.shown == 10


def test_in_a_terminal(bpf_possible: None) -> None:
    with listening() as listener:
        ours, theirs = pair(listener)
        there = f"127.0.0.1 {port(ours)} 127.0.0.1 {port(listener)}"
        terminal = Terminal("--filter", f"port:{port(listener)}", SSH_CONNECTION=there, TMUX="")
        try:
            terminal.shows("Connections 3")
            terminal.type("o")
            terminal.shows("own SSH hidden")
            terminal.shows("Connections 2")
        finally:
            terminal.close()
        theirs.close()


@pytest.mark.skipif(shutil.which("screen") is None, reason="no GNU screen")
def test_in_screen_esc_works_and_whoever_attached_last_counts(bpf_possible: None, tmp_path: Path) -> None:
    with listening() as listener:
        ours, theirs = pair(listener)
        there = f"127.0.0.1 {port(ours)} 127.0.0.1 {port(listener)}"
        (tmp_path / "screens").mkdir(mode=0o700)
        environ = {"SCREENDIR": str(tmp_path / "screens"), "TMUX": "", "STY": ""}
        name = f"tcptop-{os.getpid()}"
        command = [sys.executable, "-m", "tcptop_tui", "--filter", f"port:{port(listener)}"]
        server = ["screen", "-U", "-c", "/dev/null", "-dmS", name, *command]
        subprocess.run(server, check=True, env={**os.environ, **environ, "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"})
        client = Terminal("-U", "-r", name, program=("screen",), SSH_CONNECTION=there, **environ)
        try:
            client.shows("Connections 3")
            client.type("o")
            client.shows("own SSH hidden")
            client.shows("Connections 2")
            client.type("\x1bOQ")  # F2
            client.shows("Setup ─")
            client.type("\x1b")
            client.until(lambda: "Setup ─" not in client.text)
            client.type("q")
            client.ended()
        finally:
            subprocess.run(["screen", "-S", name, "-X", "quit"], env={**os.environ, **environ}, check=False)
            client.close()
        theirs.close()
