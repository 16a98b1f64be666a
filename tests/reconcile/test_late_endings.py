"""What comes after the end of a connection was logged: it is put right before, or soon after, somebody sees it."""

from __future__ import annotations

import numpy as np
import pytest

from tcptop_tui.close_reasons import CloseReason, close_reasons
from tcptop_tui.model.store import Store
from tcptop_tui.reconcile.half_closed import HalfClosed
from tcptop_tui.reconcile.late_resets import LateResets
from tcptop_tui.records import ENDED, LATE_ENDING, TRANSITION, CloseFlag, State
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import EndedConnections, LateEndings
from tests.support.samples import NOW, SECOND, sessions, transitions

MS = 10**6
DECEIVED = CloseFlag.FIN_SENT | CloseFlag.RST_RECEIVED
"""What tcp_reset() leaves behind when data came for a closed socket."""
NO_MOVES, NO_ENDS = np.zeros(0, TRANSITION), np.zeros(0, ENDED)
CLIENT = {"laddr": "127.0.0.1", "raddr": "127.0.0.1", "lport": 40_000, "rport": 80, "skaddr": 1, "state": State.CLOSE}
SERVER = CLIENT | {"lport": 80, "rport": 40_000, "skaddr": 2}
CLOSED = {"skaddr": 7, "ts_ns": NOW, "oldstate": State.FIN_WAIT1, "newstate": State.CLOSE}
ANSWER = CLOSED | {"ts_ns": NOW + 9000, "oldstate": State.CLOSE, "newstate": 0, "close_flags": CloseFlag.RST_SENT}


def test_a_reset_that_answers_data_was_not_received() -> None:
    late = LateResets()
    moved = transitions(CLOSED | {"close_flags": DECEIVED, "reset_in": State.FIN_WAIT1}, ANSWER)
    ended = sessions({"skaddr": 7, "end_ns": NOW, "close_flags": DECEIVED, "reset_in": State.FIN_WAIT1})
    moved, ended, resets = late.settle(moved, ended, NOW + SECOND)
    assert not len(resets)
    assert (moved["close_flags"].tolist(), ended["close_flags"].tolist()) == (
        [CloseFlag.FIN_SENT | CloseFlag.RST_SENT],
    ) * 2
    assert moved["reset_in"].tolist() == ended["reset_in"].tolist() == [State.FIN_WAIT1]


def test_data_with_the_last_acknowledgement_are_answered_on_the_way_to_time_wait() -> None:
    late = LateResets()
    moved = transitions(CLOSED | {"close_flags": CloseFlag.FIN_SENT, "oldstate": State.FIN_WAIT2}, ANSWER)
    moved, _, _ = late.settle(moved, NO_ENDS, NOW + SECOND)
    assert (moved["close_flags"][0], moved["reset_in"][0]) == (CloseFlag.FIN_SENT | CloseFlag.RST_SENT, State.FIN_WAIT2)


def test_an_end_waits_for_its_reset_which_may_be_read_later() -> None:
    late = LateResets()
    before = transitions(
        CLOSED | {"skaddr": 6, "ts_ns": NOW - MS, "close_flags": CloseFlag.FIN_SENT | CloseFlag.FIN_RECEIVED}
    )
    young = transitions(
        CLOSED | {"close_flags": DECEIVED}, CLOSED | {"skaddr": 8, "ts_ns": NOW + 1, "newstate": State.SYN_SENT}
    )
    moved, ended, _ = late.settle(before, NO_ENDS, NOW)
    assert moved["skaddr"].tolist() == [6]
    moved, ended, _ = late.settle(young, sessions({"skaddr": 7, "end_ns": NOW, "close_flags": DECEIVED}), NOW + MS // 2)
    assert (len(moved), len(ended)) == (0, 0)
    moved, ended, _ = late.settle(transitions(ANSWER), NO_ENDS, NOW + 100 * MS)
    assert moved["skaddr"].tolist() == [7, 8]
    assert ended["close_flags"].tolist() == [CloseFlag.FIN_SENT | CloseFlag.RST_SENT]


def test_a_session_may_be_read_after_its_reset() -> None:
    """The ring of sessions is read first: both may be written between the two readings, and a part of one may wait."""
    late = LateResets()
    told = {"close_flags": DECEIVED, "reset_in": State.FIN_WAIT1}
    moved, ended, _ = late.settle(transitions(CLOSED | told, ANSWER), NO_ENDS, NOW - MS)
    assert moved["close_flags"].tolist() == [CloseFlag.FIN_SENT | CloseFlag.RST_SENT]
    assert not len(late.settle(NO_MOVES, sessions({"skaddr": 6, "end_ns": NOW + MS} | told), NOW + MS)[1])
    young = sessions({"skaddr": 7, "end_ns": NOW} | told, {"skaddr": 7, "end_ns": NOW + 2 * MS} | told)
    _, ended, _ = late.settle(NO_MOVES, young, NOW + 300 * MS)
    assert ended["skaddr"].tolist() == [6, 7, 7]
    assert ended["close_flags"].tolist() == [DECEIVED, CloseFlag.FIN_SENT | CloseFlag.RST_SENT, DECEIVED]


def test_a_reset_does_not_wait_for_its_session_for_ever() -> None:
    late = LateResets()
    late.settle(transitions(ANSWER), NO_ENDS, NOW)
    late.settle(NO_MOVES, NO_ENDS, NOW + 2 * SECOND)
    ended = sessions({"skaddr": 7, "end_ns": NOW, "close_flags": DECEIVED})
    _, ended, _ = late.settle(NO_MOVES, ended, NOW + 2 * SECOND)
    assert ended["close_flags"].tolist() == [DECEIVED]


def test_a_reset_is_not_of_an_earlier_life_of_its_address() -> None:
    earlier = CLOSED | {"ts_ns": NOW - MS, "close_flags": DECEIVED}
    complete = CLOSED | {"close_flags": CloseFlag.FIN_SENT | CloseFlag.FIN_RECEIVED}
    moved, _, _ = LateResets().settle(transitions(earlier, complete, ANSWER), NO_ENDS, NOW + SECOND)
    assert moved["close_flags"].tolist() == [DECEIVED, CloseFlag.FIN_SENT | CloseFlag.FIN_RECEIVED]
    ended = sessions({"skaddr": 7, "end_ns": NOW - 2 * SECOND, "close_flags": DECEIVED})
    _, ended, _ = LateResets().settle(transitions(ANSWER), ended, NOW + SECOND)
    assert ended["close_flags"].tolist() == [DECEIVED]


def test_a_reset_is_of_the_latest_life_of_a_socket() -> None:
    late = LateResets()
    moved = transitions(
        CLOSED | {"ts_ns": NOW - 5 * MS, "close_flags": DECEIVED}, CLOSED | {"close_flags": DECEIVED}, ANSWER,
        CLOSED | {"ts_ns": NOW + MS, "close_flags": DECEIVED}, CLOSED | {"ts_ns": NOW + MS, "close_flags": DECEIVED,
        "skaddr": 9},
    )  # fmt: skip
    moved, _, _ = late.settle(moved, NO_ENDS, NOW + SECOND)
    assert [bool(ends & CloseFlag.RST_SENT) for ends in moved["close_flags"]] == [False, True, False, False]


def test_nothing_is_kept_back_at_the_end() -> None:
    late = LateResets()
    late.settle(
        transitions(CLOSED | {"close_flags": DECEIVED}), sessions({"close_flags": DECEIVED, "end_ns": NOW}), NOW
    )
    moved, ended, _ = late.flush()
    assert (len(moved), len(ended)) == (1, 1)
    assert [len(rows) for rows in late.flush()] == [0, 0, 0]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (CloseFlag.FIN_RECEIVED | CloseFlag.PEER_FIRST | CloseFlag.RST_RECEIVED, CloseFlag.RST_SENT),
        (CloseFlag.FIN_RECEIVED | CloseFlag.PEER_FIRST | CloseFlag.RST_SENT, CloseFlag.RST_RECEIVED),
        (CloseFlag.FIN_RECEIVED | CloseFlag.PEER_FIRST | CloseFlag.FIN_SENT, CloseFlag.FIN_RECEIVED),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_the_peer_on_this_host_tells_how_it_went_on(theirs: int, ours: int, *, later: bool) -> None:
    half = HalfClosed()
    client = CLIENT | {"close_flags": CloseFlag.FIN_SENT, "end_ns": NOW}
    server = SERVER | {"close_flags": theirs, "end_ns": NOW + 5 * SECOND}
    if later:
        assert not len(half.resolve(sessions(client), NO_MOVES))
        found = half.resolve(sessions(server), NO_MOVES)
    else:
        found = half.resolve(sessions(client, server), NO_MOVES)
    assert (found["skaddr"].tolist(), found["close_flags"].tolist()) == ([1], [ours])
    assert not len(half.resolve(sessions(server), NO_MOVES))  # said once


def test_time_wait_tells_of_its_own_reset_and_loopback_is_each_namespaces_own() -> None:
    half = HalfClosed()
    elsewhere = CLIENT | {"netns": 2, "skaddr": 3}
    half.resolve(
        sessions(*(one | {"close_flags": CloseFlag.FIN_SENT, "end_ns": NOW} for one in (CLIENT, elsewhere))), NO_MOVES
    )
    reset = elsewhere | {"ts_ns": NOW + SECOND, "skaddr": 99, "oldstate": State.TIME_WAIT, "newstate": 0}
    found = half.resolve(NO_ENDS, transitions(reset))
    assert found["skaddr"].tolist() == [3]
    assert (found["close_flags"][0], found["reset_in"][0]) == (CloseFlag.RST_SENT, State.FIN_WAIT2)


def test_of_two_that_received_the_reset_the_closed_one_has_sent_it() -> None:
    ended = sessions(
        CLIENT | {"close_flags": DECEIVED}, SERVER | {"close_flags": CloseFlag.FIN_RECEIVED | CloseFlag.PEER_FIRST |
        CloseFlag.RST_RECEIVED},
        CLIENT | {"close_flags": DECEIVED, "lport": 40_001},
    )  # fmt: skip
    HalfClosed().resolve(ended, NO_MOVES)
    assert close_reasons(ended).tolist() == [
        CloseReason.RESET_SENT,
        CloseReason.RESET_RECEIVED,
        CloseReason.RESET_RECEIVED,
    ]


def test_ends_in_two_network_namespaces_of_this_host_are_a_pair() -> None:
    half = HalfClosed()
    inside = {"laddr": "10.0.0.2", "raddr": "10.0.0.1", "netns": 5}
    outside = {"laddr": "10.0.0.1", "raddr": "10.0.0.2", "netns": 6}
    found = half.resolve(
        sessions(
            CLIENT | inside | {"close_flags": CloseFlag.FIN_SENT},
            SERVER | outside | {"close_flags": CloseFlag.RST_RECEIVED},
        ),
        NO_MOVES,
    )
    assert found["close_flags"].tolist() == [CloseFlag.RST_SENT]


def test_the_model_puts_the_session_right_and_leaves_what_it_gave_out() -> None:
    store = Store(Settings())
    store.apply(
        EndedConnections(
            sessions(CLIENT | {"close_flags": CloseFlag.FIN_SENT, "flags": 0}, SERVER | {"close_flags": 0, "flags": 0})
        )
    )
    before = store.snapshot().ended_rows
    ending = np.zeros(1, LATE_ENDING)
    ending["skaddr"], ending["born_ns"] = 1, before["born_ns"][0]
    ending["close_flags"], ending["reset_in"] = CloseFlag.RST_SENT, State.FIN_WAIT2
    store.apply(LateEndings(ending))
    after = store.snapshot().ended_rows
    assert close_reasons(before).tolist() == [CloseReason.FIN_BY_US, CloseReason.SILENT]
    assert close_reasons(after).tolist() == [CloseReason.RESET_SENT, CloseReason.SILENT]
    assert after["reset_in"].tolist() == [State.FIN_WAIT2, 0]
