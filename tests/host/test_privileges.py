"""What every way of working keeps, looked at from outside, is what doctor says; and it is enough."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.echo_requests import send_echo_request
from tests.support.namespaces import inside
from tests.support.privileges import (
    AMBIENT,
    BOUNDED,
    LOOKS,
    NAMES,
    PROGRAM,
    ROOT,
    WRITES,
    doctor,
    keeps,
    names,
    recorded,
    running,
    status,
    threads,
    until,
)
from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(os.geteuid() != 0, reason="gives privileges up"),
    pytest.mark.usefixtures("bpf_possible"),
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may read the folders of these tests; the program is where it is."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.setenv("XDG_STATE_HOME", "/nonexistent")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=[ROOT, AMBIENT], ids=["root", "ambient"])
def launch(request: pytest.FixtureRequest) -> tuple[str, ...]:
    prefix: tuple[str, ...] = request.param
    if prefix and subprocess.run([*prefix, *PROGRAM, "--version"], check=False, capture_output=True).returncode:
        pytest.skip("nobody may not read this working copy, or setpriv is too old")
    return prefix


@pytest.fixture(autouse=True)
def _a_connection() -> Iterator[None]:
    """There is one to be shown."""
    with listening() as server:
        kept = pair(server)
        yield
        del kept


def echoed(text: str) -> bool:
    """Whether one was seen; else ask for another."""
    assert "not attached" not in text, text
    seen = re.search(r"Ping [1-9]", text) is not None
    if not seen:
        send_echo_request("127.0.0.1", 1)
    return seen


@pytest.mark.parametrize("launch", [ROOT, AMBIENT, BOUNDED], indirect=True, ids=["root", "ambient", "bounded"])
def test_the_dashboard(launch: tuple[str, ...]) -> None:
    said, _, told = doctor(launch)
    assert said == {name.upper() for name in NAMES} | (set() if launch else WRITES)
    terminal = Terminal("--backend", "bpf", program=(*launch, *PROGRAM))
    try:
        terminal.shows("ESTABLISHED")
        pid = terminal.process.pid
        assert keeps(pid, said), threads(pid)
        bounded = all(names(one["CapBnd"]) == said for one in threads(pid))
        assert bounded == ("bounding set is the same" in told) == (launch != AMBIENT)
        effective = [names(one["CapEff"]) for one in threads(pid)]
        assert names(status(Path(f"/proc/{pid}"))["CapEff"]) == {"DAC_READ_SEARCH"}
        assert all(one <= {"DAC_READ_SEARCH", "BPF", "SYS_PTRACE"} for one in effective), effective
        (watcher,) = (int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        assert not names(status(Path(f"/proc/{watcher}"))["CapPrm"])
        terminal.type("5")  # the ping probe is compiled and attached now
        terminal.until(lambda: echoed(terminal.text))
        terminal.type("q")
        assert terminal.ended() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("arguments", "less"),
    [
        (["--readonly"], {"NET_ADMIN"}),
        (["--backend", "diag"], {"BPF", "PERFMON"}),
        (["--backend", "diag", "--readonly"], {"BPF", "PERFMON", "NET_ADMIN"}),
    ],
    ids=["readonly", "diag", "both"],
)
def test_a_dashboard_that_does_less(launch: tuple[str, ...], arguments: list[str], less: set[str]) -> None:
    terminal = Terminal(*arguments, program=(*launch, *PROGRAM))
    try:
        terminal.shows("ESTABLISHED")
        wanted = {name.upper() for name in NAMES} | (set() if launch else WRITES)
        assert keeps(terminal.process.pid, wanted - less), threads(terminal.process.pid)
    finally:
        terminal.close()


def test_a_replay_keeps_next_to_nothing(launch: tuple[str, ...], tmp_path: Path) -> None:
    recording = Path(shutil.copy(recorded(tmp_path), f"/tmp/tcptop-replay-{os.getpid()}"))
    try:
        if launch:
            os.chown(recording, 65534, 65534)
        terminal = Terminal("--replay", str(recording), program=(*launch, *PROGRAM))
        try:
            terminal.shows("recording tcptop-replay")
            wanted = set() if launch else WRITES | {"DAC_READ_SEARCH"}
            assert keeps(terminal.process.pid, wanted), threads(terminal.process.pid)
        finally:
            terminal.close()
        with running(launch, "snapshot", "--after", "60", "--replay", str(recording)) as process:
            until(lambda: keeps(process.pid, set() if launch else {"DAC_READ_SEARCH"}), process)
    finally:
        recording.unlink()


def test_streams_once_they_are_attached(launch: tuple[str, ...]) -> None:
    _, said, _ = doctor(launch)
    assert said == LOOKS
    with running(launch, "trace", "states", "--backend", "bpf") as process:
        stdout = process.stdout
        assert stdout is not None
        assert b"OLDSTATE" in stdout.readline()
        assert keeps(process.pid, said), threads(process.pid)
        with listening() as server:
            assert b"LISTEN" in line_with(stdout, f" {port(server)} ")
    with running(launch, "trace", "states", "--backend", "diag") as process:
        until(lambda: keeps(process.pid, said), process)


def line_with(lines: IO[bytes], text: str) -> bytes:
    return next(line for line in lines if text.encode() in line)


@pytest.mark.parametrize("command", [["connect", "-d"], ["ping"], ["life"], ["rtt", "-i", "1"]], ids=lambda one: one[0])
def test_other_streams(command: list[str], launch: tuple[str, ...]) -> None:
    wanted = set() if command == ["ping"] and launch else {"DAC_READ_SEARCH"} if command == ["ping"] else LOOKS
    with running(launch, "trace", *command) as process:
        until(lambda: keeps(process.pid, wanted), process)


def test_snapshots(launch: tuple[str, ...], tmp_path: Path) -> None:
    writes = set() if launch else WRITES
    with running(launch, "snapshot", "--after", "60") as process:
        until(lambda: keeps(process.pid, LOOKS), process)
    with running(launch, "snapshot", "--after", "60", "-o", str(tmp_path / "s.json")) as process:
        until(lambda: keeps(process.pid, LOOKS | writes), process)
    if not launch:  # the file is open by then, and no other is to be made
        with running(launch, "snapshot", "--after", "60", "--record", str(tmp_path / "r")) as process:
            until(lambda: keeps(process.pid, LOOKS), process)


def test_nobody_with_capabilities_sees_what_root_sees(launch: tuple[str, ...]) -> None:
    """Connections from before the start: of another user, and in another network namespace."""
    with inside() as other, listening() as server:
        kept = pair(server)
        told = subprocess.run(
            [*launch, *PROGRAM, "snapshot", "--after", "0.3", "--backend", "bpf"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        rows = json.loads(told.stdout)["connections"]
        found = {(row["lport"], row["pid"]) for row in rows}
        assert {(port(server), os.getpid()), (other.port, other.pid)} <= found
        del kept


def test_a_connection_is_closed_with_what_is_kept(launch: tuple[str, ...]) -> None:
    with listening() as server:
        client, accepted = pair(server)
        terminal = Terminal("--filter", f"rport:{port(server)}", program=(*launch, *PROGRAM))
        try:
            terminal.shows("ESTABLISHED")
            terminal.type("K")
            terminal.shows("Close this connection?")
            terminal.type("y")
            terminal.shows("closed 127.0.0.1")
            with pytest.raises(ConnectionAbortedError):
                client.recv(1)
        finally:
            terminal.close()
        accepted.close()


def test_a_page_knows_the_process(launch: tuple[str, ...]) -> None:
    with listening() as server:
        kept = pair(server)
        terminal = Terminal("--filter", f"rport:{port(server)}", program=(*launch, *PROGRAM))
        try:
            terminal.shows("ESTABLISHED")
            terminal.type("\r")
            terminal.shows("descriptors")
            assert re.search(r"descriptors \d+ of", terminal.text.replace("\n", " "))
        finally:
            terminal.close()
        del kept


@pytest.mark.parametrize(("mode", "owner"), [(0o700, 12345), (0o1777, 12345), (0o1777, 999), (0o700, 0)])
def test_exports_for_who_called_sudo(mode: int, owner: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "12345")
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    for _ in ("new", "again"):
        done = subprocess.run(
            [*PROGRAM, "snapshot", "--after", "0.1", "--backend", "diag",
             "-o", str(folder / "s.json"), "--record", str(folder / "r.tcptop")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for name in ("s.json", "r.tcptop"):
            found = (folder / name).stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12345, 0o600)


def test_in_a_home_that_is_closed_to_all_others(tmp_path: Path) -> None:
    """Modules are read when they are needed, and the compiler's process is started there."""
    home = tmp_path / "home"
    (home / "here").mkdir(parents=True)
    code = Path(__file__).parents[2]
    if subprocess.run(["mount", "--bind", str(code), str(home / "here")], check=False).returncode:
        pytest.skip("cannot mount")
    try:
        os.chown(home, 12345, 12345)
        home.chmod(0o700)
        program = (sys.executable, "-m", "tcptop_tui")
        environ = {**os.environ, "PYTHONPATH": str(home / "here")}
        script = "import tcptop_tui; print(tcptop_tui.__file__)"
        where = subprocess.run(
            [sys.executable, "-P", "-c", script], env=environ, capture_output=True, text=True, check=True
        )
        assert where.stdout.startswith(str(home))
        subprocess.run(
            [*program, "snapshot", "--backend", "bpf", "--after", "0.1", "--format", "svg"],
            env=environ, capture_output=True, check=True, cwd="/",
        )  # fmt: skip
    finally:
        subprocess.run(["umount", str(home / "here")], check=True)


# -- what the README says ---------------------------------------------------------------------


def test_the_readme_s_way_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "nobody")
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    chosen, command = re.findall(r"^\$ (caps=.*|sudo env (?:.*\\\n)*.*)$", readme, re.MULTILINE)
    script = f"{chosen}; exec {command.removeprefix('sudo ').replace('.venv/bin/tcptop-tui', '')} {' '.join(PROGRAM)}"
    told = subprocess.run(["bash", "-c", f"{script} doctor"], capture_output=True, text=True, check=True)
    assert set(re.findall(r"CAP_(\w+)\s+kept", told.stdout)) == {name.upper() for name in NAMES}
    with running(("bash", "-c", f'{script} "${{@:4}}"', "bash"), "trace", "states") as process:
        until(lambda: keeps(process.pid, LOOKS), process)
        uids = re.search(r"^Uid:(.*)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        assert uids is not None
        assert set(uids[1].split()) == {"65534"}
