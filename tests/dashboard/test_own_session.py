"""The own SSH connection, hidden with a key: known by what sshd tells, whoever dropped it on the way."""

from __future__ import annotations

import ast
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tcptop_tui
from tcptop_tui.filters import RowContext, parse
from tcptop_tui.stream.batches import Table
from tests.support.dashboard import dashboard
from tests.support.privileges import NOBODY
from tests.support.samples import NOW, SECOND, UTC, connections
from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host

GIVEN = "192.0.2.7 50022 10.0.0.1 22"
ASK = [
    sys.executable,
    "-c",
    "from tcptop_tui.dashboard.own_connection import own_connection_filter; print(own_connection_filter())",
]


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
    assert parse(told).matches(RowContext(rows, NOW, None, None)).tolist() == [True, False]


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
    told = asked(SSH_CONNECTION="fe80::1%eth0 50022 fe80::2%eth0 22")
    assert told == "raddr:fe80::1 rport:50022 laddr:fe80::2%eth0 lport:22"


async def test_the_key_hides_it_everywhere_and_shows_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard() as board:
        monkeypatch.delenv("TMUX", raising=False)
        monkeypatch.setenv("SSH_CONNECTION", "10.0.1.10 50010 10.0.0.1 22")
        await board.press("o")
        while board.app.view_options.hide_filter is None:
            await board.pilot.pause()
        await board.deliver(Table(board.app.frame.snapshot.rows, NOW + SECOND, UTC))
        assert board.row_count == 99
        assert "own SSH hidden" in board.header
        assert board.app.view_options.filter.text == ""
        await board.press("slash", *"sshd", "enter")
        assert board.row_count == 9
        await board.press("o")
        while board.app.view_options.hide_filter is not None:
            await board.pilot.pause()
        await board.press("f12")
        assert board.row_count == 10


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


def test_a_strangers_multiplexer_gets_no_program_of_ours(tmp_path: Path) -> None:
    """A client runs what its server says, and which server (and which program) that is, the environment says."""
    for name in ("tmux", "screen"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
        program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        server.setblocking(False)
        environ = {"TMUX": f"{tmp_path}/socket,{os.getpid()},0", "STY": f"{os.getpid()}.x", "SCREENDIR": str(tmp_path)}
        assert asked(SSH_CONNECTION=GIVEN, PATH=f"{tmp_path}:{os.environ['PATH']}", **environ) == asked(
            SSH_CONNECTION=GIVEN
        )
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not (tmp_path / "was-run").exists()


def test_three_modules_start_a_process_and_no_other_can() -> None:
    """The compiler; a fork of a stream, with CAP_BPF, that makes maps; the watcher of the terminal, with nothing.

    What another one would get, and from where it would come, need not be asked.
    """
    begins = ("exec", "posix_spawn", "spawn", "system", "fork", "popen")
    starts = {f"os.{name}" for name in dir(os) if name.startswith(begins)}
    modules = {"subprocess", "pty", "multiprocessing", "webbrowser"}
    found = set()
    package = Path(tcptop_tui.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            imports = [one.name for one in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            imports += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if (isinstance(node, ast.Attribute) and ast.unparse(node) in starts) or modules & set(imports):
                found.add(str(path.relative_to(package)))
    assert found == {"bpf/load/compiler_client.py", "bpf/load/map_maker.py", "drawing/borrowed_terminal.py"}


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A server with a pane that asks when a line is typed."""
    if shutil.which("tmux") is None:
        pytest.skip("no tmux")
    command = ("tmux", "-f", "/dev/null", "-S", str(tmp_path / "socket"))
    target = tmp_path / "answer"
    pane = f"while read line; do {shlex.join(ASK)} > {target}.part; mv {target}.part {target}; done"
    environ = {name: value for name, value in os.environ.items() if name not in {"TMUX", "STY"}}
    subprocess.run(
        [*command, "new-session", "-d", pane], env=environ | {"SSH_CONNECTION": "192.0.2.9 9 10.0.0.1 22"}, check=True
    )
    yield command
    subprocess.run([*command, "kill-server"], check=False)


def answered(folder: Path, terminal: Terminal) -> str:
    (folder / "answer").unlink(missing_ok=True)
    terminal.type("\r")
    terminal.until((folder / "answer").exists)
    return (folder / "answer").read_text()


def test_in_tmux_it_is_who_is_attached_and_typed_last(tmux: tuple[str, ...], tmp_path: Path) -> None:
    clients = [
        Terminal("attach", program=tmux, SSH_CONNECTION=f"192.0.2.{number} 5000 10.0.0.1 22", TMUX="")
        for number in (1, 2)
    ]
    try:
        for one in clients:
            one.until(lambda one=one: bool(one.text.strip()))  # type: ignore[misc]
        for number in (0, 1, 0):
            later = time.time() + 60 + number
            for one in clients:
                os.utime(one.name, (later if one is clients[number] else 0, 0))
            assert f"raddr:192.0.2.{number + 1} " in answered(tmp_path, clients[1 - number])
        clients[0].close()
        assert "raddr:192.0.2.2 " in answered(tmp_path, clients[1])
    finally:
        for one in clients:
            one.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_clients_of_who_called_sudo_are_found_and_no_others(tmux: tuple[str, ...], tmp_path: Path) -> None:
    """With what a dashboard keeps; a program that calls itself a client and is another user's is none."""
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, 65534, 65534)
    theirs = (*NOBODY, "tmux", "-f", "/dev/null", "-S", str(folder / "socket"))
    terminal = Terminal(
        "new-session", "cat", program=theirs, SSH_CONNECTION=GIVEN, TMUX="", SHELL="/bin/sh", cwd=Path("/")
    )
    script = (
        "import sys, psutil; from tcptop_tui.dashboard import own_connection\n"
        "from tcptop_tui.host import privileges; privileges.drop_unneeded(privileges.DASHBOARD)\n"
        "server = psutil.Process(int(sys.argv[1]))\n"
        "found = [own_connection._environment(one) for one in own_connection._clients(server, 'tmux')]\n"
        "print([environment.get('SSH_CONNECTION') for environment in found])"
    )
    try:
        terminal.until(lambda: bool(terminal.text.strip()))
        for command, expected in ((theirs, str([GIVEN])), (tmux, "[]")):
            server = subprocess.run(
                [*command, "display", "-p", "#{pid}"], capture_output=True, text=True, check=True, cwd="/"
            )
            told = subprocess.run(
                [sys.executable, "-c", script, server.stdout.strip()], capture_output=True, text=True, check=True
            )
            assert told.stdout.strip() == expected
    finally:
        subprocess.run([*theirs, "kill-server"], cwd="/", check=False)
        terminal.close()
        shutil.rmtree(folder)


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
