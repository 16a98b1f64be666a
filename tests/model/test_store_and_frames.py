"""Histories, rates, histograms, store and frames: no kernel, no screen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.fields import RecordKinds, list_fields
from tcptop_tui.filters import parse
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.histogram import bucket_bounds, percentile, summarize
from tcptop_tui.model.rates import Rates
from tcptop_tui.model.record_array import RecordArray
from tcptop_tui.model.record_parts import FrozenParts, RecordParts
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.model.store import Store
from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import RTT_SLOTS, TRANSITION, Rows, State
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import EndedConnections, Loss, Status, Table, Transitions
from tests.support.samples import NOW, SECOND, UNKNOWN, UTC, connections, sampled, sessions, transitions


@given(st.integers(1, 7), st.lists(st.integers(0, 20), max_size=12))
def test_history_keeps_the_latest(limit: int, batches: list[int]) -> None:
    history = RecordArray(TRANSITION, limit)
    every: list[int] = []
    fallen: list[int] = []
    seen_before: list[tuple[np.ndarray, list[int]]] = []
    for size in batches:
        rows = np.zeros(size, TRANSITION)
        rows["ts_ns"] = np.arange(len(every), len(every) + size)
        every += rows["ts_ns"].tolist()
        fallen += [time_ns for part in history.append(rows) for time_ns in part["ts_ns"].tolist()]
        assert history.rows["ts_ns"].tolist() == every[-limit:]
        assert fallen + history.rows["ts_ns"].tolist() == every
        seen_before.append((history.rows, history.rows["ts_ns"].tolist()))
    assert history.total == len(every)
    for view, content in seen_before:  # what was handed out never changes
        assert view["ts_ns"].tolist() == content


@given(st.integers(1, 200), st.lists(st.integers(0, 20), max_size=12) | st.lists(st.integers(1, 2), min_size=100))
def test_the_latest_are_kept_as_they_came(limit: int, batches: list[int]) -> None:
    recent = RecordParts(TRANSITION, limit)
    every: list[int] = []
    fallen: list[int] = []
    seen_before: list[tuple[FrozenParts, list[int]]] = []
    for size in batches:
        rows = np.zeros(size, TRANSITION)
        rows["ts_ns"] = np.arange(len(every), len(every) + size)
        every += rows["ts_ns"].tolist()
        fallen += [time_ns for part in recent.append(rows) for time_ns in part["ts_ns"].tolist()]
        kept, total = recent.frozen_and_total
        assert (len(kept), total) == (min(limit, len(every)), len(every))
        assert kept.newest(7)["ts_ns"].tolist() == every[-min(limit, 7) :]
        seen_before.append((kept, every[-limit:]))
    assert fallen == every[:-limit]
    for kept, content in seen_before:  # what was handed out never changes
        assert kept.rows["ts_ns"].tolist() == content


def test_history_uses_memory_again_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    history, rows, empty = RecordArray(TRANSITION, 100), np.zeros(60, TRANSITION), np.empty
    for _ in range(4):  # up to its limit
        history.append(rows.copy())
        latest = history.rows
    made = []
    monkeypatch.setattr(np, "empty", lambda *given: made.append(given) or empty(*given))
    for number in range(1, 20):
        rows["ts_ns"] = number
        history.append(rows.copy())
        latest = history.rows  # as a frame: what it shows is kept until there is another one
        if number == 10:
            paused = latest
    assert len(latest) == 100
    assert np.unique(paused["ts_ns"]).tolist() == [9, 10]
    assert len(made) == 1  # instead of what the paused one keeps


def rates_and_update() -> tuple[Rates, Callable[[Rows, int], None]]:
    """Rates, and what gives them a table that follows the one before."""
    rates, step = Rates(), TableDiff()

    def update(rows: Rows, now_ns: int) -> None:
        nonlocal step
        step = TableDiff.from_ids(step.ids, rows["id"].copy())
        rates.update(rows, now_ns, step)

    return rates, update


def test_rates_are_bytes_over_time() -> None:
    rates, update = rates_and_update()
    update(connections({"tx_bytes": 1000, "rx_bytes": 0}, UNKNOWN), NOW)
    assert np.isnan(rates.tx).all()
    update(connections({"tx_bytes": 5000, "rx_bytes": 600}, UNKNOWN), NOW + 2 * SECOND)
    assert (rates.tx[0], rates.rx[0]) == (2000.0, 300.0)
    assert np.isnan(rates.tx[1])
    update(connections({"tx_bytes": 9000, "rx_bytes": 600}), NOW + 2 * SECOND + SECOND // 2)
    assert rates.tx[0] == 2000.0  # under a second: the old one stands
    update(connections({"tx_bytes": 9000, "rx_bytes": 600}), NOW + 4 * SECOND)
    assert (rates.tx[0], rates.rx[0]) == (2000.0, 0.0)


def test_rates_follow_the_connection_not_the_row() -> None:
    rates, update = rates_and_update()
    update(connections({"id": 3, "tx_bytes": 0}, {"id": 9, "tx_bytes": 100}), NOW)
    update(connections({"id": 5, "tx_bytes": 7}, {"id": 9, "tx_bytes": 300}), NOW + SECOND)
    assert np.isnan(rates.tx[0])
    assert rates.tx[1] == 200.0


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=200))
def test_summary_against_every_sample(samples: list[int]) -> None:
    hist = np.zeros(RTT_SLOTS, np.uint64)
    for sample in samples:
        hist[max(0, sample.bit_length() - 1)] += 1
    summary = summarize(hist, sum(samples))
    assert summary.count == len(samples)
    assert summary.avg_us == pytest.approx(sum(samples) / len(samples))
    ordered = sorted(samples)
    for share, value in ((0.5, summary.p50_us), (0.9, summary.p90_us), (0.99, summary.p99_us)):
        true = ordered[max(0, int(np.ceil(share * len(ordered))) - 1)]
        low, high = bucket_bounds(max(0, true.bit_length() - 1))
        assert high is not None
        assert low <= value <= high + 1


def test_no_samples_is_not_zero() -> None:
    summary = summarize(np.zeros(RTT_SLOTS, np.uint64), 0)
    assert (summary.count, summary.avg_us, summary.p99_us) == (0, None, None)
    open_end = np.zeros(RTT_SLOTS, np.uint64)
    open_end[-1] = 5
    assert percentile(open_end, 0.5) == 2.0**26


def filled_store(**settings: int) -> Store:
    store = Store(Settings(**settings))
    rows = connections(
        {"rx_bytes": 10, "comm": b"b"}, {"rx_bytes": 30, "comm": b"a", "lport": 22}, {**UNKNOWN, "comm": b"c"}
    )
    hists = sampled(rows, 4, [3, 0, 0])
    rows["rtt_sum_us"][0] = 60
    store.apply(Table(rows, NOW, UTC, hists))
    return store


def test_store_folds_every_kind_of_batch() -> None:
    store = filled_store()
    before = store.generation
    store.apply(Transitions(transitions({}, {})))
    store.apply(Loss(ring_full=4))
    store.apply(Status("bpf"))
    facts = store.snapshot()
    assert store.generation == before + 3
    assert (facts.log_total, len(facts.log), facts.loss.lost, facts.status.backend) == (2, 2, 4, "bpf")
    store.apply(Table(facts.rows, NOW + 2 * SECOND, UTC))
    assert store.snapshot().transitions_per_s == pytest.approx(1.0)


def test_forgotten_sessions_still_count_when_nothing_is_filtered() -> None:
    store = filled_store(session_rows=2)
    ended = sessions(*({"lport": 1000 + index} for index in range(5)))
    ended["rtt_hist"][:, 7], ended["rtt_sum_us"] = 2, 300
    store.apply(EndedConnections(ended))
    everything = make_frame(store.snapshot(), ViewOptions()).rtt
    assert (int(everything.hist.sum()), everything.sum_us) == (3 + 10, 60 + 5 * 300)
    assert (everything.live_count, everything.ended_count, everything.unfilterable_count) == (1, 5, 0)
    one = make_frame(store.snapshot(), ViewOptions(parse("lport:1004"))).rtt
    assert (int(one.hist.sum()), one.ended_count, one.unfilterable_count) == (2, 1, 3)


@pytest.mark.parametrize("key", [field.key for field in list_fields(RecordKinds.TABLE)])
@pytest.mark.parametrize("descending", [True, False])
def test_unknown_is_last_either_way(key: str, descending: bool) -> None:
    facts = filled_store().snapshot()
    order = make_frame(facts, ViewOptions().with_order(SortOrder(key, descending=descending))).row_order.tolist()
    assert sorted(order) == [0, 1, 2]
    if key in {"rx_bytes", "age", "pid", "lport", "in_state", "retrans", "tx_bytes", "user"}:
        assert order[-1] == 2


def test_sorting_by_name_and_number() -> None:
    facts = filled_store().snapshot()
    assert make_frame(facts, ViewOptions().with_order(SortOrder("comm", descending=False))).row_order.tolist() == [
        1,
        0,
        2,
    ]
    assert make_frame(facts, ViewOptions().with_order(SortOrder("comm", descending=True))).row_order.tolist() == [
        2,
        0,
        1,
    ]
    assert make_frame(facts, ViewOptions().with_order(SortOrder("rx_bytes", descending=True))).row_order.tolist() == [
        1,
        0,
        2,
    ]


def test_the_log_is_filtered_too() -> None:
    store = filled_store()
    store.apply(Transitions(transitions({"lport": 22}, {"newstate": State.CLOSE_WAIT}, {"lport": 22})))
    assert make_frame(store.snapshot(), ViewOptions(parse("lport:22"))).log_order.tolist() == [0, 2]
