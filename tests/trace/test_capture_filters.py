"""Capture filters by cgroup and by other people's pinned maps, in the kernel."""

from __future__ import annotations

import ctypes as ct
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tcptop_tui.bpf.load.bcc_library import load_bcc
from tests.support.trace_process import Stream, calling, streaming

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("bpf_possible")]

_BPF_MAP_TYPE_HASH = 1

Pin = Callable[[str, list[int], int], Path]


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A new cgroup (v2)."""
    (root,) = (Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines() if " cgroup2 " in line)
    made = root / "tcptop-test"
    inner = made / "inner"
    inner.mkdir(parents=True)
    yield made
    inner.rmdir()
    made.rmdir()


@pytest.fixture
def pin(tmp_path: Path) -> Iterator[Pin]:
    """Makes a pinned hash map with u64 keys."""
    subprocess.run(["mount", "-t", "bpf", "none", str(tmp_path)], check=True)
    lib = load_bcc().lib
    opened: list[int] = []

    def make(name: str, keys: list[int], value_bytes: int) -> Path:
        fd = lib.bcc_create_map(_BPF_MAP_TYPE_HASH, name.encode(), 8, value_bytes, 64, 0)
        assert fd >= 0
        opened.append(fd)
        for number in keys:
            key, value = ct.c_uint64(number), (ct.c_uint8 * value_bytes)()
            assert lib.bpf_update_elem(fd, ct.byref(key), ct.byref(value), 0) == 0
        assert lib.bpf_obj_pin(fd, str(tmp_path / name).encode()) == 0
        return tmp_path / name

    yield make
    for fd in opened:
        os.close(fd)
    subprocess.run(["umount", str(tmp_path)], check=True)


def inside(group: Path) -> tuple[str, ...]:
    """A prefix that moves a command into ``group``."""
    return ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")


def ports(stream: Stream) -> set[str]:
    return {line.split(",")[4] for line in stream.lines} - {str(stream.calls_port)}


@pytest.mark.parametrize("below", [".", "inner"])
def test_cgroup_and_what_is_below_it(cgroup: Path, below: str) -> None:
    with streaming("states", "-sw", "--cgroup", str(cgroup)) as stream:
        with calling(inside=inside(cgroup / below)) as call, calling() as other:
            call.close()
            other.close()
        stream.end()
    assert {line.split(",")[5] for line in stream.lines} == {str(call.client_port), str(call.server_port)}
    name = "/tcptop-test" if below == "." else "/tcptop-test/inner"
    assert {line.split(",")[-2] for line in stream.lines} <= {name, str((cgroup / below).stat().st_ino)}


def test_cgroups_in_a_pinned_map(cgroup: Path, pin: Pin) -> None:
    path = pin("cgroups", [cgroup.stat().st_ino], 8)
    with streaming("life", "-s", "--cgroupmap", str(path)) as stream:
        with calling(inside=inside(cgroup)) as call, calling(inside=inside(cgroup / "inner")) as deeper:
            call.close()
            deeper.close()
        stream.end()
    assert ports(stream) == {str(call.client_port), str(call.server_port)}


def test_mount_namespaces_in_a_pinned_map(pin: Pin) -> None:
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", "echo up; exec sleep 300"], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline()
    namespace = f"/proc/{holder.pid}/ns/mnt"
    path = pin("mntns", [Path(namespace).stat().st_ino], 4)
    with streaming("life", "-s", "--mntnsmap", str(path)) as stream:
        with calling(inside=("nsenter", f"--mount={namespace}")) as call, calling() as other:
            call.close()
            other.close()
        stream.end()
    holder.kill()
    holder.communicate()
    assert ports(stream) == {str(call.client_port), str(call.server_port)}


@pytest.mark.parametrize("option", ["--cgroupmap", "--mntnsmap"])
def test_a_pin_that_is_not_there_is_said(option: str) -> None:
    stream = Stream("states", option, "/sys/fs/bpf/nothing-here", "--backend", "bpf")
    assert stream.wait() == 1
    assert stream.said == (
        "tcptop-tui: stopped: no pinned map /sys/fs/bpf/nothing-here: pin one with bpftool map pin, below /sys/fs/bpf\n"
    )


def test_a_cgroup_that_is_not_there_is_said() -> None:
    stream = Stream("states", "--cgroup", "/no/such/group")
    assert stream.wait() == 2
    assert stream.said.startswith("tcptop-tui: no cgroup /no/such/group")
    assert stream.said.count("\n") == 1
