"""Network namespaces that the test makes, with real sockets in them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcptop_tui.diag import namespaces as module
from tcptop_tui.diag.dump import Dump
from tcptop_tui.diag.namespaces import Namespaces, find_namespaces
from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.errors import TcptopError
from tcptop_tui.records import Rows, State
from tests.support.namespaces import inside

pytestmark = pytest.mark.host


@pytest.fixture
def named() -> Iterator[str]:
    """A namespace of ``ip netns``."""
    name = f"tcptop-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces cannot be made here")
    yield name
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    made = Namespaces(64)
    yield made
    made.close()


def there(rows: Rows, inode: int) -> list[tuple[int, int, int]]:
    rows = rows[rows["netns"] == inode]
    return sorted(rows[["lport", "rport", "state"]].tolist())


def anew(namespaces: Namespaces) -> Dump:
    """A dump after a look, however short ago the last one was."""
    namespaces.refresh()
    return namespaces.dump()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def own() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_sockets_of_a_namespace_come_with_its_number(namespaces: Namespaces) -> None:
    with inside() as one, inside() as two:
        assert len({one.inode, two.inode, own()}) == 3
        dump = namespaces.dump()
        assert {one.inode, two.inode, own()} <= dump.netns
        for made in (one, two):
            assert there(dump.rows, made.inode) == sorted([
                (4321, 0, State.LISTEN), (4321, made.port, State.ESTABLISHED), (made.port, 4321, State.ESTABLISHED),
            ])  # fmt: skip
        assert own() == Path(f"/proc/{os.getppid()}/ns/net").stat().st_ino  # we are back


def test_one_that_comes_later_is_found_and_let_go_again(namespaces: Namespaces) -> None:
    anew(namespaces)
    before = descriptors()
    with inside() as made:
        assert made.inode in anew(namespaces).netns
        assert descriptors() == before + 1 + 2  # our socket there, and the two pipes to the process
        made.end()
        assert made.inode not in anew(namespaces).netns
    assert descriptors() == before


def test_nothing_of_ours_keeps_a_namespace_alive(namespaces: Namespaces) -> None:
    """The end of a veth pair lives as long as its namespace does; its other end says when that is over."""
    link = f"tt{os.getpid()}"
    with inside() as made:
        if subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", "there", "netns", str(made.pid)],
                          check=False, capture_output=True).returncode:  # fmt: skip
            pytest.skip("no veth here")
        anew(namespaces)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as links:
            links.bind((0, 1))  # RTMGRP_LINK
            links.settimeout(20)
            made.end()
            assert Path(f"/sys/class/net/{link}").exists()  # our socket keeps it until we look
            namespaces.refresh()
            while Path(f"/sys/class/net/{link}").exists():
                links.recv(65536)
    assert not Path(f"/sys/class/net/{link}").exists()


def test_a_mount_keeps_a_namespace_and_names_it(namespaces: Namespaces, named: str) -> None:
    inode = Path(f"/run/netns/{named}").stat().st_ino
    assert inode in anew(namespaces).netns
    assert namespaces.names[inode] == named
    with inside("ip", "netns", "exec", named) as made:
        assert made.inode == inode
        assert len(there(anew(namespaces).rows, inode)) == 3
        assert find_namespaces()[inode].pid == made.pid
    subprocess.run(["ip", "netns", "del", named], check=True)
    assert inode not in anew(namespaces).netns
    assert inode not in namespaces.names


def test_a_file_that_is_no_namespace_is_none(namespaces: Namespaces, named: str) -> None:
    plain = Path(f"/run/netns/{named}-plain")
    plain.touch()
    try:
        assert f"{named}-plain" not in namespaces.names.values()
        assert plain.stat().st_ino not in find_namespaces()
    finally:
        plain.unlink()


def test_a_container_names_its_namespace(namespaces: Namespaces) -> None:
    """A process in a cgroup as docker makes it, in a namespace of its own."""
    from tcptop_tui.host.cgroups import mount_point  # noqa: PLC0415

    root, identity = mount_point(), "ab" * 32
    if root is None or os.geteuid():
        pytest.skip("cgroups cannot be made here")
    group = root / f"docker-{identity}.scope"
    group.mkdir()
    try:
        with inside("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec unshare --net "$@"', "sh") as made:
            rows = anew(namespaces).rows
            assert namespaces.names[made.inode] == "docker:" + "ab" * 6
            rows = rows[(rows["netns"] == made.inode) & (rows["state"] == State.LISTEN)]
            assert rows["cgroup"].tolist() == [group.stat().st_ino]
    finally:
        group.rmdir()


def test_no_more_than_asked_for_and_the_rest_is_counted() -> None:
    with inside() as one, inside() as two:
        made = Namespaces(1)
        assert made.dump().netns == {own()}
        assert made.skipped == len(find_namespaces()) - 1 >= 2
        made.close()
        assert {one.inode, two.inode} <= find_namespaces().keys()


def test_without_privileges_there_is_only_our_own() -> None:
    script = (
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from tcptop_tui.diag.namespaces import Namespaces\n"
        "made = Namespaces(64); dump = made.dump()\n"
        "print(sorted(dump.netns), made.skipped, os.stat('/proc/self/ns/net').st_ino)"
    )
    with inside() as made:
        said = subprocess.check_output([sys.executable, "-c", script], text=True, timeout=30)
        assert said == f"[{own()}] 0 {own()}\n"
        assert str(made.inode) not in said


def test_a_thread_that_cannot_come_back_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child, for it is lost indeed: the way home leads to something that is no namespace."""
    script = (
        "import os\nfrom tcptop_tui.diag import namespaces as m\nfrom tcptop_tui.errors import TcptopError\n"
        "visit = m.NamespaceVisitor(); other = os.open('/proc/self/status', os.O_RDONLY); os.dup2(other, visit._home)\n"
        "import sys\npath = sys.argv[1]; inode = os.stat(path).st_ino\n"
        "try: visit.open_in(inode, path, lambda: m.SockDiag(inode))\n"
        "except TcptopError as error: print(type(error).__name__, error)"
    )
    with inside() as made:
        said = subprocess.check_output(
            [sys.executable, "-c", script, f"/proc/{made.pid}/ns/net"], text=True, timeout=30
        )
    assert said.startswith("TcptopError no way back into our own network namespace")


def test_a_path_that_has_come_to_stand_for_another_namespace_is_not_entered() -> None:
    visit = module.NamespaceVisitor()
    with inside() as made, pytest.raises(ProcessLookupError):
        visit.open_in(own(), f"/proc/{made.pid}/ns/net", SockDiag)
    visit.close()
    assert issubclass(TcptopError, Exception)
