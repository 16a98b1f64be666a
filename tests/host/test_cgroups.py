"""Cgroups that the test makes, on the real hierarchy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.errors import UsageError
from tcptop_tui.host.cgroups import Cgroups, cgroup_id, mount_point

pytestmark = pytest.mark.host

LISTENS = "import socket; s=socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup with one below it."""
    root = mount_point()
    made = (root or Path("/nowhere")) / f"tcptop-test-{os.getpid()}"
    try:
        (made / "inner").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"cgroups cannot be made here: {error}")
    yield made
    (made / "inner").rmdir()
    made.rmdir()


def listener_in(group: Path) -> subprocess.Popen[bytes]:
    """A process in ``group`` that prints the port that it listens on, and ends with its input."""
    move = f'echo $$ > {group}/cgroup.procs && exec {sys.executable} -c "{LISTENS}"'
    return subprocess.Popen(["sh", "-c", move], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_mount_is_the_one_that_the_kernel_calls_cgroup2() -> None:
    root = mount_point()
    if root is None:
        pytest.skip("no cgroup v2 here")
    assert (root / "cgroup.procs").exists()
    assert subprocess.check_output(["stat", "-f", "-c", "%T", root], text=True).strip() == "cgroup2fs"


def test_a_sockets_cgroup_is_the_inode_of_its_directory(group: Path) -> None:
    with listener_in(group / "inner") as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        diag = SockDiag()
        rows = diag.dump().rows
        diag.close()
        assert rows[rows["lport"] == port]["cgroup"].tolist() == [(group / "inner").stat().st_ino]
        process.communicate(b"\n", timeout=10)


def test_ids_by_path_from_the_root_or_of_the_directory(group: Path) -> None:
    inode = group.stat().st_ino
    assert cgroup_id(f"/{group.name}") == cgroup_id(group.name) == cgroup_id(str(group)) == inode
    assert cgroup_id(f"/{group.name}/inner/") == (group / "inner").stat().st_ino


@pytest.mark.parametrize("path", ["/no/such/group", "/../..", "/cgroup.procs", ""])
def test_what_is_no_cgroup_is_said_in_a_line(path: str) -> None:
    if path == "":
        assert cgroup_id(path) == cgroup_id("/")
        return
    with pytest.raises(UsageError, match=r"^no cgroup ") as said:
        cgroup_id(path)
    assert "\n" not in str(said.value)


def test_paths_and_what_is_below(group: Path) -> None:
    groups = Cgroups()
    outer, inner = group.stat().st_ino, (group / "inner").stat().st_ino
    root = cgroup_id("/")
    assert groups.paths([outer, inner, 0, root]) == {
        outer: f"/{group.name}", inner: f"/{group.name}/inner", root: "/",
    }  # fmt: skip
    assert groups.descendants({outer}, [outer, inner, root]) == {outer, inner}
    assert groups.descendants({inner}, [outer, inner]) == {inner}
    assert groups.descendants({root}, [outer, inner]) == {root, outer, inner}


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_it_walks_for_what_is_new_and_not_too_often(tmp_path: Path) -> None:
    """A hierarchy of directories stands for the kernel's: what is asked is when it is read."""
    clock = Clock()
    groups = Cgroups(tmp_path, clock)
    (tmp_path / "a").mkdir()
    first = (tmp_path / "a").stat().st_ino
    assert groups.paths([first]) == {first: "/a"}
    (tmp_path / "b").mkdir()
    second = (tmp_path / "b").stat().st_ino
    assert groups.paths([first, second]) == {first: "/a"}  # too early
    clock.now_s += 60
    assert groups.paths([first, second]) == {first: "/a", second: "/b"}
    # what has been removed keeps its name while it is asked for
    (tmp_path / "a").rmdir()
    clock.now_s += 60
    assert groups.paths([first, second, 2**60]) == {first: "/a", second: "/b"}


def test_without_a_hierarchy_nothing_is_known(tmp_path: Path) -> None:
    assert Cgroups(tmp_path / "none").paths([1, 2]) == {}
    assert Cgroups(tmp_path / "none").descendants({1}, [2]) == {1}
