"""Both sources on sockets in other namespaces and cgroups: what they show, name and leave out."""

from __future__ import annotations

import ctypes as ct
import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tcptop_tui.bpf.load.bcc_library import load_bcc
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.records import Rows, State
from tcptop_tui.stream.batches import Capture, Names, Status, Table, Transitions
from tests.support.namespaces import Inside, cgroup, in_cgroup, inside
from tests.support.running_source import Running
from tests.support.sockets import listening, pair, port, reset
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

QUICK = dataclasses.replace(SMALL, refresh_s=0.1, reconcile_s=0.3)
BOTH = pytest.mark.parametrize("backend", [BpfSource, DiagSource])

Start = Callable[..., Running]


@pytest.fixture
def start(bpf_possible: None) -> Iterator[Start]:
    running: list[Running] = []

    def begin(backend: Any, capture: Capture | None = None, **changes: Any) -> Running:
        settings = dataclasses.replace(QUICK, **changes)
        running.append(Running(backend(settings, capture or Capture()), settings))
        return running[-1]

    yield begin
    for one in running:
        one.close()


def of(source: Running, netns: int) -> Rows:
    rows = source.store.snapshot().rows
    return rows[rows["netns"] == netns]


def tables(source: Running) -> int:
    return sum(isinstance(batch, Table) for batch in source.batches)


def more_tables(source: Running, count: int) -> None:
    goal = tables(source) + count
    source.until(lambda: tables(source) >= goal)


def check_all_of(source: Running, made: Inside) -> None:
    source.until(lambda: len(of(source, made.inode)) == 3 and bool((of(source, made.inode)["pid"] == made.pid).all()))
    rows = of(source, made.inode)
    assert sorted(rows[["lport", "rport", "state"]].tolist()) == sorted([
        (4321, 0, State.LISTEN), (4321, made.port, State.ESTABLISHED), (made.port, 4321, State.ESTABLISHED),
    ])  # fmt: skip


@BOTH
def test_sockets_from_before_and_from_later_come_and_go(start: Start, backend: Any) -> None:
    with inside() as before:
        source = start(backend)
        check_all_of(source, before)
        with inside() as later:
            check_all_of(source, later)
            ids = {made.inode: set(of(source, made.inode)["id"].tolist()) for made in (before, later)}
            more_tables(source, 8)
            for made in (before, later):
                assert set(of(source, made.inode)["id"].tolist()) == ids[made.inode]
        before.end()
        source.until(lambda: not len(of(source, before.inode)) and not len(of(source, later.inode)))
        assert (source.store.snapshot().loss.missed, source.store.snapshot().loss.mended) == (0, 0)


@BOTH
def test_names_go_with_the_rows(start: Start, backend: Any) -> None:
    name = f"tcptop-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with cgroup() as group, inside(*in_cgroup(group, "ip", "netns", "exec", name)) as made:
            source = start(backend)
            check_all_of(source, made)
            assert set(of(source, made.inode)["cgroup"].tolist()) == {group.stat().st_ino}
            source.until(lambda: group.stat().st_ino in source.store.snapshot().names.cgroups)
            names = source.store.snapshot().names
            assert names.cgroups[group.stat().st_ino] == f"/{group.name}"
            assert names.netns[made.inode] == name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_new_cgroup_has_its_name_before_its_first_event(start: Start) -> None:
    with cgroup() as group:
        source = start(BpfSource)
        more_tables(source, 1)
        with inside(*in_cgroup(group)) as made:
            check_all_of(source, made)
        batches = list(source.batches)
        ours = group.stat().st_ino
        (first, *_) = [
            index for index, one in enumerate(batches) if isinstance(one, Transitions) and ours in one.rows["cgroup"]
        ]
        named = [index for index, one in enumerate(batches) if isinstance(one, Names) and ours in one.cgroups]
        assert named[0] < first


@BOTH
def test_a_cgroup_and_what_is_below_it(start: Start, backend: Any) -> None:
    with cgroup("inner", "other") as group, listening() as server:
        client, accepted = pair(server)
        with (
            inside(*in_cgroup(group / "inner")) as wanted,
            inside(*in_cgroup(group / "other")) as sibling,
            inside() as stranger,
        ):
            one = start(backend, Capture(cgroups=frozenset([(group / "inner").stat().st_ino])))
            all_below = start(backend, Capture(cgroups=frozenset([group.stat().st_ino])))
            check_all_of(one, wanted)
            check_all_of(all_below, wanted)
            check_all_of(all_below, sibling)
            for source in (one, all_below):
                assert not len(of(source, stranger.inode))
                assert not len(source.rows(port(server)))
            assert not len(of(one, sibling.inode))
            late, far = pair(server)
            more_tables(one, 12)
            assert not len(one.rows(port(server)))
            # what the kernel programs leave out they have not missed
            assert (one.store.snapshot().loss.missed, one.store.snapshot().loss.mended) == (0, 0)
            reset(late)
            reset(client)
            accepted.close()
            far.close()


def test_another_process_than_the_one_asked_for_is_not_missed(start: Start) -> None:
    with inside() as made, listening() as server:
        source = start(BpfSource, Capture(pids=frozenset([made.pid])))
        check_all_of(source, made)
        client, accepted = pair(server)
        # whose it is comes out with a scan of /proc, every two seconds at most
        more_tables(source, 50)
        assert not len(source.rows(port(client), port(server)))
        assert (source.store.snapshot().loss.missed, source.store.snapshot().loss.mended) == (0, 0)
        reset(client)
        accepted.close()


@BOTH
def test_namespaces_that_are_too_many_are_said(start: Start, backend: Any) -> None:
    with inside(), inside():
        source = start(backend, max_namespaces=1)
        source.until(lambda: "not read from sock_diag" in source.store.snapshot().status.note)
        (said,) = [batch.note for batch in source.batches if isinstance(batch, Status) and "too many" in batch.note]
        assert int(said.split()[0]) >= 2


@pytest.fixture
def pin(tmp_path: Path) -> Iterator[Callable[[list[int], int], str]]:
    """Pins a hash map with these keys (u64) and values of so many bytes."""
    subprocess.run(["mount", "-t", "bpf", "none", str(tmp_path)], check=True)
    lib = load_bcc().lib
    opened: list[int] = []

    def make(keys: list[int], value_bytes: int) -> str:
        opened.append(lib.bcc_create_map(1, b"pinned", 8, value_bytes, 64, 0))
        for number in keys:
            key, value = ct.c_uint64(number), (ct.c_uint8 * value_bytes)()
            assert lib.bpf_update_elem(opened[-1], ct.byref(key), ct.byref(value), 0) == 0
        assert lib.bpf_obj_pin(opened[-1], str(tmp_path / "pinned").encode()) == 0
        return str(tmp_path / "pinned")

    yield make
    for fd in opened:
        os.close(fd)
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_sockets_from_before_by_cgroups_in_a_pinned_map(start: Start, pin: Callable[[list[int], int], str]) -> None:
    with cgroup("inner") as group:
        path = pin([group.stat().st_ino], 8)
        with inside(*in_cgroup(group)) as wanted, inside(*in_cgroup(group / "inner")) as deeper, inside() as stranger:
            source = start(BpfSource, Capture(cgroup_map_path=path))
            check_all_of(source, wanted)
            more_tables(source, 8)
            assert not len(of(source, deeper.inode))
            assert not len(of(source, stranger.inode))


def test_sockets_from_before_by_mount_namespaces_in_a_pinned_map(
    start: Start, pin: Callable[[list[int], int], str]
) -> None:
    with inside("unshare", "--net", "--mount") as wanted, inside() as stranger:
        path = pin([Path(f"/proc/{wanted.pid}/ns/mnt").stat().st_ino], 4)
        source = start(BpfSource, Capture(mntns_map_path=path))
        check_all_of(source, wanted)
        more_tables(source, 8)
        assert not len(of(source, stranger.inode))
        # one that comes later is left out like those from before
        with inside() as later:
            more_tables(source, 12)
            assert not len(of(source, later.inode))
        assert (source.store.snapshot().loss.missed, source.store.snapshot().loss.mended) == (0, 0)


@pytest.mark.parametrize("capture", [Capture(cgroup_map_path="/x"), Capture(mntns_map_path="/x")])
def test_without_bpf_a_pinned_map_cannot_be_asked(capture: Capture) -> None:
    with pytest.raises(BackendUnavailable, match="pinned map"):
        DiagSource(QUICK, capture).open()
