"""Round-trip times by key: every sample is in exactly one group, under the right name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.filters import parse
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.record_parts import FrozenParts
from tcptop_tui.model.rtt_groups import GROUPINGS, RttGroups
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.records import ENDED, RTT_SLOTS, Flag
from tcptop_tui.widgets.views.rtt import group_label
from tests.support.samples import connections, sampled, sessions

ADDRESSES = ["10.0.0.1", "10.0.0.2", "::1", "fe80::1"]


def grouped(facts: Snapshot, by: str, text: str = "") -> RttGroups:
    groups = make_frame(facts, ViewOptions(filter=parse(text), rtt_by=by)).rtt_groups
    assert groups is not None
    return groups


def named(groups: RttGroups) -> dict[str, int]:
    return {group_label(groups, k): int(groups.hist[k].sum()) for k in range(len(groups.hist))}


ROWS = (
    {"laddr": "10.0.0.1", "raddr": "::1", "lport": 443, "rport": 50000, "flags": Flag.PASSIVE, "comm": b"nginx"},
    {"laddr": "10.0.0.1", "raddr": "fe80::1", "lport": 40000, "rport": 80, "flags": Flag.ACTIVE, "comm": b"curl"},
    {"laddr": "10.0.0.2", "raddr": "::1", "lport": 9000, "rport": 443, "flags": 0, "comm": b""},
    {"laddr": "10.0.0.2", "raddr": "::1", "lport": 80, "rport": 22, "flags": Flag.PASSIVE, "comm": b"\x1bx"},
)


def known_facts() -> Snapshot:
    rows, ended = connections(*ROWS), sessions(ROWS[0])
    hists, rows["rtt_sum_us"] = sampled(rows, 6, [1, 2, 3, 4]), [100, 200, 300, 400]
    ended["rtt_hist"][:, 9], ended["rtt_sum_us"] = 10, 6000
    older = np.zeros(RTT_SLOTS, "<u8")
    older[3] = 5
    return Snapshot(
        rows=rows, hists=hists, ended=FrozenParts(ENDED, [ended]), tx_rate=np.zeros(4), rx_rate=np.zeros(4),
        dropped_rtt_hist=older, dropped_rtt_sum_us=50, dropped_ended=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("laddr", {"10.0.0.1": 13, "10.0.0.2": 7, "older samples, summed": 5}),
        ("raddr", {"::1": 18, "fe80::1": 2, "older samples, summed": 5}),
        ("port", {"443": 14, "80": 6, "older samples, summed": 5}),
        ("process", {"nginx": 11, "curl": 2, "–": 3, "older samples, summed": 5}),
    ],
)
def test_names_and_counts(by: str, expected: dict[str, int]) -> None:
    found = named(grouped(known_facts(), by))
    hostile = {name: number for name, number in found.items() if name not in expected}
    assert {**found} == {**expected, **hostile}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert not any("\x1b" in name for name in found)


def test_a_filter_chooses_and_leaves_the_sum_out() -> None:
    assert named(grouped(known_facts(), "process", "comm:nginx")) == {"nginx": 11}
    assert named(grouped(known_facts(), "port", "comm:nobody")) == {}


def test_not_made_when_nobody_looks() -> None:
    assert make_frame(known_facts(), ViewOptions()).rtt_groups is None


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(ADDRESSES), st.sampled_from([0, 22, 443]), st.sampled_from([0, 80, 50000]),
            st.sampled_from([0, Flag.ACTIVE, Flag.PASSIVE]), st.sampled_from([b"", b"a", b"b"]),
            st.integers(0, RTT_SLOTS - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**60),
        ),
        max_size=30,
    ),
    by=st.sampled_from(GROUPINGS),
    text=st.sampled_from(["", "comm:a", "lport:22"]),
)  # fmt: skip
def test_the_groups_add_up_to_the_total(
    rows: list[tuple[str, int, int, int, bytes, int, int, int]], by: str, text: str
) -> None:
    made = connections(*({"raddr": r[0], "lport": r[1], "rport": r[2], "flags": r[3], "comm": r[4]} for r in rows))
    hists = np.zeros((len(rows), RTT_SLOTS), "<u4")
    for k, row in enumerate(rows):
        hists[k, row[5]], made["rtt_sum_us"][k] = row[6], row[7] if row[6] else 0
    facts = Snapshot(
        rows=made, hists=sampled(made, slice(None), hists), tx_rate=np.zeros(len(made)), rx_rate=np.zeros(len(made))
    )
    frame = make_frame(facts, ViewOptions(filter=parse(text), rtt_by=by))
    assert frame.rtt_groups is not None
    assert np.array_equal(frame.rtt_groups.hist.sum(axis=0), frame.rtt.hist)
    assert int(frame.rtt_groups.sum_us.sum()) == frame.rtt.sum_us
