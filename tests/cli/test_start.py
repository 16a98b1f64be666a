"""What comes before everything else: whose modules are imported, and what if standard streams are closed or narrow."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tcptop_tui.bpf.load.compiler_client import CompileRequest, LoadedPrograms
from tcptop_tui.host import startup
from tests.support.privileges import PROGRAM, running, until
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host

COUNTS = "BPF_ARRAY(seen, u64, 1); int count(void *ctx) { return 0; }"


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder of modules that leave a mark when they are imported."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in ("click", "msgspec", "numpy", "bcc", "errno", "ctypes", "json", "platformdirs", "re2", "psutil"):
        (folder / f"{name}.py").write_text(
            f"open({str(tmp_path / 'mark')!r}, 'a').write({name!r})\nraise ImportError\n"
        )
    return folder


def mark(trap: Path) -> str:
    found = trap.parent / "mark"
    return found.read_text() if found.exists() else ""


@pytest.mark.parametrize("how", ["-m", "-c", "the command"])
def test_nothing_comes_from_the_present_folder(trap: Path, how: str) -> None:
    command = {
        "-m": [sys.executable, "-m", "tcptop_tui"],
        "-c": [sys.executable, "-c", "import sys; from tcptop_tui.__main__ import main; sys.exit(main())"],
        "the command": [str(Path(sys.executable).parent / "tcptop-tui")],
    }[how]
    snapshot = ["snapshot", "--backend", "diag", "--after", "0.1", "--filter", "comm:/a/ pid:1"]
    done = subprocess.run([*command, *snapshot], cwd=trap, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, mark(trap)) == (0, "", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
@pytest.mark.parametrize("named", ["{}", ".", ":/usr/nowhere", "/usr/nowhere:"])
@pytest.mark.parametrize("whose", ["another user's", "everybody's"])
def test_root_imports_nothing_that_strangers_can_write(trap: Path, whose: str, named: str) -> None:
    if whose == "everybody's":
        trap.chmod(0o1777)
    else:
        os.chown(trap, 65534, 65534)
    snapshot = ["snapshot", "--backend", "diag", "--after", "0.1"]
    environ = {**os.environ, "PYTHONPATH": named.format(trap)}
    done = subprocess.run([*PROGRAM, *snapshot], env=environ, cwd=trap, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, mark(trap)) == (0, "", "")


def test_bcc_is_not_pythonpaths(trap: Path, bpf_possible: None) -> None:
    for path in trap.iterdir():
        if path.name != "bcc.py":
            path.unlink()
    done = subprocess.run(
        [*PROGRAM, "doctor"], env={**os.environ, "PYTHONPATH": str(trap)}, capture_output=True, check=False
    )
    assert (done.returncode, mark(trap)) == (0, "")


def test_folders_that_only_trusted_users_can_change(tmp_path: Path) -> None:
    folder = tmp_path / "open" / "inner"
    folder.mkdir(parents=True)
    assert startup.is_trusted(str(folder))
    assert not startup.is_trusted(str(folder / "missing"))
    folder.parent.chmod(0o1777)
    assert startup.is_trusted(str(folder))
    assert not startup.is_trusted(str(folder.parent))
    assert startup.is_trusted(str(folder.parent), shared=True)
    folder.parent.chmod(0o777)
    assert not startup.is_trusted(str(folder))
    if os.geteuid() == 0:
        folder.parent.chmod(0o755)
        os.chown(folder.parent, 65534, 65534)
        assert not startup.is_trusted(str(folder))


@pytest.mark.usefixtures("bpf_possible")
class TestTheCompilersProcess:
    @pytest.fixture(autouse=True)
    def _outside(self, trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(trap)

    def test_has_nothing_from_the_environment(self, trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (trap / "bpf").mkdir()
        (trap / "bpf" / "bpf.h").write_text("#error read by the compiler\n")
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "CPATH", "C_INCLUDE_PATH", "TMPDIR"):
            monkeypatch.setenv(name, str(trap))
        (trap / "sitecustomize.py").write_text(f"open({str(trap.parent / 'mark')!r}, 'a').write('site')\n")
        trap.chmod(0o777)
        monkeypatch.setattr(sys, "path", [str(trap), "", *sys.path])
        LoadedPrograms(CompileRequest(COUNTS, [], ["count"], keeps=False)).close()
        assert mark(trap) == ""
        assert not [path for path in trap.iterdir() if path.name.startswith("tcptop-")]

    def test_finds_this_code_wherever_it_is(self, tmp_path: Path) -> None:
        """As with pip --user: neither the package nor what it needs is where -I looks."""
        code = Path(startup.__file__).parent.parent
        script = (
            "import sys; sys.path = [folder for folder in sys.path if 'site-packages' not in folder]\n"
            f"sys.path += [{str(code.parent)!r}, {str(Path(pytest.__file__).parent.parent)!r}]\n"
            "from tcptop_tui.bpf.load.compiler_client import CompileRequest, LoadedPrograms\n"
            f"LoadedPrograms(CompileRequest({COUNTS!r}, [], ['count'])).close()"
        )
        base = [str(Path(sys.base_prefix) / "bin" / Path(sys.executable).resolve().name), "-I", "-c", script]
        environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(base, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def test_hands_nothing_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Should a library there start a program: it gets none of what was lent."""
        script = (
            "import subprocess; from tcptop_tui.host import capabilities as c, privileges\n"
            "from tcptop_tui.bpf.load import compiler\n"
            "c.forbid_gains(); c.keep(privileges.COMPILER, ())\n"
            "with c.lend(*privileges.COMPILER):\n"
            "    compiler._drop_inheritable_capabilities()\n"
            "    subprocess.run(['grep', '^Cap[IPE]', '/proc/self/status'])"
        )
        done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
        assert {line.split()[1].strip("0") for line in done.stdout.splitlines() if line} == {""}


# -- standard streams ---------------------------------------------------------------------------

SNAPSHOT = "snapshot --backend diag --after 0.1"
STREAM = "trace states --backend diag --duration 0.3"
CLOSED = {">&-": ("Bad file descriptor", "standard output is closed"), ">/dev/full": ("No space left on device",) * 2}


def shell(arguments: str, redirections: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = f"exec {shlex.join(PROGRAM)} {arguments} {redirections}"
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environ}
    )


@pytest.mark.parametrize("arguments", ["--version", "--help", "trace states --help", "doctor", SNAPSHOT, STREAM])
@pytest.mark.parametrize("redirection", list(CLOSED))
def test_output_that_cannot_be_written_is_one_line(arguments: str, redirection: str) -> None:
    done = shell(arguments, redirection)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("tcptop-tui: ")
    assert any(words in last for words in CLOSED[redirection])
    assert len(done.stderr.splitlines()) == (1 + ("full" in redirection and arguments == STREAM))  # which backend it is


@pytest.mark.parametrize("arguments", ["--version", "--help", SNAPSHOT, STREAM])
@pytest.mark.parametrize("redirection", ["0<&- 2>&-", "2>/dev/full", "0>/dev/null"])
def test_others_are_not_needed(arguments: str, redirection: str) -> None:
    done = shell(arguments, redirection)
    assert done.returncode == 0
    assert done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("redirections", ["0<&- >&- 2>&-", "2>&-"])
def test_no_socket_gets_their_numbers(redirections: str, tmp_path: Path) -> None:
    target = tmp_path / "s.json"
    launch = ("bash", "-c", f'exec "$@" {redirections}', "bash")
    with running(launch, *SNAPSHOT.split()[:-1], "60", "-o", str(target)) as process:
        until(lambda: "socket:" in "".join(where(process.pid).values()), process)
        assert all(not where(process.pid)[number].startswith("socket:") for number in "012")


def where(pid: int) -> dict[str, str]:
    folder = Path(f"/proc/{pid}/fd")
    found = {}
    for one in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found[one.name] = os.readlink(one)
    return found


@pytest.mark.parametrize(
    "environ", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}], ids=str
)
@pytest.mark.parametrize("arguments", ["--help", "trace connect --help", "doctor", SNAPSHOT])
def test_narrow_streams(arguments: str, environ: dict[str, str]) -> None:
    done = shell(arguments, "", **environ)
    assert done.returncode == 0
    assert done.stdout
    assert "unexpected" not in done.stderr


@pytest.mark.parametrize(
    ("redirection", "environ"),
    [
        ("2>&-", {}),
        ("2>/dev/full", {}),
        ("", {"PYTHONIOENCODING": "ascii"}),
        ("", {"LC_ALL": "C"}),
        ("2>&-", {"LC_ALL": "C"}),
    ],
    ids=str,
)
def test_the_dashboard_draws(redirection: str, environ: dict[str, str]) -> None:
    command = f"exec {shlex.join(PROGRAM)} --backend diag {redirection}"
    terminal = Terminal("-c", command, program=("bash",), **environ)
    try:
        terminal.shows("Connections")
        terminal.shows("F1")
        terminal.type("q")
        assert terminal.ended() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("redirection", ["0<&-", ">&-", "0<&- >&-"])
def test_a_dashboard_without_a_terminal_says_so(redirection: str) -> None:
    command = f"{shlex.join(PROGRAM)} {redirection}; echo code $?"
    terminal = Terminal("-c", command, program=("bash",))
    try:
        terminal.shows("code 2")
        assert "needs a terminal" in terminal.text
        assert "Traceback" not in terminal.text
    finally:
        terminal.close()
