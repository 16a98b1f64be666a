"""The compiler's process: what it hands over, what it leaves behind, and what happens when it dies."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcptop_tui.bpf.load.compiler_client import CompileRequest, LoadedPrograms
from tcptop_tui.errors import BackendUnavailable

pytestmark = pytest.mark.host

COUNTS = """
BPF_ARRAY(seen, u64, 1);
int count(void *ctx) { int at = 0; u64 *value = seen.lookup(&at); if (value) (*value)++; return 0; }
"""


UNREADABLE = 'int count(void *ctx) { asm volatile("r0 = *(u64 *)(r9 + 0)"); return 0; }'
"""Nothing was ever written into r9."""


def descriptors() -> set[str]:
    return {f"{one}→{os.readlink(one)}" for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}


@pytest.fixture(autouse=True)
def _needed(bpf_possible: None) -> None:
    """All of these compile."""


def test_what_it_makes_outlives_it() -> None:
    request = CompileRequest(COUNTS, [], ["count"])
    loaded = LoadedPrograms(request)
    assert request._process.returncode == 0
    kinds = [os.readlink(f"/proc/self/fd/{fd}") for fd in (loaded.functions["count"], loaded.map_fd("seen"))]
    assert kinds == ["anon_inode:bpf-prog", "anon_inode:bpf-map"]
    assert not any(os.get_inheritable(fd) for fd in (loaded.functions["count"], loaded.map_fd("seen")))
    loaded.attach("count", "sched_switch")
    loaded.close()
    loaded.close()


def test_nothing_stays_open() -> None:
    LoadedPrograms(CompileRequest(COUNTS, [], ["count"])).close()
    before = descriptors()
    for _ in range(3):
        LoadedPrograms(CompileRequest(COUNTS, [], ["count"])).close()
    assert {one.partition("→")[2].partition(":")[0] for one in descriptors() - before} <= {"/proc/self/fd"}


def test_llvm_stays_outside() -> None:
    script = """
from pathlib import Path
from tcptop_tui.bpf.program import Program
from tcptop_tui.settings import Settings
Program(Settings()).close()
print("libbcc" in Path("/proc/self/maps").read_text(), "LLVM" in Path("/proc/self/maps").read_text())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_what_does_not_compile_is_one_line() -> None:
    with pytest.raises(BackendUnavailable, match=r"does not load: .*error: .*nonsense") as raised:
        LoadedPrograms(CompileRequest("int count(void *ctx) { return nonsense; }", [], ["count"]))
    assert "\n" not in str(raised.value)


def test_who_refuses_it_is_quoted() -> None:
    """For doctor: one line does not tell enough to whoever is to mend it."""
    with pytest.raises(BackendUnavailable) as raised:
        LoadedPrograms(CompileRequest("int count(void *ctx) { return nonsense; }", [], ["count"]))
    assert any("use of undeclared identifier 'nonsense'" in line for line in raised.value.details)
    with pytest.raises(BackendUnavailable, match="count is refused") as raised:
        LoadedPrograms(CompileRequest(UNREADABLE, [], ["count"]))
    assert any("R9 !read_ok" in line for line in raised.value.details)
    assert len(raised.value.details) <= 20


def test_a_compiler_that_dies_takes_nothing_with_it() -> None:
    request = CompileRequest(COUNTS, [], ["count"])
    os.kill(request._process.pid, signal.SIGKILL)
    with pytest.raises(BackendUnavailable, match="the compiler ended by SIGKILL"):
        LoadedPrograms(request)


def test_nobody_waits_any_more() -> None:
    request = CompileRequest(COUNTS, [], ["count"])
    request.cancel()
    assert request._process.returncode == -signal.SIGKILL


@pytest.fixture
def compiling(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CompileRequest]:
    """A compiler that has made its header tree, below ``tmp_path``, and waits for the end of a header."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    pipe = tmp_path_factory.mktemp("pipe") / "header.h"
    os.mkfifo(pipe)
    request = CompileRequest(f'#include "{pipe}"\n{COUNTS}', [], ["count"], keeps=False)
    with pipe.open("w"):  # once the compiler has opened it
        yield request


def test_a_compiler_that_is_killed_leaves_no_headers(compiling: CompileRequest, tmp_path: Path) -> None:
    assert list(tmp_path.iterdir())
    compiling.cancel()
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_dies_leaves_no_headers(compiling: CompileRequest, tmp_path: Path) -> None:
    os.kill(compiling._process.pid, signal.SIGKILL)
    with pytest.raises(BackendUnavailable, match="SIGKILL"):
        LoadedPrograms(compiling)
    assert list(tmp_path.iterdir()) == []


def test_the_next_compiler_removes_what_is_left_when_all_were_killed(compiling: CompileRequest, tmp_path: Path) -> None:
    (left,) = tmp_path.iterdir()
    in_use, foreign, link = (tmp_path / f"{left.name}{number}" for number in range(3))
    in_use.mkdir()
    foreign.mkdir()
    if os.geteuid() == 0:
        os.chown(foreign, 65534, 65534)
    link.symlink_to(in_use)
    locked = os.open(in_use, os.O_RDONLY)
    fcntl.flock(locked, fcntl.LOCK_SH)
    os.kill(compiling._process.pid, signal.SIGKILL)
    compiling._process.wait()
    assert left.exists()
    LoadedPrograms(CompileRequest(COUNTS, [], ["count"])).close()
    assert set(tmp_path.iterdir()) == {in_use, link} | ({foreign} if os.geteuid() == 0 else set())
    os.close(locked)
    compiling.cancel()


def test_the_present_folder_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sudo somebody else's folder would be run as root."""
    for name in ("json.py", "runpy.py", "socket.py", "bcc.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n")
    foreign = tmp_path / "tcptop_tui"
    foreign.mkdir()
    (foreign / "__init__.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n")
    for name in ("tcptop_kernel.h", "linux/types.h"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("#error a stranger's header\n")
    monkeypatch.chdir(tmp_path)
    LoadedPrograms(CompileRequest(f'#include "tcptop_kernel.h"\n{COUNTS}', [], ["count"], keeps=False)).close()
    assert not (tmp_path / "was-run").exists()


def test_programs_that_are_refused_their_arguments_types_do_without() -> None:
    """As on a kernel that does not let them: no such tracepoint."""
    untyped = LoadedPrograms(CompileRequest(COUNTS, [], ["count"], typed={"count": "no_such_tracepoint"}))
    assert not untyped.typed
    untyped.attach("count", "sched_switch")
    untyped.close()


def test_the_kernel_tells_the_types_of_a_tracepoints_arguments() -> None:
    typed = LoadedPrograms(CompileRequest(COUNTS, [], ["count"], typed={"count": "sched_switch"}))
    assert typed.typed == {"count"}
    typed.attach("count", "sched_switch")
    typed.close()
