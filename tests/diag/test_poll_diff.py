"""Made-up dumps, one after the other: what is the same connection, and what is counted for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.diag.poll_diff import PollChanges, PollDiff
from tcptop_tui.records import RTT_SLOTS, UNKNOWN_UID, HolderLookup, Rows, State
from tcptop_tui.stream.batches import Capture
from tcptop_tui.stream.identity import connection_key, endpoints_mask, process_mask, tuple_hash
from tests.support.samples import NOW, SECOND, connections

E, CW, TW, F2 = State.ESTABLISHED, State.CLOSE_WAIT, State.TIME_WAIT, State.FIN_WAIT2
GONE, NEW = State.CLOSE, State.CLOSE


def moves(rows: Rows) -> list[tuple[State, State]]:
    return [(State(int(row["oldstate"])), State(int(row["newstate"]))) for row in rows]


def polls(*dumps: list[dict[str, object]]) -> list[PollChanges]:
    """Compare dumps that are a second apart."""
    differ, result = PollDiff(), []
    for index, dump in enumerate(dumps):
        rows = connections(*({"cookie": at + 1, "born_ns": 0, "state_ns": 0} | row for at, row in enumerate(dump)))
        rows["id"] = rows["skaddr"] = 0
        changes = differ.update(rows, NOW + index * SECOND)
        result.append(replace(changes, rows=changes.rows.copy()))
    return result


@pytest.mark.parametrize(
    ("srtt_us", "slot"), [(1, 0), (2, 1), (3, 1), (1023, 9), (1024, 10), (2**32 - 1, RTT_SLOTS - 1)]
)
def test_each_poll_of_a_moving_connection_is_one_sample(srtt_us: int, slot: int) -> None:
    a = {"srtt_us": srtt_us, "tx_bytes": 5}
    b = a | {"tx_bytes": 6}
    *_, last, end = polls([a], [b], [b], [b | {"rx_bytes": 1}], [])
    hists = last.hists.histograms(last.rows["hist"])
    assert hists[0].nonzero()[0].tolist() == [slot]
    assert hists[0, slot] == 2
    assert last.rows["rtt_sum_us"][0] == 2 * srtt_us
    assert end.ended["rtt_hist"].tolist() == hists.tolist()


def test_an_acknowledgement_is_a_sample_too_but_silence_or_no_time_is_none() -> None:
    _, after = polls([{"srtt_us": 7}, {"srtt_us": 7}, {}, {"srtt_us": 7, "state": CW}],
                     [{"srtt_us": 8}, {"srtt_us": 7}, {"tx_bytes": 9}, {"srtt_us": 8, "state": CW}])  # fmt: skip
    assert after.hists.histograms(after.rows["hist"]).sum(axis=1).tolist() == [1, 0, 0, 0]


def test_what_was_closed_between_the_dump_and_the_look_was_its_owners() -> None:
    """What two looks have found nobody with is nobody's, though: it is on its way to somebody, for example."""
    has = {"pid": 7, "comm": b"has-it", "holders": 1, "holder_lookup": HolderLookup.DONE}
    nobody = {"pid": 0, "comm": b"", "holders": 0, "holder_lookup": HolderLookup.DONE}
    *_, later, end = polls([has, has], [nobody, nobody], [nobody], [])
    assert later.ended["pid"].tolist() == [7]
    assert later.rows["pid"].tolist() == [0]
    assert end.ended["pid"].tolist() == [0]


def test_time_wait_starts_by_its_own_timer() -> None:
    start = NOW + SECOND // 2
    waiting = {"state": TW, "cookie": 77, "flags": 0, "pid": 0, "uid": UNKNOWN_UID, "state_ns": start}
    one, two, three = polls([{}], [waiting], [])
    assert two.rows[["id", "state_ns", "pid"]].tolist() == [(one.rows["id"][0], start, 100)]
    assert three.transitions["time_in_state_ns"].tolist() == [NOW + 2 * SECOND - start]


def test_a_reused_port_is_another_connection() -> None:
    same = {"rport": 9}
    _, waits, again = polls([same], [same | {"state": TW, "cookie": 8, "flags": 0}], [same | {"cookie": 9}])
    assert moves(again.transitions) == [(NEW, E), (TW, GONE)]
    assert waits.rows["id"][0] != again.rows["id"][0]


def test_without_cookies_addresses_decide() -> None:
    one, two = polls([{"cookie": 0, "rport": 1}, {"cookie": 0, "rport": 2}], [{"cookie": 0, "rport": 2}])
    assert two.rows["id"].tolist() == one.rows["id"][1:].tolist()
    assert moves(two.transitions) == [(E, GONE)]


STATES = st.sampled_from([E, CW, F2, TW, State.LISTEN])
DUMPS = st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), STATES), max_size=8), min_size=1, max_size=6)


@given(DUMPS)
def test_every_connection_opens_once_and_closes_once(dumps: list[list[tuple[int, int, State]]]) -> None:
    """Whatever the kernel lists, also twice: ids are unique, and openings less endings is what there is."""
    seen = polls(*([{"cookie": c, "rport": r, "state": state} for c, r, state in dump] for dump in dumps))
    alive, used = set(seen[0].rows["id"].tolist()), set(seen[0].rows["id"].tolist())
    for changes, dump in zip(seen, dumps, strict=True):
        ids = changes.rows["id"].tolist()
        assert ids == sorted(set(ids))
        assert len(ids) == len(dump)
        if changes is seen[0]:
            assert not len(changes.transitions)
            continue
        fresh, left = set(ids) - alive, alive - set(ids)
        assert not fresh & used  # an id never comes back
        found = moves(changes.transitions)
        assert sum(old == NEW for old, _ in found) == len(fresh)
        assert sum(new == GONE for _, new in found) == len(left) == len(changes.ended)
        alive, used = set(ids), used | set(ids)


# Which rows are wanted, and which are the same


def test_the_hash_depends_on_everything_that_names_a_connection() -> None:
    rows = connections(*[{"rport": 1}] * 9)
    rows["raddr"][1, 0] += 1
    rows["raddr"][2, 1] += 1
    rows["laddr"][3, 1] += 1
    rows["lport"][4] += 1
    rows["rport"][5] += 1
    rows["netns"][6] += 1
    rows["dev"][7] += 1
    rows["cookie"][8] = rows["tx_bytes"][8] = 5
    hashes = tuple_hash(rows).tolist()
    assert len(set(hashes)) == 8
    assert hashes[8] == hashes[0]
    swapped = rows[:1].copy()
    for name, other in (("laddr", "raddr"), ("raddr", "laddr"), ("lport", "rport"), ("rport", "lport")):
        swapped[name] = rows[other][:1]
    assert tuple_hash(swapped)[0] != hashes[0]


def test_a_life_goes_on_when_the_device_changes() -> None:
    seen, older = ({"rport": 1, "born_ns": born_ns} for born_ns in (NOW, 0))
    rows = connections(seen, seen | {"dev": 7}, older, older | {"dev": 7})
    lives = connection_key(rows).tolist()
    assert lives[0] == lives[1]
    assert len(set(lives)) == 3


@pytest.mark.parametrize(
    ("capture", "wanted"),
    [
        (Capture(), [1, 1, 1, 1]),
        (Capture(lports=frozenset({443})), [1, 0, 1, 1]),
        (Capture(rports=frozenset({50, 51})), [1, 1, 0, 0]),
        (Capture(pids=frozenset({7})), [1, 1, 0, 0]),
        (Capture(ip=4), [1, 1, 0, 1]),
        (Capture(ip=6), [0, 0, 1, 0]),
        (Capture(lports=frozenset({443}), pids=frozenset({7}), ip=4), [1, 0, 0, 0]),
    ],
)
def test_capture(capture: Capture, wanted: list[int]) -> None:
    rows = connections(
        {"pid": 7, "rport": 50},
        {"pid": 0, "rport": 51, "lport": 80},
        {"pid": 8, "laddr": "fe80::1", "raddr": "fe80::2", "rport": 52},
        {"pid": 8, "lport": 0, "rport": 53},
    )
    mask = endpoints_mask(rows, capture) & process_mask(rows, capture)
    assert mask.tolist() == [bool(value) for value in wanted]
