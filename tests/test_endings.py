"""What comes after the end of a connection was logged: it is put right before, or soon after, somebody sees it."""

from __future__ import annotations

import numpy as np
import pytest
from made import NOW, SECOND, sessions, transitions

from tcptop_tui.close_reasons import Reason, reasons
from tcptop_tui.model.store import Store
from tcptop_tui.reconcile.half_closed import HalfClosed
from tcptop_tui.reconcile.late_resets import LateResets
from tcptop_tui.records import ENDING, SESSION, TRANSITION, End, State
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Endings, Sessions

pytestmark = pytest.mark.apart

MS = 10**6
DECEIVED = End.FIN_SENT | End.RST_RECEIVED
"""What tcp_reset() leaves behind when data came for a closed socket."""
NO_MOVES, NO_ENDS = np.zeros(0, TRANSITION), np.zeros(0, SESSION)
CLIENT = {"laddr": "127.0.0.1", "raddr": "127.0.0.1", "lport": 40_000, "rport": 80, "skaddr": 1, "state": State.CLOSE}
SERVER = CLIENT | {"lport": 80, "rport": 40_000, "skaddr": 2}
CLOSED = {"skaddr": 7, "ts_ns": NOW, "oldstate": State.FIN_WAIT1, "newstate": State.CLOSE}
ANSWER = CLOSED | {"ts_ns": NOW + 9000, "oldstate": State.CLOSE, "newstate": 0, "ends": End.RST_SENT}


def test_a_reset_that_answers_data_was_not_received() -> None:
    late = LateResets()
    moved = transitions(CLOSED | {"ends": DECEIVED, "reset_in": State.FIN_WAIT1}, ANSWER)
    ended = sessions({"skaddr": 7, "end_ns": NOW, "ends": DECEIVED, "reset_in": State.FIN_WAIT1})
    moved, ended, resets = late.sort_out(moved, ended, NOW + SECOND)
    assert not len(resets)
    assert (moved["ends"].tolist(), ended["ends"].tolist()) == ([End.FIN_SENT | End.RST_SENT],) * 2
    assert moved["reset_in"].tolist() == ended["reset_in"].tolist() == [State.FIN_WAIT1]


def test_data_with_the_last_acknowledgement_are_answered_on_the_way_to_time_wait() -> None:
    late = LateResets()
    moved = transitions(CLOSED | {"ends": End.FIN_SENT, "oldstate": State.FIN_WAIT2}, ANSWER)
    moved, _, _ = late.sort_out(moved, NO_ENDS, NOW + SECOND)
    assert (moved["ends"][0], moved["reset_in"][0]) == (End.FIN_SENT | End.RST_SENT, State.FIN_WAIT2)


def test_an_end_waits_for_its_reset_which_may_be_read_later() -> None:
    late = LateResets()
    before = transitions(CLOSED | {"skaddr": 6, "ts_ns": NOW - MS, "ends": End.FIN_SENT | End.FIN_RECEIVED})
    young = transitions(
        CLOSED | {"ends": DECEIVED}, CLOSED | {"skaddr": 8, "ts_ns": NOW + 1, "newstate": State.SYN_SENT}
    )
    moved, ended, _ = late.sort_out(before, NO_ENDS, NOW)
    assert moved["skaddr"].tolist() == [6]
    moved, ended, _ = late.sort_out(young, sessions({"skaddr": 7, "end_ns": NOW, "ends": DECEIVED}), NOW + MS // 2)
    assert (len(moved), len(ended)) == (0, 0)
    moved, ended, _ = late.sort_out(transitions(ANSWER), NO_ENDS, NOW + 100 * MS)
    assert moved["skaddr"].tolist() == [7, 8]
    assert ended["ends"].tolist() == [End.FIN_SENT | End.RST_SENT]


def test_a_session_may_be_read_after_its_reset() -> None:
    """The ring of sessions is read first: both may be written between the two readings, and a part of one may wait."""
    late = LateResets()
    told = {"ends": DECEIVED, "reset_in": State.FIN_WAIT1}
    moved, ended, _ = late.sort_out(transitions(CLOSED | told, ANSWER), NO_ENDS, NOW - MS)
    assert moved["ends"].tolist() == [End.FIN_SENT | End.RST_SENT]
    assert not len(late.sort_out(NO_MOVES, sessions({"skaddr": 6, "end_ns": NOW + MS} | told), NOW + MS)[1])
    young = sessions({"skaddr": 7, "end_ns": NOW} | told, {"skaddr": 7, "end_ns": NOW + 2 * MS} | told)
    _, ended, _ = late.sort_out(NO_MOVES, young, NOW + 300 * MS)
    assert ended["skaddr"].tolist() == [6, 7, 7]
    assert ended["ends"].tolist() == [DECEIVED, End.FIN_SENT | End.RST_SENT, DECEIVED]


def test_a_reset_does_not_wait_for_its_session_for_ever() -> None:
    late = LateResets()
    late.sort_out(transitions(ANSWER), NO_ENDS, NOW)
    late.sort_out(NO_MOVES, NO_ENDS, NOW + 2 * SECOND)
    ended = sessions({"skaddr": 7, "end_ns": NOW, "ends": DECEIVED})
    _, ended, _ = late.sort_out(NO_MOVES, ended, NOW + 2 * SECOND)
    assert ended["ends"].tolist() == [DECEIVED]


def test_a_reset_is_not_of_an_earlier_life_of_its_address() -> None:
    earlier = CLOSED | {"ts_ns": NOW - MS, "ends": DECEIVED}
    complete = CLOSED | {"ends": End.FIN_SENT | End.FIN_RECEIVED}
    moved, _, _ = LateResets().sort_out(transitions(earlier, complete, ANSWER), NO_ENDS, NOW + SECOND)
    assert moved["ends"].tolist() == [DECEIVED, End.FIN_SENT | End.FIN_RECEIVED]
    ended = sessions({"skaddr": 7, "end_ns": NOW - 2 * SECOND, "ends": DECEIVED})
    _, ended, _ = LateResets().sort_out(transitions(ANSWER), ended, NOW + SECOND)
    assert ended["ends"].tolist() == [DECEIVED]


def test_a_reset_is_of_the_latest_life_of_a_socket() -> None:
    late = LateResets()
    moved = transitions(
        CLOSED | {"ts_ns": NOW - 5 * MS, "ends": DECEIVED}, CLOSED | {"ends": DECEIVED}, ANSWER,
        CLOSED | {"ts_ns": NOW + MS, "ends": DECEIVED}, CLOSED | {"ts_ns": NOW + MS, "ends": DECEIVED, "skaddr": 9},
    )  # fmt: skip
    moved, _, _ = late.sort_out(moved, NO_ENDS, NOW + SECOND)
    assert [bool(ends & End.RST_SENT) for ends in moved["ends"]] == [False, True, False, False]


def test_nothing_is_kept_back_at_the_end() -> None:
    late = LateResets()
    late.sort_out(transitions(CLOSED | {"ends": DECEIVED}), sessions({"ends": DECEIVED, "end_ns": NOW}), NOW)
    moved, ended, _ = late.rest()
    assert (len(moved), len(ended)) == (1, 1)
    assert [len(rows) for rows in late.rest()] == [0, 0, 0]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (End.FIN_RECEIVED | End.PEER_FIRST | End.RST_RECEIVED, End.RST_SENT),
        (End.FIN_RECEIVED | End.PEER_FIRST | End.RST_SENT, End.RST_RECEIVED),
        (End.FIN_RECEIVED | End.PEER_FIRST | End.FIN_SENT, End.FIN_RECEIVED),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_the_peer_on_this_host_tells_how_it_went_on(theirs: int, ours: int, *, later: bool) -> None:
    half = HalfClosed()
    client = CLIENT | {"ends": End.FIN_SENT, "end_ns": NOW}
    server = SERVER | {"ends": theirs, "end_ns": NOW + 5 * SECOND}
    if later:
        assert not len(half.settle(sessions(client), NO_MOVES))
        found = half.settle(sessions(server), NO_MOVES)
    else:
        found = half.settle(sessions(client, server), NO_MOVES)
    assert (found["skaddr"].tolist(), found["ends"].tolist()) == ([1], [ours])
    assert not len(half.settle(sessions(server), NO_MOVES))  # said once


def test_time_wait_tells_of_its_own_reset_and_loopback_is_each_namespaces_own() -> None:
    half = HalfClosed()
    elsewhere = CLIENT | {"netns": 2, "skaddr": 3}
    half.settle(sessions(*(one | {"ends": End.FIN_SENT, "end_ns": NOW} for one in (CLIENT, elsewhere))), NO_MOVES)
    reset = elsewhere | {"ts_ns": NOW + SECOND, "skaddr": 99, "oldstate": State.TIME_WAIT, "newstate": 0}
    found = half.settle(NO_ENDS, transitions(reset))
    assert found["skaddr"].tolist() == [3]
    assert (found["ends"][0], found["reset_in"][0]) == (End.RST_SENT, State.FIN_WAIT2)


def test_of_two_that_received_the_reset_the_closed_one_has_sent_it() -> None:
    ended = sessions(
        CLIENT | {"ends": DECEIVED}, SERVER | {"ends": End.FIN_RECEIVED | End.PEER_FIRST | End.RST_RECEIVED},
        CLIENT | {"ends": DECEIVED, "lport": 40_001},
    )  # fmt: skip
    HalfClosed().settle(ended, NO_MOVES)
    assert reasons(ended).tolist() == [Reason.RESET_SENT, Reason.RESET_RECEIVED, Reason.RESET_RECEIVED]


def test_ends_in_two_network_namespaces_of_this_host_are_a_pair() -> None:
    half = HalfClosed()
    inside = {"laddr": "10.0.0.2", "raddr": "10.0.0.1", "netns": 5}
    outside = {"laddr": "10.0.0.1", "raddr": "10.0.0.2", "netns": 6}
    found = half.settle(
        sessions(CLIENT | inside | {"ends": End.FIN_SENT}, SERVER | outside | {"ends": End.RST_RECEIVED}), NO_MOVES
    )
    assert found["ends"].tolist() == [End.RST_SENT]


def test_the_model_puts_the_session_right_and_leaves_what_it_gave_out() -> None:
    store = Store(Settings())
    store.apply(Sessions(sessions(CLIENT | {"ends": End.FIN_SENT, "flags": 0}, SERVER | {"ends": 0, "flags": 0})))
    before = store.facts().sessions
    ending = np.zeros(1, ENDING)
    ending["skaddr"], ending["born_ns"] = 1, before["born_ns"][0]
    ending["ends"], ending["reset_in"] = End.RST_SENT, State.FIN_WAIT2
    store.apply(Endings(ending))
    after = store.facts().sessions
    assert reasons(before).tolist() == [Reason.FIN_BY_US, Reason.SILENT]
    assert reasons(after).tolist() == [Reason.RESET_SENT, Reason.SILENT]
    assert after["reset_in"].tolist() == [State.FIN_WAIT2, 0]
