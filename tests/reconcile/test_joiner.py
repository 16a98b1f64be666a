"""The kernel map and sock_diag, joined: identities last, what is missing is mended, ghosts go."""

from __future__ import annotations

import numpy as np
import pytest

from tcptop_tui.diag.dump import Dump
from tcptop_tui.reconcile import recent_ends
from tcptop_tui.reconcile.entry_digests import entry_digests
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.records import DUMP_ROW, ROW, CloseFlag, Flag, State
from tcptop_tui.stream.identity import tuple_hash
from tests.support.samples import NOW, SECOND, entries, rows_of, sessions, transitions, whole

NETNS = 1


def dumped(now_ns: int, *given: dict[str, object], netns: tuple[int, ...] = (NETNS,)) -> Dump:
    fields = ({name: row[name] for name in row if name != "inode"} for row in given)
    rows = rows_of(
        DUMP_ROW, *({"cookie": 900 + index, "born_ns": 0, "state_ns": 0} | row for index, row in enumerate(fields))
    )
    rows["id"] = 0
    inode = np.array([row.get("inode", 0) for row in given], "u4")
    return Dump(rows, inode, now_ns, frozenset(netns))


def test_sockets_from_before_come_from_the_dump_and_keep_their_id() -> None:
    joiner = Joiner()
    keys, conns = entries()
    assert not len(joiner.reconcile(dumped(NOW, {"lport": 22, "pid": 7}, {"lport": 80}), entry_digests(keys, conns)))
    rows = joiner.make_table(whole(keys, conns))
    assert rows["lport"].tolist() == [22, 80]
    first = int(rows["id"][0])
    # its first segment puts it into the map, with nobody as its owner
    keys, conns = entries({"lport": 22, "rport": 50_000, "pid": 0, "comm": b"", "born_ns": 0, "tx_bytes": 5})
    rows = joiner.make_table(whole(keys, conns))
    assert sorted(rows["lport"].tolist()) == [22, 80]
    row = rows[rows["lport"] == 22][0]
    assert (row["id"], row["pid"], row["tx_bytes"]) == (first, 7, 5)
    assert (joiner.differences.missed, joiner.differences.mended) == (0, 0)


def test_the_last_entry_goes_from_the_table_when_it_goes_from_the_map() -> None:
    joiner = Joiner()
    keys, conns = entries()
    joiner.reconcile(dumped(NOW, {"lport": 22}), entry_digests(keys, conns))
    assert joiner.make_table(whole(*entries({"rport": 50_001})))["rport"].tolist() == [50_000, 50_001]
    assert joiner.make_table(whole(keys, conns))["rport"].tolist() == [50_000]
    assert joiner.make_table(whole(keys, conns))["rport"].tolist() == [50_000]


def test_the_table_has_the_dtype_of_rows_to_the_byte_order() -> None:
    """Numpy's concatenate gives addresses this machine's byte order: recordings of that read as other addresses."""
    joiner = Joiner()
    keys, conns = entries({"rport": 1})
    joiner.reconcile(dumped(NOW, {"lport": 22}), entry_digests(keys, conns))
    assert joiner.make_table(whole(keys, conns)).dtype == ROW


def test_of_two_counts_the_larger_is_newer() -> None:
    joiner = Joiner()
    keys, conns = entries({"tx_bytes": 10, "rx_bytes": 900, "rport": 50_000})
    joiner.reconcile(dumped(NOW, {"tx_bytes": 70, "rx_bytes": 100, "rport": 50_000}), entry_digests(keys, conns))
    row = joiner.make_table(whole(keys, conns))[0]
    assert (row["tx_bytes"], row["rx_bytes"]) == (70, 900)


@pytest.mark.parametrize(("state", "told_us"), [(State.ESTABLISHED, 7), (State.CLOSE_WAIT, 5403)])
def test_a_round_trip_time_is_of_the_dump_where_no_segment_tells_it(state: State, told_us: int) -> None:
    joiner = Joiner()
    keys, conns = entries({"state": state, "srtt_us": 7})
    joiner.reconcile(dumped(NOW, {"state": state, "srtt_us": 5403}), entry_digests(keys, conns))
    assert joiner.make_table(whole(keys, conns))["srtt_us"].tolist() == [told_us]


def test_a_later_connection_on_the_same_ports_takes_nothing_from_the_dump() -> None:
    joiner = Joiner()
    keys, conns = entries()
    joiner.reconcile(dumped(NOW, {"tx_bytes": 70, "pid": 5}), entry_digests(keys, conns))
    keys, conns = entries({"born_ns": NOW + SECOND, "tx_bytes": 1, "pid": 0})
    rows = joiner.make_table(whole(keys, conns))
    assert rows["tx_bytes"].tolist() == [1]
    assert rows["pid"].tolist() == [0]


def test_what_closed_after_the_dump_does_not_come_back() -> None:
    joiner = Joiner()
    keys, conns = entries()
    joiner.reconcile(dumped(NOW, {"lport": 22}, {"lport": 80}), entry_digests(keys, conns))
    joiner.remember_closed(transitions({"lport": 22, "rport": 50_000, "newstate": State.CLOSE, "ts_ns": NOW + 1}))
    assert joiner.make_table(whole(keys, conns))["lport"].tolist() == [80]


def test_what_closed_while_a_dump_was_made_does_not_come_back_with_it() -> None:
    joiner = Joiner()
    keys, conns = entries()
    sockets: tuple[dict[str, object], ...] = ({"lport": 22}, {"lport": 80})
    joiner.reconcile(dumped(NOW, *sockets), entry_digests(keys, conns))
    joiner.remember_closed(transitions({"lport": 22, "rport": 50_000, "newstate": State.CLOSE, "ts_ns": NOW + 2}))
    for _ in range(2):
        assert joiner.make_table(whole(keys, conns), dump_pending=True)["lport"].tolist() == [80]
    joiner.reconcile(dumped(NOW + 1, *sockets), entry_digests(keys, conns))
    for _ in range(2):
        assert joiner.make_table(whole(keys, conns))["lport"].tolist() == [80]


def test_a_missed_connection_is_shown_at_once_and_counted_when_it_is_sure() -> None:
    joiner = Joiner()
    keys, conns = entries()
    joiner.reconcile(dumped(NOW), entry_digests(keys, conns))
    for number, missed in ((1, 0), (2, 1), (3, 1)):
        joiner.reconcile(dumped(NOW + number * SECOND, {"lport": 99}), entry_digests(keys, conns))
        assert joiner.make_table(whole(keys, conns))["lport"].tolist() == [99]
        assert (joiner.differences.missed, joiner.differences.mended) == (missed, missed)


def test_a_ghost_goes_after_two_dumps_without_it() -> None:
    joiner = Joiner()
    keys, conns = entries({"netns": NETNS}, {"netns": 2, "rport": 1})
    alive = {"rport": 50_000}
    assert not len(joiner.reconcile(dumped(NOW, alive), entry_digests(keys, conns)))
    assert not len(joiner.reconcile(dumped(NOW + SECOND), entry_digests(keys, conns)))
    # the other one lives in a namespace that the dump does not see
    assert joiner.reconcile(dumped(NOW + 2 * SECOND), entry_digests(keys, conns)).tolist() == [keys[0]]
    assert joiner.differences.mended == 1


def test_a_namespace_met_later_has_missed_nothing_and_no_ghosts_at_first() -> None:
    joiner = Joiner()
    keys, conns = entries({"netns": 2, "rport": 1, "state_ns": NOW - 9 * SECOND})
    joiner.reconcile(dumped(NOW), entry_digests(keys, conns))
    joiner.reconcile(dumped(NOW + SECOND), entry_digests(keys, conns))
    there = {"netns": 2, "lport": 99}
    for number in (2, 3, 4):
        wrong = joiner.reconcile(dumped(NOW + number * SECOND, there, netns=(NETNS, 2)), entry_digests(keys, conns))
        assert wrong.tolist() == (keys.tolist() if number == 3 else [])  # once doubted, once sure
        assert joiner.differences.missed == 0
        assert sorted(joiner.make_table(whole(keys, conns))["lport"].tolist()) == ([99, 443] if number < 4 else [99])
        if len(wrong):
            keys, conns = entries()


def test_the_same_cookie_in_two_namespaces_is_two_sockets() -> None:
    joiner = Joiner()
    keys, conns = entries()
    two = ({"cookie": 7, "lport": 22}, {"cookie": 7, "lport": 23, "netns": 2})
    joiner.reconcile(dumped(NOW, *two, netns=(NETNS, 2)), entry_digests(keys, conns))
    first = joiner.make_table(whole(keys, conns)).copy()
    joiner.reconcile(dumped(NOW + SECOND, *reversed(two), netns=(NETNS, 2)), entry_digests(keys, conns))
    assert joiner.make_table(whole(keys, conns))[["id", "lport"]].tolist() == first[["id", "lport"]].tolist()


def test_time_wait_remembers_its_cgroup() -> None:
    joiner = Joiner()
    keys, conns = entries({"cgroup": 44})
    joiner.reconcile(dumped(NOW, {}), entry_digests(keys, conns))
    joiner.make_table(whole(keys, conns))
    keys, conns = entries()
    waiting = {"state": State.TIME_WAIT, "pid": 0, "flags": 0, "cookie": 5000}
    joiner.reconcile(dumped(NOW + SECOND, waiting), entry_digests(keys, conns))
    assert joiner.make_table(whole(keys, conns))["cgroup"].tolist() == [44]


def test_an_entry_that_moved_in_between_is_no_ghost() -> None:
    joiner = Joiner()
    keys, conns = entries({"state_ns": NOW - 9 * SECOND})
    joiner.reconcile(dumped(NOW), entry_digests(keys, conns))
    joiner.reconcile(dumped(NOW + SECOND), entry_digests(keys, conns))
    keys, conns = entries({"state_ns": NOW + SECOND})
    assert not len(joiner.reconcile(dumped(NOW + 2 * SECOND), entry_digests(keys, conns)))


def test_a_wrong_state_is_mended() -> None:
    joiner = Joiner()
    keys, conns = entries({"state": State.ESTABLISHED})
    assert not len(joiner.reconcile(dumped(NOW, {"state": State.CLOSE_WAIT}), entry_digests(keys, conns)))
    later = dumped(NOW + 3 * SECOND, {"state": State.CLOSE_WAIT})
    assert joiner.reconcile(later, entry_digests(keys, conns)).tolist() == keys.tolist()


def test_who_has_it_open_is_believed_before_who_listened_and_after_who_was_seen() -> None:
    joiner = Joiner()
    flags = [Flag.PASSIVE, Flag.PASSIVE | Flag.OWNER_SURE]
    keys, conns = entries(*({"rport": number, "pid": 42, "flags": flags[number]} for number in (0, 1)))
    joiner.reconcile(dumped(NOW, {"rport": 0, "pid": 43}, {"rport": 1, "pid": 44}), entry_digests(keys, conns))
    assert joiner.make_table(whole(keys, conns))["pid"].tolist() == [43, 42]


def test_time_wait_remembers_its_process() -> None:
    joiner = Joiner()
    flags = Flag.GAUGES | Flag.OWNER_SURE | Flag.ACTIVE
    keys, conns = entries({"pid": 42, "comm": b"curl", "tx_bytes": 77, "flags": flags})
    joiner.reconcile(dumped(NOW, {}), entry_digests(keys, conns))
    was = int(joiner.make_table(whole(keys, conns))["id"][0])
    keys, conns = entries()
    waiting = {"state": State.TIME_WAIT, "pid": 0, "comm": b"", "flags": 0, "cookie": 5000}
    joiner.reconcile(dumped(NOW + SECOND, waiting), entry_digests(keys, conns))
    row = joiner.make_table(whole(keys, conns))[0]
    assert (row["id"], row["pid"], row["comm"], row["tx_bytes"]) == (was, 42, b"curl", 77)
    assert row["flags"] == Flag.GAUGES | Flag.ACTIVE
    joiner.reconcile(dumped(NOW + 2 * SECOND, waiting), entry_digests(keys, conns))
    assert joiner.make_table(whole(keys, conns))["flags"].tolist() == [row["flags"]]
    assert (joiner.differences.missed, joiner.differences.mended) == (0, 0)


def test_time_wait_remembers_a_process_that_had_closed_before_the_first_dump() -> None:
    """The dump sees a socket that nobody holds any more, and the map has let it go before it is read."""
    joiner = Joiner()
    keys, conns = entries()
    joiner.remember_ended(sessions({"pid": 7, "comm": b"curl", "state": State.CLOSE, "state_ns": NOW + 1}))
    orphan = {"pid": 0, "comm": b"", "state": State.FIN_WAIT2, "tx_bytes": 5, "cookie": 5000}
    joiner.reconcile(dumped(NOW, orphan), entry_digests(keys, conns))
    waiting = {"state": State.TIME_WAIT, "pid": 0, "comm": b"", "flags": 0, "cookie": 5000}
    joiner.reconcile(dumped(NOW + SECOND, waiting), entry_digests(keys, conns))
    row = joiner.make_table(whole(keys, conns))[0]
    assert (row["state"], row["pid"], row["comm"], row["tx_bytes"]) == (State.TIME_WAIT, 7, b"curl", 5)


@pytest.mark.parametrize("read_late", [False, True])
def test_time_wait_remembers_what_closed_while_a_dump_was_made(*, read_late: bool) -> None:
    """The dump sees it open, the map has let it go before it is read; TIME_WAIT has its cookie."""
    joiner = Joiner()
    keys, conns = entries({"born_ns": NOW - SECOND})
    joiner.reconcile(dumped(NOW), entry_digests(keys, conns))
    joiner.make_table(whole(keys, conns))
    keys, conns = entries()
    joiner.reconcile(dumped(NOW + SECOND, {"pid": 42, "tx_bytes": 5}), entry_digests(keys, conns))
    waiting = {"state": State.TIME_WAIT, "pid": 0, "comm": b"", "flags": 0, "state_ns": NOW + 2 * SECOND}
    if read_late:
        joiner.make_table(whole(keys, conns))
        joiner.reconcile(dumped(NOW + 3 * SECOND, waiting), entry_digests(keys, conns))
    ended_ns = NOW + 2 * SECOND
    end = {"born_ns": NOW - SECOND, "state_ns": ended_ns, "end_ns": ended_ns, "tx_bytes": 7, "pid": 0, "comm": b""}
    end |= {
        "flags": Flag.GAUGES | Flag.PASSIVE,
        "state": State.CLOSE,
        "close_flags": CloseFlag.FIN_SENT | CloseFlag.FIN_RECEIVED,
    }
    joiner.remember_ended(sessions(end))
    joiner.reconcile(dumped(NOW + 4 * SECOND, waiting), entry_digests(keys, conns))
    row = joiner.make_table(whole(keys, conns))[0]
    assert (row["state"], row["born_ns"], row["tx_bytes"]) == (State.TIME_WAIT, NOW - SECOND, 7)
    assert row["flags"] == Flag.GAUGES | Flag.PASSIVE
    assert (row["pid"], row["comm"]) == (42, b"nginx")  # found in /proc, where nobody was seen with it


def test_listeners_on_one_address_are_all_there() -> None:
    joiner = Joiner()
    listener = {"state": State.LISTEN, "rport": 0, "raddr": "::"}
    told = [listener | {"inode": number, "accept_queue": number} for number in (1, 2, 3)]
    keys, conns = entries(listener | {"cookie": 2})  # its inode: opened after our start
    for number in (1, 2, 3):
        joiner.reconcile(dumped(NOW + number * SECOND, *told[:number]), entry_digests(keys, conns))
        rows = joiner.make_table(whole(keys, conns))
        there = {1, 2, number}  # who is in the map need not be in the dump yet
        assert len(rows) == len(np.unique(rows["id"])) == len(there)
        assert set(rows["accept_queue"].tolist()) == ({0, 1} if number == 1 else there)
    assert sorted(rows["cookie"].tolist()) == [900, 901, 902]
    # the one in the map ends: the others are still there, and nobody has missed them
    keys, conns = entries()
    joiner.reconcile(dumped(NOW + 4 * SECOND, told[0], told[2] | {"cookie": 902}), entry_digests(keys, conns))
    joiner.reconcile(dumped(NOW + 5 * SECOND, told[0], told[2] | {"cookie": 902}), entry_digests(keys, conns))
    assert joiner.make_table(whole(keys, conns))["accept_queue"].tolist() == [1, 3]
    assert joiner.differences.missed == 1  # the third one, of which nothing was seen


def test_what_has_ended_is_kept_for_time_wait_only_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_ends, "_MAX_ENDED", 100)
    joiner = Joiner()
    closed = []
    for number in range(50):
        made = sessions(
            *(
                {"rport": 1 + number * 10 + k, "close_flags": CloseFlag.RST_SENT if k % 2 else CloseFlag.FIN_SENT}
                for k in range(10)
            )
        )
        closed += tuple_hash(made[made["close_flags"] == CloseFlag.FIN_SENT]).tolist()
        joiner.remember_ended(made)
    assert np.concatenate([batch["hash"] for batch in joiner._recent_ends._batches]).tolist() == closed[-100:]
