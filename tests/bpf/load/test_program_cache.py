"""Programs are compiled once; what is kept of them is used only if it is our own, and only as the compiler made it."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tcptop_tui.bpf.load.compiler_client import LoadedPrograms
from tcptop_tui.bpf.program import Program
from tcptop_tui.stream.batches import Capture
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

EXIT = base64.b64encode(bytes.fromhex("b7000000000000009500000000000000")).decode()
"""``r0 = 0; exit``: what somebody might plant."""
NOBODY = 65534
OWN = replace(SMALL, max_connections=2048)
"""Sizes that no other test has: in an emulated machine theirs are kept in another way (``vm/compiled_once.py``)."""


@pytest.fixture(autouse=True)
def folder(bpf_possible: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs are kept, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tcptop-tui" / "programs"


def kernels_words() -> dict[str, str]:
    """What the kernel says that it has loaded: a hash of each program's instructions, without descriptors."""
    compiled = LoadedPrograms(Program.start_compiler(OWN, Capture()))
    try:
        return {name: tag_of(fd) for name, fd in compiled.functions.items()}
    finally:
        compiled.close()


def tag_of(fd: int) -> str:
    fields = dict(line.split(":\t") for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines())
    return f"{fields['prog_type']} {fields['prog_tag']}"


def the_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def planted(folder: Path) -> bytes:
    kept = json.loads(the_file(folder).read_bytes())
    for program in kept["programs"].values():
        program.update(code=EXIT, maps={})
    return json.dumps(kept).encode()


def test_the_second_start_has_the_same_programs_without_a_compiler(folder: Path) -> None:
    compiled, file = kernels_words(), the_file(folder)
    made = file.stat()
    assert made.st_mode & 0o777 == 0o600
    assert kernels_words() == compiled
    assert the_file(folder).stat().st_ino == made.st_ino  # not written again: nothing was compiled


def test_kept_programs_are_what_is_loaded(folder: Path) -> None:
    """Or the tests below would prove nothing."""
    compiled = kernels_words()
    the_file(folder).write_bytes(planted(folder))
    assert set(compiled.values()).isdisjoint(kernels_words().values())


@pytest.mark.parametrize("foreign", ["file", "folder"])
def test_what_somebody_else_may_write_is_not_loaded(folder: Path, foreign: str) -> None:
    compiled = kernels_words()
    the_file(folder).write_bytes(planted(folder))
    os.chown(the_file(folder) if foreign == "file" else folder, NOBODY, NOBODY)
    assert kernels_words() == compiled


@pytest.mark.parametrize(
    "damage", [b"", bytes(50_000), b"[]", b'{"maps": {}, "programs": {}}'], ids=["empty", "zeros", "list", "half"]
)
def test_what_is_damaged_is_compiled_and_kept_anew(folder: Path, damage: bytes) -> None:
    compiled, file = kernels_words(), the_file(folder)
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert kernels_words() == compiled
    assert file.read_bytes() == whole


def test_what_the_verifier_refuses_is_compiled(folder: Path) -> None:
    compiled, file = kernels_words(), the_file(folder)
    kept = json.loads(file.read_bytes())
    kept["programs"]["set_state"]["code"] = base64.b64encode(bytes.fromhex("9500000000000000")).decode()  # no result
    kept["programs"]["set_state"]["maps"] = {}
    file.write_bytes(json.dumps(kept).encode())
    assert kernels_words() == compiled


def test_no_more_than_so_many_are_kept(folder: Path) -> None:
    kernels_words()
    newest = the_file(folder)
    for number in range(40):
        other = folder / f"{number:040}"
        other.touch()
        os.utime(other, (number, number))
    newest.write_bytes(b"")  # compiled, and written, again
    kernels_words()
    left = sorted(folder.iterdir())
    assert len(left) == 16
    assert newest in left


def test_where_nothing_can_be_kept_it_is_compiled_each_time(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    assert kernels_words() == kernels_words()
