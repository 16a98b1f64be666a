"""A pinned map that cannot say what is wanted is refused in one line; the rest is read wherever it is named."""

from __future__ import annotations

import ctypes as ct
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.bpf.load.libbpf import load_libbpf_functions
from tcptop_tui.bpf.load.syscalls import MapShape, create_map
from tcptop_tui.bpf.maps import write_hash
from tcptop_tui.bpf.program import Program
from tcptop_tui.host.c_functions import Signature
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture
from tests.support.privileges import NOBODY, PROGRAM

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("bpf_possible")]

HASH, ARRAY, LRU_HASH, PERCPU_HASH = 1, 2, 9, 5
SMALL = Settings(max_connections=16, ring_bytes=2**16, session_ring_bytes=2**16)

Pin = Callable[[MapShape], Path]


@pytest.fixture
def pin(tmp_path: Path) -> Iterator[Pin]:
    """Pins a map of this shape as ``pinned``."""
    subprocess.run(["mount", "-t", "bpf", "none", str(tmp_path)], check=True)
    pins = load_libbpf_functions({"bpf_obj_pin": Signature(ct.c_int, (ct.c_int, ct.c_char_p))})
    opened: list[int] = []

    def make(shape: MapShape) -> Path:
        opened.append(create_map("pinned", shape))
        assert pins.bpf_obj_pin(opened[-1], bytes(tmp_path / "pinned")) == 0
        if shape.key_size == 8:
            write_hash(opened[-1], np.array([7, 9], "<u8"), np.zeros((2, shape.value_size), "u1"))
        return tmp_path / "pinned"

    yield make
    for fd in opened:
        os.close(fd)
    subprocess.run(["umount", str(tmp_path)], check=True)


def said(*arguments: str, folder: Path | None = None, before: tuple[str, ...] = ()) -> str:
    """What a stream says that ends by itself, with exit code 1 and nothing on standard output."""
    command = [*before, *PROGRAM, "trace", "states", "--duration", "5", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("option", ["--cgroupmap", "--mntnsmap"])
@pytest.mark.parametrize(
    ("shape", "wrong"),
    [
        (MapShape(ARRAY, 4, 8, 64, 0), "is no hash: array"),
        (MapShape(HASH, 4, 4, 64, 0), "has keys of 4 bytes, not 8"),
        (MapShape(HASH, 16, 8, 64, 0), "has keys of 16 bytes, not 8"),
        (MapShape(PERCPU_HASH, 8, 8, 64, 0), "is no hash: per-CPU hash"),
    ],
)
def test_a_map_of_another_kind_is_refused(pin: Pin, option: str, shape: MapShape, wrong: str) -> None:
    """Every index of an array is there: it would have let everything pass."""
    path = pin(shape)
    assert f"the map pinned at {path} {wrong}: bpftool map create" in said(option, str(path))


def test_auto_says_what_is_wrong_with_the_map_and_not_that_sock_diag_cannot_ask_it(pin: Pin, tmp_path: Path) -> None:
    pin(MapShape(HASH, 8, 8, 64, 0))
    assert "no pinned map other" in said("--cgroupmap", "other", folder=tmp_path)
    for name in (".", sys.executable):
        assert f"{name} cannot be opened as a pinned map" in said("--mntnsmap", name, folder=tmp_path)


def test_without_privileges_the_reason_is_said(pin: Pin) -> None:
    """sock_diag would show what was not asked for."""
    path = pin(MapShape(HASH, 8, 8, 64, 0))
    assert "BPF needs more privileges" in said("--cgroupmap", str(path), before=NOBODY)


@pytest.mark.parametrize("shape", [MapShape(HASH, 8, 8, 64, 0), MapShape(LRU_HASH, 8, 1, 64, 0)])
def test_a_relative_path_leads_to_the_map(pin: Pin, shape: MapShape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its values are: only keys count."""
    monkeypatch.chdir(pin(shape).parent)
    program = Program(SMALL, Capture(cgroup_map_path="pinned", mntns_map_path="./pinned"))
    try:
        assert sorted(program.read_pinned("pinned_cgroups").tolist()) == [7, 9]
        assert sorted(program.read_pinned("pinned_mntns").tolist()) == [7, 9]
    finally:
        program.close()
