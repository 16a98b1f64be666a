"""Names of the devices that sockets are bound to: from their own namespace, shown, searched for, written, recorded."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tcptop_tui.diag.name_collector import NameCollector
from tcptop_tui.diag.namespaces import Namespaces
from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.fields.connect_results import result_codes
from tcptop_tui.filters import parse
from tcptop_tui.filters.completion import complete, make_vocabulary
from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.model.connect_outcomes import by_destination, sum_by_destination
from tcptop_tui.model.grouping import make_tree
from tcptop_tui.model.rtt_groups import rtt_groups
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.records import HOLDING, Flag, Rows, State
from tcptop_tui.replay.recorder import Recorder
from tcptop_tui.replay.recording import read_batches
from tcptop_tui.stream.batches import Batch, Names
from tcptop_tui.stream.identity import peer_hash
from tcptop_tui.trace.columns import DEV, LADDR, LOCAL, LineRows, field_column
from tcptop_tui.trace.rtt import totals_of
from tcptop_tui.widgets.details.text import facts_table, title
from tcptop_tui.widgets.lists.list_rows import endpoints as ends
from tcptop_tui.widgets.panels.transitions import log_endpoints
from tcptop_tui.widgets.views.connects import destination_filter
from tcptop_tui.widgets.views.rtt import group_label
from tests.support.links import Side, two_links
from tests.support.samples import connections, sampled, sessions, transitions

HOSTILE = "v\x1b[2J,a\u202e%"
"""A name of 15 bytes at most without blanks, colon and slash: all else is allowed (dev_valid_name, net/core/dev.c)."""

NAMES = Names(devices={1: {7: "eth0", 8: HOSTILE}, 2: {7: "wg0"}})


class Sink(list[Batch]):
    def offer(self, batch: Batch) -> bool:
        self.append(batch)
        return True


# where names come from


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    with two_links() as made:
        yield made


def test_a_name_is_that_of_the_sockets_own_namespace(sides: tuple[Side, Side]) -> None:
    """Numbers are given in each namespace anew: 1 is the loopback everywhere, others are somebody else's."""
    found = {}
    for side in sides:
        diag = side.make(lambda inode=side.inode: SockDiag(inode))
        found[side.name] = [
            diag.device_name(number) for number in (1, side.index({"a": "va0", "b": "vb0"}[side.name[7]]))
        ]
        assert diag.device_name(0) == diag.device_name(999_999) == diag.device_name(2**32 - 1) == ""
        diag.close()
    assert list(found.values()) == [["lo", "va0"], ["lo", "vb0"]]


def test_a_new_name_replaces_the_old_one_and_a_device_that_has_gone_keeps_its_last(sides: tuple[Side, Side]) -> None:
    near, _ = sides
    namespaces = Namespaces(most=512)
    namespaces.refresh()
    near.run("ip", "link", "add", "tmp0", "type", "veth", "peer", "name", "tmp1")
    index = near.index("tmp0")
    assert namespaces.device_name(near.inode, index) == "tmp0"
    near.run("ip", "link", "set", "tmp0", "name", "tmp2")
    assert namespaces.device_name(near.inode, index) == "tmp2"
    near.run("ip", "link", "set", "tmp2", "name", os.fsdecode(b"t\x1b[2J,\xff"))  # as hostile as the kernel allows
    assert namespaces.device_name(near.inode, index) == "t\x1b[2J,\ufffd"
    near.run("ip", "link", "del", "tmp1")
    assert namespaces.device_name(near.inode, index) == "t\x1b[2J,\ufffd"
    assert namespaces.device_name(1, index) == ""
    namespaces.close()
    assert namespaces.device_name(near.inode, index) == ""


def test_a_namespace_that_is_younger_than_the_latest_look_has_names() -> None:
    namespaces = Namespaces(most=512)
    namespaces.refresh()
    with two_links("young") as (near, _):
        index = near.index("va1")
        assert namespaces.device_name(near.inode, index) == "va1"
        assert namespaces.device_name(near.inode, 999_999) == ""
        near.run("ip", "link", "add", "tmp0", "type", "veth", "peer", "name", "tmp1")
        assert namespaces.device_name(near.inode, near.index("tmp0")) == "tmp0"
        inode = near.inode
    assert namespaces.device_name(inode, index) == "va1"  # what has gone keeps its last name, until the next look
    namespaces.refresh()
    assert namespaces.device_name(inode, index) == ""
    namespaces.close()


def test_names_are_asked_for_once_they_are_wanted() -> None:
    namer, sink = NameCollector(Cgroups()), Sink()
    given = {(1, 7): "eth0", (2, 7): "wg0"}
    asked: list[tuple[int, int]] = []

    def device(netns: int, number: int) -> str:
        asked.append((netns, number))
        return given.get((netns, number), "")

    namer.collect(connections({}))
    assert not namer.collect(connections({}))
    assert namer.collect(transitions({"dev": 7}, {"dev": 7}, {"dev": 9}))
    assert namer.collect(connections({"dev": 7, "netns": 2}))
    assert not namer.collect(sessions({"dev": 7}))
    namer.offer(sink, {}, frozenset({1, 2}), device)
    assert sink == [Names(devices={1: {7: "eth0"}, 2: {7: "wg0"}})]
    assert sorted(asked) == [(1, 7), (1, 9), (2, 7)]
    del given[2, 7]
    namer.offer(sink, {}, frozenset({1}), device)  # the namespace has gone: what ended in it keeps its name
    assert len(sink) == 1
    namer.offer(sink, {}, frozenset({1, 2}), device)  # another one has its number
    assert sink[-1] == Names(devices={1: {7: "eth0"}})


def test_not_more_than_a_thousand_are_kept() -> None:
    namer, asked = NameCollector(Cgroups()), []
    namer.collect(connections(*({"dev": number + 1} for number in range(3000))))
    namer.offer(Sink(), {}, frozenset(), lambda _, number: asked.append(number) or "x")  # type: ignore[func-returns-value]
    assert asked == list(range(1977, 3001))


# where they are shown


def row(**fields: object) -> Rows:
    return connections({"lport": 443, "rport": 5, **fields})


def test_the_device_stands_behind_the_local_address() -> None:
    assert ends(row(dev=7), NAMES) == "10.0.0.1%eth0:443 ↔ 10.0.0.2:5"
    assert ends(row(dev=7, netns=2), NAMES) == "10.0.0.1%wg0:443 ↔ 10.0.0.2:5"
    assert ends(row(), NAMES) == "10.0.0.1:443 ↔ 10.0.0.2:5"
    assert ends(row(dev=7, netns=3), NAMES) == "10.0.0.1%7:443 ↔ 10.0.0.2:5"  # never another namespace's name


def test_it_is_in_every_place_that_shows_endpoints() -> None:
    one = connections({"dev": 7, "lport": 443})
    subject = RowContext(one, 1, names=NAMES)
    assert BY_KEY["laddr"].texts(subject) == ["10.0.0.1%eth0"]
    assert BY_KEY["dev"].texts(subject) == ["eth0"]
    assert title(one, NAMES).startswith("nginx 10.0.0.1%eth0:443")
    assert "10.0.0.1%eth0:443" in log_endpoints(transitions({"dev": 7})[0], 160, NAMES)
    out = io.StringIO()
    Console(file=out, width=160).print(facts_table(subject, np.zeros(0, HOLDING), 100, alive=True))
    assert "eth0" in out.getvalue()
    assert "device number" in out.getvalue()


def test_a_hostile_name_is_harmless() -> None:
    assert ends(row(dev=8), NAMES) == "10.0.0.1%v·[2J,a·%:443 ↔ 10.0.0.2:5"
    made = connections({"dev": 8})
    lines = LineRows(made, 0, names=NAMES)
    assert DEV.values(lines) == ["v·[2J,a·%"]
    assert LOCAL.values(lines) == ["10.0.0.1%v·[2J,a·%"]


def test_streams_have_the_address_by_itself_in_json_and_csv() -> None:
    made = transitions({"dev": 7}, {}, {"dev": 9})
    lines = LineRows(made, 0, names=NAMES)
    assert LADDR.values(lines) == 3 * ["10.0.0.1"]
    assert LOCAL.values(lines) == ["10.0.0.1%eth0", "10.0.0.1", "10.0.0.1%9"]
    assert DEV.values(lines) == ["eth0", None, "9"]
    assert field_column("ifindex").values(lines) == [7, None, 9]


# in the filter language

ROWS = (
    {"dev": 7}, {"dev": 8}, {"dev": 0}, {"dev": 7, "netns": 2}, {"dev": 7, "netns": 3},
    {"dev": 7, "laddr": "fe80::1", "raddr": "fe80::2"}, {"laddr": "fe80::1", "raddr": "fe80::2"},
)  # fmt: skip


def chosen(text: str, rows: Rows, names: Names = NAMES) -> list[int]:
    return [int(index) for index in np.flatnonzero(parse(text).matches(RowContext(rows, 1, None, None, names)))]


@pytest.mark.parametrize("make", [connections, transitions, sessions])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dev:eth0", [0, 5]),
        ("dev:eth0,wg0", [0, 3, 5]),
        ("!dev:eth0", [1, 2, 3, 4, 6]),
        ("dev=7", [0, 3, 4, 5]),
        ("device:8", [1]),
        ("dev>0", [0, 1, 3, 4, 5]),
        ("!dev>0", [2, 6]),
        ("dev:eth", []),
        ("dev:ETH0", []),
        ("fe80::1%eth0", [5]),
        ("raddr:fe80::2%7", [5]),
        ("ip:[fe80::1%eth0]", [5]),
        ("10.0.0.1%wg0", [3]),
        ("!laddr:10.0.0.0/8%eth0", [1, 2, 3, 4, 5, 6]),
    ],
)
def test_filter(make: object, text: str, wanted: list[int]) -> None:
    assert chosen(text, make(*ROWS)) == wanted  # type: ignore[operator]


def test_names_are_those_of_the_rows_not_of_this_host() -> None:
    rows = connections({"dev": 1})
    assert chosen("dev:lo", rows, Names(devices={1: {1: "eth9"}})) == []
    assert chosen("dev:eth9", rows, Names(devices={1: {1: "eth9"}})) == [0]


def test_completion_knows_the_names_that_are_there() -> None:
    known = make_vocabulary(RowContext(connections(*ROWS), 0, names=NAMES), RowContext(sessions(), 0))
    assert known.values_by_field["dev"] == ["eth0", "wg0", '"7"']
    assert complete("dev:", known, 4).words == ["eth0", "wg0", '"7"']
    assert complete("dev:eth0,w", known, 10).words == ["wg0"]


# in recordings


def test_a_recording_has_the_names_of_the_host_that_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with path.open("wb") as file:
        Recorder(Sink(), file).offer(NAMES)
    assert list(read_batches(path)) == [NAMES]
    assert json.dumps(NAMES.devices[1][8])  # and no lone surrogates, which JSON cannot have


# link-local addresses: another host on each link

NEIGHBOURS = (
    {"raddr": "fe80::2", "dev": 7, "rport": 179}, {"raddr": "fe80::2", "dev": 8, "rport": 179},
    {"raddr": "fe80::2", "dev": 7, "rport": 179, "netns": 2}, {"raddr": "fe80::2", "dev": 7, "rport": 179},
    {"raddr": "10.0.0.2", "dev": 7}, {"raddr": "10.0.0.2", "dev": 8},
)  # fmt: skip


def test_the_same_link_local_address_is_another_host_on_another_link() -> None:
    hosts = peer_hash(connections(*NEIGHBOURS)).tolist()
    assert hosts[0] == hosts[3]
    assert hosts[4] == hosts[5]  # others lead to one host whatever the way
    assert len(set(hosts)) == 4


def test_groups_by_remote_address_name_the_link() -> None:
    rows = connections(*NEIGHBOURS)
    rates = np.full(len(rows), np.nan)
    facts = Snapshot(now_ns=1, rows=rows, tx_rate=rates, rx_rate=rates, names=NAMES)
    tree = make_tree(facts, np.arange(len(rows)), "raddr", frozenset(), SortOrder("raddr", descending=False))
    groups = tree.rows[len(rows) :]
    told = sorted(BY_KEY["raddr"].texts(RowContext(groups, 1, names=NAMES)))
    assert told == ["10.0.0.2", "fe80::2%eth0", "fe80::2%v·[2J,a·%", "fe80::2%wg0"]


def test_destinations_name_the_link_and_lead_to_its_connections() -> None:
    log = transitions(*({"newstate": State.CLOSE, "err": 111, "flags": Flag.ACTIVE, **one} for one in NEIGHBOURS))
    made = sum_by_destination(by_destination(log, result_codes(log)))
    asked = {destination_filter(row): int(row["connects"]) for row in made}
    assert asked["raddr:fe80::2%8 rport:179"] == 1
    assert chosen("raddr:fe80::2%8 rport:179", log) == [1]
    assert {"fe80::2%eth0", "fe80::2%wg0"} <= {*BY_KEY["raddr"].texts(RowContext(made, 1, names=NAMES))}


def test_round_trips_by_address_are_told_apart_by_the_link() -> None:
    rows = connections(*NEIGHBOURS)
    hists, rows["rtt_sum_us"] = sampled(rows, 6, [1, 2, 4, 8, 16, 32]), 100
    nothing = np.zeros(len(rows))
    facts = Snapshot(rows=rows, hists=hists, tx_rate=nothing, rx_rate=nothing, names=NAMES)
    groups = rtt_groups(facts, "raddr", np.ones(len(rows), np.bool_), np.zeros(0, np.bool_), filtered=True)
    assert {group_label(groups, place): int(groups.hist[place].sum()) for place in range(4)} == {
        "10.0.0.2": 48, "fe80::2%eth0": 9, "fe80::2%v·[2J,a·%": 2, "fe80::2%wg0": 4,
    }  # fmt: skip
    totals = totals_of(rows, hists.histograms(rows["hist"]), "raddr")
    assert sorted(int(hist.sum()) for hist, _ in totals.values()) == [2, 4, 9, 48]
