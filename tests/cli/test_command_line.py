"""The command line as users meet it: one line, the right exit code, no traceback."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tcptop_tui import __version__
from tcptop_tui.bpf.load import bcc_library
from tcptop_tui.cli.doctor import Finding, report
from tcptop_tui.errors import BackendUnavailable
from tests.support.command_line import run_program
from tests.support.sockets import listening, pair, port

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["nonsense"],
        ["--backend", "magic"],
        ["--filter", "foo:1"],
        ["--filter", "rtt>"],
        ["--lport", "70000"],
        ["--rport", "x"],
        ["--pid", "zero"],
        ["-4", "-6"],
        ["--refresh", "0"],
        ["--replay", "/no/such/file"],
        ["--replay", "/etc/passwd"],
        ["snapshot", "--format", "doc"],
        ["snapshot", "--after", "soon"],
        ["snapshot", "--filter", "state:\x1b[31m"],
        ["trace", "states", "--filter", "cwnd>10"],
        [],
    ],
)
def test_one_line_and_exit_code_2(arguments: list[str]) -> None:
    told = run_program(*arguments)
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.startswith("tcptop-tui: ")
    assert told.stderr.count("\n") == 1
    assert "\x1b" not in told.stderr


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot(term: str) -> None:
    script = shlex.join(["script", "-qec", shlex.join([sys.executable, "-m", "tcptop_tui"]), "/dev/null"])
    told = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "TERM": term},
    )
    assert told.returncode == 2
    assert "TERM=" in told.stdout
    assert told.stdout.count("\n") == 1


def test_version_and_help() -> None:
    assert run_program("--version").stdout == f"tcptop-tui {__version__}\n"
    for arguments in (["--help"], ["snapshot", "-h"], ["doctor", "-h"]):
        told = run_program(*arguments)
        assert told.returncode == 0
        assert "Usage: tcptop-tui" in told.stdout


def test_help_and_errors_load_neither_bcc_nor_textual() -> None:
    script = (
        "import sys; from tcptop_tui.cli.entry import main; main(['--help']); main(['--filter','foo:1']); "
        "sys.exit(any(name.split('.')[0] in ('bcc', 'textual') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("backend", ["bpf", "diag"])
def test_snapshot_shows_our_own_connection(backend: str, tmp_path: Path, bpf_possible: None) -> None:
    with listening() as server:
        client, accepted = pair(server)
        client.sendall(b"x" * 321)
        accepted.recv(321)
        told = run_program("snapshot", "--backend", backend, "--after", "0.3", "--filter", f"rport:{port(server)}")
        assert told.returncode == 0, told.stderr
        document = json.loads(told.stdout)
        (row,) = document["connections"]
        assert (row["pid"], row["tx_bytes"], row["state"]) == (os.getpid(), 321, "ESTABLISHED")
        assert (row["lport"], row["rport"]) == (port(client), port(server))
        assert document["meta"]["backend"] == backend
        target = tmp_path / "out.csv"
        told = run_program("snapshot", "--backend", backend, "--after", "0.2", "-o", str(target))
        assert told.returncode == 0
        assert str(target) in told.stderr
        assert f",{port(server)}," in target.read_text()
        client.close()
        accepted.close()


def test_a_picture_without_a_terminal(bpf_possible: None) -> None:
    told = run_program("snapshot", "--format", "svg", "--after", "0.5")
    assert told.returncode == 0, told.stderr
    assert told.stdout.lstrip().startswith("<svg")
    assert "Connections" in told.stdout


def test_a_snapshot_that_cannot_be_written() -> None:
    told = run_program("snapshot", "--backend", "diag", "--after", "0.1", "-o", "/no/such/folder/x.json")
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "no such file or directory" in told.stderr


def test_a_closed_pipe_ends_it_quietly() -> None:
    script = f"{shlex.quote(sys.executable)} -m tcptop_tui snapshot --backend diag --after 0.1 --format txt | head -c 1"
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert told.stderr == ""


def test_recording_and_replay(tmp_path: Path, bpf_possible: None) -> None:
    recording = tmp_path / "r.tcptop"
    with listening() as server:
        client, accepted = pair(server)
        text = f"rport:{port(server)}"
        first = run_program("snapshot", "--after", "1", "--filter", text, "--record", str(recording))
        client.close()
        accepted.close()
    assert first.returncode == 0, first.stderr
    again = run_program("snapshot", "--after", "1", "--filter", text, "--replay", str(recording))
    assert again.returncode == 0, again.stderr
    live, played = json.loads(first.stdout), json.loads(again.stdout)
    assert [row["lport"] for row in played["connections"]] == [row["lport"] for row in live["connections"]]
    assert played["meta"]["backend"] == "replay"
    data = recording.read_bytes()
    recording.write_bytes(data[:-10])  # cut off: what is whole is played
    assert run_program("snapshot", "--after", "0.3", "--replay", str(recording)).returncode == 0
    recording.write_bytes(data[:400] + b"\xff" * 64 + data[464:])
    told = run_program("snapshot", "--after", "0.3", "--replay", str(recording))
    assert told.stderr.count("\n") <= 1


def test_doctor(bpf_possible: None) -> None:
    told = run_program("doctor")
    assert told.returncode == 0, told.stdout
    assert "The BPF backend works here." in told.stdout
    words = " ".join(told.stdout.split())
    for name in ("bcc ", "LLVM ", "libbpf v", "Python ", "textual ", "numpy "):
        assert re.search(rf"{name}\d", words), name
    assert re.search(r"\d MB for the [\d,]+ sockets", words)
    assert re.search(r"attaches; accept\(\) (tells its process|has no hook here)", words)


@pytest.mark.parametrize("columns", ["0", "1"])
def test_doctor_where_the_screen_has_no_columns(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a serial console and expect(1) have it; Rich would print nothing at all, or a letter a line."""
    monkeypatch.setenv("COLUMNS", columns)
    report([Finding("kernel", is_ok=True, result="Linux")])
    assert {"kernel", "ok", "Linux"} <= set(capsys.readouterr().out.split())


def test_doctor_says_why_auto_falls_back(capsys: pytest.CaptureFixture[str]) -> None:
    """With the last lines of whoever refused it."""
    wrong = Finding(
        "kernel program", is_ok=False, result="set_state is refused: R1", details=("0: r0 = 1", "R1 \x1b[2J")
    )
    report([Finding("kernel", is_ok=True, result="Linux"), wrong])
    told = capsys.readouterr().out
    assert "--backend auto polls sock_diag here, because of kernel program: set_state is refused: R1" in told
    assert "0: r0 = 1" in told
    assert "\x1b[2J" not in told


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root")
def test_without_privileges_it_still_works() -> None:
    """As nobody: doctor says what is missing, and the dashboard's data comes from sock_diag."""
    nobody = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*nobody, sys.executable, "-m", "tcptop_tui", *arguments],
            capture_output=True, text=True, check=False, timeout=60, cwd="/",
        )  # fmt: skip

    if as_nobody("--version").returncode:
        pytest.skip("nobody may not read this working copy")
    told = as_nobody("doctor")
    assert told.returncode == 1
    assert "CAP_BPF" in told.stdout
    assert "run with sudo" in told.stdout
    told = as_nobody("snapshot", "--after", "0.2")
    assert told.returncode == 0, told.stderr
    meta = json.loads(told.stdout)["meta"]
    assert meta["backend"] == "diag"
    assert "run with sudo" in meta["backend_note"]
    told = as_nobody("snapshot", "--after", "0.2", "--backend", "bpf")
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "run with sudo" in told.stderr


def test_pypis_bcc_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of that name on PyPI is about crystal lattices."""
    (tmp_path / "bcc.py").write_text("lattice = 'body-centred cubic'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(bcc_library, "_SYSTEM_PATHS", (str(tmp_path / "nowhere"),))
    bcc_library._unload_bcc()
    with pytest.raises(BackendUnavailable, match="crystal-lattice"):
        bcc_library.load_bcc()
    bcc_library._unload_bcc()


def test_a_saved_filter_on_the_command_line(tmp_path: Path) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "tcptop-tui" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('[filters]\nnobody = "port:1 pid:1"\n')
    told = run_program("snapshot", "--after", "0.1", "--backend", "diag", "--filter", "@nobody", "--format", "json")
    assert json.loads(told.stdout)["meta"]["filter"] == "port:1 pid:1"
    assert "did you mean @nobody?" in run_program("snapshot", "--filter", "@nobdy").stderr
    assert run_program("trace", "states", "--filter", "@nobdy").returncode == 2
