"""What has come of connect() calls: however busy the host is, no failure falls out of a count or out of the list."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.fields.connect_results import is_failure
from tcptop_tui.filters import parse
from tcptop_tui.formats import address
from tcptop_tui.model import connect_outcomes
from tcptop_tui.model.connect_list import Connects
from tcptop_tui.model.connect_outcomes import OutcomeCounter
from tcptop_tui.model.ended_order import has_peer
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.per_second import EventKind
from tcptop_tui.model.store import Store
from tcptop_tui.records import Flag, Rows, State, SynSent
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Table, Transitions
from tcptop_tui.widgets.time_texts import span_text, start_text
from tcptop_tui.widgets.views.connects import connects_note, connects_title
from tests.support.samples import NOW, SECOND, UTC, connections, sessions, transitions

FEW = Settings(connect_rows=100, log_rows=100)


def test_a_connect_to_port_0_ends_as_a_connection_and_a_listener_does_not() -> None:
    ended = sessions({"rport": 0, "flags": Flag.ACTIVE}, {"rport": 0, "flags": Flag.LISTENER}, {"rport": 0}, {})
    assert has_peer(ended).tolist() == [True, False, False, True]


def attempt(second: float, *, good: bool, rport: int = 80, **fields: Any) -> dict[str, Any]:
    how = {"newstate": State.ESTABLISHED} if good else {"newstate": State.CLOSE, "err": 111}
    return {"oldstate": State.SYN_SENT, "ts_ns": NOW + int(second * SECOND), "rport": rport, **how, **fields}


def table(second: float, *rows: dict[str, Any]) -> Table:
    return Table(connections(*rows), NOW + int(second * SECOND), UTC + int(second * SECOND))


def churn(store: Store, seconds: int, *, failing: int, connecting: int) -> None:
    for second in range(seconds):
        store.apply(Transitions(transitions(
            *(attempt(second + 0.1, good=False, rport=81) for _ in range(failing)),
            *(attempt(second + 0.5, good=True) for _ in range(connecting)),
        )))  # fmt: skip
        store.apply(table(second + 1))


@pytest.fixture
def busy() -> Store:
    store = Store(FEW)
    store.apply(table(0))
    churn(store, 12, failing=2, connecting=200)
    return store


def view(store: Store, text: str = "") -> Any:
    return make_frame(store.snapshot(), ViewOptions(view="connects", filter=parse(text)))


def test_header_and_view_count_the_same_failures(busy: Store) -> None:
    made: Connects = view(busy).connects
    assert (made.connects, made.failed) == (12 * 202, 24)
    assert np.nansum(busy.snapshot().per_second[EventKind.FAILED]) == 24
    assert int(is_failure(made.results).sum()) == 24  # and all of them are in the list
    by_port = {int(one["rport"]): (int(one["connects"]), int(one["failed"])) for one in made.destinations}
    assert by_port == {81: (24, 24), 80: (2400, 0)}


def test_every_count_says_of_which_time_it_is(busy: Store) -> None:
    frame = view(busy)
    since = start_text(frame.snapshot)
    assert connects_title(frame) == f"Connects 2,424, failed 24 since {since}"
    assert connects_note(frame) == "list: successes of the last 500ms"
    chosen = view(busy, "rport>1")
    assert connects_title(chosen) == f"Connects 124 of the last 500ms, failed 24 since {since}"
    assert span_text(frame.snapshot, frame.snapshot.log_since_ns) == "of the last 500ms"


def test_an_alert_finds_failures_among_thousands_that_connect() -> None:
    store = Store(FEW)
    store.apply(table(0))
    churn(store, 8, failing=3, connecting=500)
    assert [alert.key for alert in store.snapshot().alerts] == ["failing 10.0.0.2 81"]


def test_clearing_counts_from_there_on(busy: Store) -> None:
    busy.clear()
    assert view(busy).connects.connects == 0
    busy.apply(Transitions(transitions(attempt(12.5, good=False))))
    busy.apply(table(13))
    frame = view(busy)
    assert (frame.connects.connects, frame.connects.failed, len(frame.connects.rows)) == (1, 1, 1)
    assert frame.snapshot.log_since_ns == frame.connects.since_ns == NOW + 12 * SECOND


def test_a_deferred_connect_is_neither_waiting_nor_failed() -> None:
    store = Store(FEW)
    common = {"state": State.SYN_SENT, "state_ns": NOW - 60 * SECOND}
    store.apply(table(0, common | {"syn_sent": SynSent.NONE}, common | {"syn_sent": SynSent.OUT}))
    store.apply(Transitions(transitions(attempt(0.1, good=False, err=0, syn_sent=SynSent.NONE))))  # closed unsent
    made = view(store).connects
    assert sorted(BY_KEY["result"].texts(RowContext(made.rows, 0))) == ["no SYN sent", "no SYN sent", "waiting"]
    assert (made.connects, made.failed, made.waiting) == (3, 0, 1)


ATTEMPTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.booleans(), st.integers(1, 9)), max_size=40)


@given(st.lists(ATTEMPTS, max_size=4))
def test_counts_by_destination_are_those_of_all(batches: list[list[tuple[int, int, bool, int]]]) -> None:
    counter = OutcomeCounter(limit=3)
    connects, lost, spent = Counter[Any](), Counter[Any](), Counter[Any]()
    for batch in batches:
        counter.add(
            transitions(*(attempt(0, good=good, rport=port, raddr=f"10.0.0.{host}", time_in_state_ns=ns)
                          for host, port, good, ns in batch))
        )  # fmt: skip
        for host, port, good, ns in batch:
            connects[host, port] += 1
            lost[host, port] += not good
            spent[host, port] += ns * good
    found = counter.outcomes.destinations
    assert len(found) == len(connects)
    for one in found:
        key = (int(address(tuple(one["raddr"].tolist())).rpartition(".")[2]), int(one["rport"]))
        assert (one["connects"], one["failed"]) == (connects[key], lost[key])
        good = connects[key] - lost[key]
        assert np.isnan(one["avg_ns"]) if not good else one["avg_ns"] == pytest.approx(spent[key] / good)
    assert (counter.outcomes.connects, counter.outcomes.failed) == (connects.total(), lost.total())


def test_destinations_are_bounded_and_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect_outcomes, "MAX_DESTINATIONS", 5)
    counter = OutcomeCounter(limit=100)
    rows: Rows = transitions(*(attempt(0, good=port != 7, rport=port) for port in range(20)))
    counter.add(rows)
    assert len(counter.outcomes.destinations) == 5
    assert int(counter.outcomes.destinations["rport"][0]) == 7  # what failed stays
    assert counter.outcomes.beyond == 15
