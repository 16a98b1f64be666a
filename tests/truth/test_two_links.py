"""Connections with the same addresses and ports on two devices: for the kernel, and so here, two connections."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.records import Flag, Rows, State
from tcptop_tui.stream.batches import Capture, Table
from tests.support.links import FAR, NEAR, VRFS, Side, bound, linked, server, two_links, two_vrfs
from tests.support.running_source import Running
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

QUICK = dataclasses.replace(SMALL, refresh_s=0.1, reconcile_s=0.3)
BOTH = pytest.mark.parametrize("backend", [BpfSource, DiagSource])


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    with two_links() as made:
        yield made


def running(held: ExitStack, backend: Any) -> Running:
    made = Running(backend(QUICK, Capture()), QUICK)
    held.callback(made.close)
    made.until(lambda: bool(made.store.snapshot().now_ns))
    return made


def two_comparisons(source: Running, backend: Any) -> None:
    """Wait for so many tables that there are two dumps among them: for sock_diag each of them is one."""
    goal = sum(isinstance(batch, Table) for batch in source.batches) + (8 if backend is BpfSource else 2)
    source.until(lambda: sum(isinstance(batch, Table) for batch in source.batches) >= goal)


def rows_of(source: Running, side: Side, lport: int) -> Rows:
    rows = source.rows(lport)
    return rows[(rows["netns"] == side.inode) & (rows["state"] != State.LISTEN)]


def sent(source: Running, side: Side, lport: int) -> dict[int, int]:
    """Bytes by device."""
    return {int(row["dev"]): int(row["tx_bytes"]) for row in rows_of(source, side, lport)}


def named(source: Running, side: Side, lport: int) -> dict[str, int]:
    """Bytes by the device's name."""
    names = source.store.snapshot().names
    return {names.device(side.inode, dev): count for dev, count in sent(source, side, lport).items()}


def four(sides: tuple[Side, Side], held: ExitStack, family: int, lport: int, rport: int) -> list[socket.socket]:
    """Both connections, the near ends first; each sends another number of bytes."""
    near, far = sides
    if family == socket.AF_INET6:
        servers, connect = 2 * [held.enter_context(server(far, rport))], linked
    else:
        servers = [held.enter_context(server(far, rport, device, family)) for device in FAR]
        connect = bound
    ends: list[list[socket.socket]] = [[], []]
    for listener, device, count in zip(servers, NEAR, (1_000, 20_000), strict=True):
        client = held.enter_context(connect(near, device, lport, rport))
        accepted = held.enter_context(listener.accept()[0])
        client.sendall(bytes(count))
        assert len(accepted.recv(count, socket.MSG_WAITALL)) == count
        ends[0].append(client)
        ends[1].append(accepted)
    return ends[0] + ends[1]


@BOTH
@pytest.mark.parametrize(
    ("family", "lport", "rport"), [(socket.AF_INET6, 21_311, 21_310), (socket.AF_INET, 21_321, 21_320)]
)
def test_each_has_its_own_row_and_bytes_to_the_end(
    bpf_possible: None, sides: tuple[Side, Side], held: ExitStack, backend: Any, family: int, lport: int, rport: int
) -> None:
    near, far = sides
    shift = 0 if backend is BpfSource else 40  # what the other one left is in TIME_WAIT
    lport, rport = lport + shift, rport + shift
    source = running(held, backend)
    ends = four(sides, held, family, lport, rport)
    wanted = {near.index("va0"): 1_000, near.index("va1"): 20_000}
    source.until(lambda: sent(source, near, lport) == wanted)
    source.until(lambda: sorted(rows_of(source, far, rport)["rx_bytes"].tolist()) == [1_000, 20_000])
    assert set(rows_of(source, far, rport)["dev"].tolist()) == {far.index(device) for device in FAR}
    source.until(lambda: named(source, near, lport) == {"va0": 1_000, "va1": 20_000})
    ids = sorted(rows_of(source, near, lport)["id"].tolist())
    two_comparisons(source, backend)
    assert sorted(rows_of(source, near, lport)["id"].tolist()) == ids
    for sock in ends:
        sock.close()
    source.until(lambda: set(rows_of(source, near, lport)["state"].tolist()) == {State.TIME_WAIT})
    assert sent(source, near, lport) == wanted
    loss = source.store.snapshot().loss
    assert (loss.lost, loss.missed, loss.mended) == (0, 0, 0)


def test_transitions_have_the_device_from_the_first_one_on(
    bpf_possible: None, sides: tuple[Side, Side], held: ExitStack
) -> None:
    """An accepted socket gets its device after LISTEN -> SYN_RECV."""
    near, far = sides
    source = running(held, BpfSource)
    four(sides, held, socket.AF_INET6, 21_331, 21_330)

    def moved() -> Rows:
        log = source.store.snapshot().log
        mine = (log["lport"] == 21_331) | (log["rport"] == 21_331) | (log["oldstate"] == State.LISTEN)
        return log[mine & np.isin(log["netns"], [near.inode, far.inode])]

    source.until(lambda: len(moved()) == 8)
    devices = {side.inode: [side.index(name) for name in names] for side, names in ((near, NEAR), (far, FAR))}
    for inode, numbers in devices.items():
        assert sorted(moved()[moved()["netns"] == inode]["dev"].tolist()) == sorted(2 * numbers)


@BOTH
def test_one_that_is_bound_later_stays_the_same(
    bpf_possible: None, sides: tuple[Side, Side], held: ExitStack, backend: Any
) -> None:
    """setsockopt() changes the device of a connection that nothing else happens to."""
    near, far = sides
    shift = 0 if backend is BpfSource else 40
    lport, rport = 21_341 + shift, 21_340 + shift
    source = running(held, backend)
    listener = held.enter_context(server(far, rport, family=socket.AF_INET))
    client = near.make(socket.socket)
    held.enter_context(client)
    client.bind(("10.9.0.1", lport))
    client.connect(("10.9.0.2", rport))
    held.enter_context(listener.accept()[0])
    source.until(lambda: len(rows_of(source, near, lport)) == 1)
    (row,) = rows_of(source, near, lport)
    for device in (b"va0", b"va1", b"", b"va0"):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        index = near.index(device.decode()) if device else 0
        source.until(lambda index=index: rows_of(source, near, lport)["dev"].tolist() == [index])
        two_comparisons(source, backend)
        assert rows_of(source, near, lport)["dev"].tolist() == [index]
        assert rows_of(source, near, lport)["id"].tolist() == [row["id"]]
    client.close()
    source.until(lambda: rows_of(source, near, lport)["state"].tolist() in ([State.FIN_WAIT2], [State.FIN_WAIT1]))
    assert rows_of(source, near, lport)["flags"][0] & Flag.GAUGES
    loss = source.store.snapshot().loss
    assert (loss.lost, loss.missed, loss.mended) == (0, 0, 0)


@BOTH
def test_in_two_vrfs(bpf_possible: None, held: ExitStack, backend: Any) -> None:
    """An unbound listener accepts in both (tcp_l3mdev_accept); what it has accepted is bound to the VRF."""
    lport, rport = 21_351, 21_350
    with two_vrfs() as (near, far):
        source = running(held, backend)
        listener = held.enter_context(server(far, rport, family=socket.AF_INET))
        for vrf, count in zip(VRFS, (1_000, 20_000), strict=True):
            client = held.enter_context(bound(near, vrf, lport, rport))
            accepted = held.enter_context(listener.accept()[0])
            client.sendall(bytes(count))
            assert len(accepted.recv(count, socket.MSG_WAITALL)) == count
        source.until(lambda: named(source, near, lport) == {"red": 1_000, "blue": 20_000})
        source.until(lambda: named(source, far, rport).keys() == {"red", "blue"})
        loss = source.store.snapshot().loss
        assert (loss.lost, loss.missed, loss.mended) == (0, 0, 0)


def test_from_before_the_start_each_keeps_its_row_when_it_moves(
    bpf_possible: None, sides: tuple[Side, Side], held: ExitStack
) -> None:
    """Known from sock_diag alone at first, then met by the kernel programs at their first segments."""
    near, _ = sides
    lport, rport = 21_361, 21_360
    clients = four(sides, held, socket.AF_INET6, lport, rport)[:2]
    source = running(held, BpfSource)
    source.until(lambda: named(source, near, lport) == {"va0": 1_000, "va1": 20_000})
    before = {int(row["dev"]): int(row["id"]) for row in rows_of(source, near, lport)}
    for client, count in zip(clients, (7, 70), strict=True):
        client.sendall(bytes(count))
    source.until(lambda: named(source, near, lport) == {"va0": 1_007, "va1": 20_070})
    two_comparisons(source, BpfSource)
    assert {int(row["dev"]): int(row["id"]) for row in rows_of(source, near, lport)} == before
    assert source.store.snapshot().loss.mended == 0
