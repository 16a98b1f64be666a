"""Filters by namespace, by cgroup and by how a connection ended."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcptop_tui.filters import FilterError, RowContext, parse
from tcptop_tui.records import CloseFlag, Flag, Rows, State
from tests.support.namespaces import cgroup
from tests.support.samples import connections, sessions, transitions


def chosen(text: str, rows: Rows) -> list[int]:
    return [int(index) for index in np.flatnonzero(parse(text).matches(RowContext(rows, 1, None, None)))]


@pytest.fixture
def named() -> Iterator[tuple[str, int]]:
    """Name and inode number of a namespace of ``ip netns``."""
    name = f"tcptop-filter-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces cannot be made here")
    yield name, Path(f"/run/netns/{name}").stat().st_ino
    subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_namespace_by_name_or_number(named: tuple[str, int]) -> None:
    name, inode = named
    rows = connections({"netns": 1}, {"netns": inode}, {"netns": 0})
    assert chosen(f"netns:{name}", rows) == chosen(f"netns={inode}", rows) == [1]
    assert chosen(f'netns:1,"{name}"', rows) == [0, 1]
    assert chosen("netns:1-5", rows) == [0]
    assert chosen(f"!netns:{name}", rows) == [0, 2]


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("netns:no-such", 6, "no network namespace 'no-such'"),
        ("netns:../self", 6, "'../self' cannot be the name"),
        ("netns>blue", 6, "'blue' is not a whole number"),
        ("netns:/x/", 6, "only comm takes a regular expression"),
        ("cgroup:/no/such", 7, "no cgroup '/no/such'"),
        ("443 cgroup:/..", 11, "no cgroup '/..'"),
        ("cgroup>5", 7, "this field has no order"),
        ("why:refusd", 4, "no way to end 'refusd'"),
        ("why:what,reset", 4, "no way to end 'what'"),
    ],
)
def test_what_is_not_there_is_said_with_its_place(text: str, column: int, problem: str) -> None:
    with pytest.raises(FilterError) as said:
        parse(text)
    assert said.value.column == column
    assert said.value.problem.startswith(problem)
    assert said.value.hint or "regular" in problem or "whole" in problem


def test_a_cgroup_by_path_or_number_with_all_below() -> None:
    with cgroup("inner") as group:
        outer, inner = group.stat().st_ino, (group / "inner").stat().st_ino
        rows = connections({"cgroup": outer}, {"cgroup": inner}, {"cgroup": 0}, {"cgroup": 2**50})
        assert chosen(f"cgroup:/{group.name}", rows) == chosen(f"cgroup:{outer}", rows) == [0, 1]
        assert chosen(f"cgroup:{group}", rows) == chosen(f"cgroup={group.name}/", rows) == [0, 1]
        assert chosen(f"cgroup:/{group.name}/inner", rows) == [1]
        assert chosen(f"cgroup:{2**50},/{group.name}/inner", rows) == [1, 3]
        assert chosen(f"!cgroup:/{group.name}", rows) == [2, 3]
        assert chosen("cgroup:0", rows) == []
        # a filter that stands sees what is made later
        standing = parse(f"cgroup:/{group.name}")
        (group / "later").mkdir()
        try:
            rows = connections({"cgroup": (group / "later").stat().st_ino})
            assert standing.matches(RowContext(rows, 1, None, None)).tolist() == [True]
        finally:
            (group / "later").rmdir()


def test_paths_need_no_quotation_marks_and_other_slashes_stay_regular_expressions() -> None:
    rows = connections({"comm": b"nginx"})
    assert chosen("comm:/^ng/", rows) == chosen("/x$/", rows) == [0]
    assert parse("cgroup:/,/").text == "cgroup:/,/"


ENDS: list[dict[str, Any]] = [
    {"close_flags": CloseFlag.FIN_SENT},
    {"close_flags": CloseFlag.FIN_SENT | CloseFlag.FIN_RECEIVED | CloseFlag.PEER_FIRST},
    {"close_flags": CloseFlag.RST_SENT},
    {"close_flags": CloseFlag.RST_RECEIVED, "err": errno.ECONNRESET},
    {"err": errno.ECONNREFUSED, "flags": Flag.ACTIVE, "oldstate": State.SYN_SENT},
    {"err": errno.ETIMEDOUT},
    {"err": errno.EHOSTUNREACH},
    {"err": errno.ECONNABORTED},
    {"flags": Flag.ACTIVE, "oldstate": State.SYN_SENT},
    {"flags": Flag.ACTIVE, "oldstate": State.SYN_SENT, "err": errno.EADDRNOTAVAIL},
    {"err": errno.EPERM},
    {"state": State.ESTABLISHED, "newstate": State.ESTABLISHED, "close_flags": CloseFlag.FIN_SENT},
    {"close_flags": 0},
]


@pytest.mark.parametrize("make", [connections, sessions, transitions])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("why:fin", [0, 1]),
        ("why:fin-by-us", [0]),
        ("why:FIN_by_peer", [1]),
        ("why:reset", [2, 3]),
        ("why:reset-sent", [2]),
        ("reason:rst,refused", [2, 3, 4]),
        ("why:reset-received", [3]),
        ("why:timeout", [5]),
        ("why:timed-out", [5]),
        ("why:unreachable", [6]),
        ("why:aborted", [7]),
        ("why:given-up", [8]),
        ("why:no-port", [9]),
        ('why:"no local port"', [9]),
        ("why:EADDRNOTAVAIL", [9]),
        ("why:error", [10]),
        ("why:nothing-sent", [12]),
        ("!why:fin", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    ],
)
def test_how_it_ended(make: Any, text: str, expected: list[int]) -> None:
    ended = {"state": State.CLOSE, "newstate": State.CLOSE, "oldstate": State.LAST_ACK, "flags": 0}
    assert chosen(text, make(*(ended | row for row in ENDS))) == expected
