"""sock_diag against sockets that the test opens, and against ss."""

from __future__ import annotations

import os
import socket
import struct
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import NOW, SECOND, connections
from sockets import listening, pair, port, reset, until_closed, until_state

from tcptop_tui.diag.diff import Differ
from tcptop_tui.diag.netlink import SockDiag, runs
from tcptop_tui.diag.owners import Owners
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.records import UNKNOWN_UID, Flag, Rows, State
from tcptop_tui.settings import Settings
from tcptop_tui.source.batches import Batch, Capture, Sessions, Status, Table, Transitions


def found(rows: Rows, lport: int, rport: int | None = None) -> Rows:
    mine = rows[rows["lport"] == lport]
    return mine if rport is None else mine[mine["rport"] == rport]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_states_bytes_and_addresses(family: int) -> None:
    diag = SockDiag()
    with listening(family) as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        client.sendall(b"x" * 5000)
        assert len(accepted.recv(5000, socket.MSG_WAITALL)) == 5000
        client.shutdown(socket.SHUT_WR)
        until_closed(accepted)
        until_state(client, State.FIN_WAIT2)
        rows = diag.dump().rows
        near, far = found(rows, here, there)[0], found(rows, there, here)[0]
        assert found(rows, there, 0)["state"].tolist() == [State.LISTEN]
        assert (near["state"], far["state"]) == (State.FIN_WAIT2, State.CLOSE_WAIT)
        assert (near["tx_bytes"], near["rx_bytes"]) == (5000, 0)
        assert (far["tx_bytes"], far["rx_bytes"]) == (0, 5000)  # and not 5001 for the FIN
        assert near["srtt_us"] > 0
        assert near["uid"] == os.getuid()
        assert near["flags"] & Flag.GAUGES
        accepted.close()
        until_closed(client)
        client.close()
        gone = found(diag.dump().rows, here, there)
        assert gone["state"].tolist() == [State.TIME_WAIT]
        assert gone["uid"][0] == UNKNOWN_UID
        assert not gone["flags"][0]
        assert gone["state_ns"][0] > 0
    diag.close()


def test_as_many_as_ss_finds() -> None:
    with listening(backlog=512) as server:
        ends = [sock for _ in range(300) for sock in pair(server)]
        diag = SockDiag()
        rows = diag.dump().rows
        told = subprocess.run(["ss", "-tanH"], capture_output=True, text=True, check=True).stdout.splitlines()
        ours = {(int(row["lport"]), int(row["rport"])) for row in rows if row["state"] == State.ESTABLISHED}
        theirs = set()
        for line in told:
            state, _, _, local, remote, *_ = line.split()
            if state == "ESTAB":
                theirs.add((int(local.rpartition(":")[2]), int(remote.rpartition(":")[2])))
        assert ours == theirs
        assert len(ours) >= 600
        diag.close()
        for sock in ends:
            reset(sock)


def test_owners_are_found_once_and_forgotten() -> None:
    owners = Owners()
    with listening() as server:
        inode = np.array([os.fstat(server.fileno()).st_ino, 0], "u4")
        pid, comm = owners.resolve(inode)
        assert pid.tolist() == [os.getpid(), 0]
        with open("/proc/self/comm", "rb") as file:
            assert comm[0] == file.read().strip()
    assert owners.resolve(inode)[0].tolist() == [os.getpid(), 0]
    owners.resolve(np.zeros(0, "u4"))
    assert not owners._known


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    for offset, length, count, _kind in runs(np.frombuffer(data, "u1")):
        assert offset + count * length <= len(data)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=30))
def test_runs_cover_every_message(messages: list[tuple[int, int]]) -> None:
    data = b"".join(struct.pack("<IHHII", 16 + size, kind, 0, 1, 0) + bytes((size + 3) & ~3) for size, kind in messages)
    seen = [(length, kind) for _offset, length, count, kind in runs(np.frombuffer(data, "u1")) for _ in range(count)]
    assert seen == [(16 + ((size + 3) & ~3), kind) for size, kind in messages]


def changed(differ: Differ, now_ns: int, *given: dict[str, object]) -> tuple[Rows, list[tuple[int, int]], Rows]:
    rows = connections(*({"cookie": 1, "born_ns": 0, "state_ns": 0} | fields for fields in given))
    rows["id"] = rows["skaddr"] = 0
    changes = differ.compare(rows, now_ns)
    moves = [(int(t["oldstate"]), int(t["newstate"])) for t in changes.transitions]
    return changes.rows, moves, changes.sessions


def test_polls_are_compared() -> None:
    differ = Differ()
    rows, moves, _ = changed(differ, NOW, {})
    assert not moves  # nothing is known of before
    first = int(rows["id"][0])
    rows, moves, _ = changed(differ, NOW + SECOND, {"state": State.CLOSE_WAIT}, {"cookie": 2, "rport": 9})
    assert sorted(moves) == [(State.ESTABLISHED, State.CLOSE_WAIT), (State.CLOSE, State.ESTABLISHED)]
    assert rows["id"][0] == first
    assert rows["state_ns"].tolist() == [NOW + SECOND] * 2
    assert rows["born_ns"].tolist() == [0, NOW + SECOND]
    _, moves, ended = changed(differ, NOW + 2 * SECOND, {"state": State.CLOSE_WAIT})
    assert moves == [(State.ESTABLISHED, State.CLOSE)]
    assert ended["rport"].tolist() == [9]


def test_time_wait_is_the_same_connection() -> None:
    differ = Differ()
    rows, _, _ = changed(differ, NOW, {"pid": 5, "tx_bytes": 9})
    waiting = {"state": State.TIME_WAIT, "cookie": 77, "pid": 0, "comm": b"", "flags": 0}
    after, moves, ended = changed(differ, NOW + SECOND, waiting)
    assert moves == [(State.ESTABLISHED, State.TIME_WAIT)]
    assert (after["id"][0], after["pid"][0], after["tx_bytes"][0]) == (rows["id"][0], 5, 9)
    assert not len(ended)


class Steps:
    """Lets a source poll a number of times, doing something before each further poll."""

    def __init__(self, *actions: object) -> None:
        self.actions = list(actions)
        self.batches: list[Batch] = []

    def offer(self, batch: Batch) -> bool:
        self.batches.append(batch)
        return True

    def stopped(self, _seconds: float) -> bool:
        if not self.actions:
            return True
        action = self.actions.pop(0)
        if callable(action):
            action()
        return False

    def every(self, kind: type[Transitions | Sessions]) -> Rows:
        return np.concatenate([batch.rows for batch in self.batches if isinstance(batch, kind)])  # type: ignore[attr-defined]


def test_the_source_sees_what_happens_between_polls() -> None:
    with listening() as server:
        ends: list[socket.socket] = []
        steps = Steps(None, lambda: ends.extend(pair(server)), None, lambda: [reset(sock) for sock in ends], None, None)
        source = DiagSource(Settings(refresh_s=0.01, poll_s=0.01), Capture(lports=frozenset({port(server)})), "why")
        source.open()
        source.run(steps, steps.stopped)
        source.close()
        assert steps.batches[0] == Status("diag", "why")
        tables = [batch for batch in steps.batches if isinstance(batch, Table)]
        assert {len(table.rows) for table in tables} == {1, 2}
        assert (tables[-1].rows["pid"] == os.getpid()).all()
        moves = steps.every(Transitions)
        assert [(int(t["oldstate"]), int(t["newstate"])) for t in moves] == [
            (State.CLOSE, State.ESTABLISHED),
            (State.ESTABLISHED, State.CLOSE),
        ]
        assert (moves["flags"] & Flag.POLLED).all()
        assert len(steps.every(Sessions)) == 1
