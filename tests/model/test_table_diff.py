"""What is carried from one table to the next is what it would be if it were made anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tcptop_tui.model import heat_map, heat_map_builder
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.rtt_baseline import MIN_SECONDS, RttBaseline
from tcptop_tui.model.rtt_totals import LiveRttTotals, RttTotals
from tcptop_tui.model.sorting import stable_order
from tcptop_tui.model.store import Store
from tcptop_tui.model.table_diff import TableDiff
from tcptop_tui.records import ROW, Rows
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import EndedConnections, Table
from tests.support.samples import NOW, SECOND, UTC, connections, rows_of, sampled, sessions

_IDS = st.frozensets(st.integers(1, 30), max_size=20).map(sorted)


@given(_IDS, _IDS)
def test_succession(before: list[int], after: list[int]) -> None:
    step = TableDiff.from_ids(np.array(before, np.uint64), np.array(after, np.uint64))
    assert step.existed.tolist() == [one in before for one in after]
    assert [before[place] for place in step.earlier_row[step.existed].tolist()] == [
        one for one in after if one in before
    ]
    assert [before[place] for place in step.removed.tolist()] == [one for one in before if one not in after]
    assert step.carry_over(np.array(before, np.int64), -1).tolist() == [one if one in before else -1 for one in after]


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.5, float("nan"), float("inf"), -3.0]) | st.floats(), max_size=40))
def test_stable_order(values: list[float]) -> None:
    given_ = np.array(values, np.float64)
    assert stable_order(given_).tolist() == np.argsort(given_, kind="stable").tolist()


samples = st.lists(st.integers(0, 9), min_size=3, max_size=3)


@given(st.lists(st.dictionaries(st.integers(1, 8), st.none() | samples), max_size=6))
def test_live_samples(tables: list[dict[int, list[int] | None]]) -> None:
    """Samples are added and never taken away, but TIME_WAIT (None) has forgotten all."""
    live, step = LiveRttTotals(), TableDiff()
    hist: dict[int, NDArray[np.int64]] = {}
    for added in tables:
        forgotten = np.zeros(3, np.int64)
        hist = {
            number: forgotten if more is None else hist.get(number, forgotten) + more
            for number, more in sorted(added.items())
        }
        rows = np.zeros(len(hist), ROW)
        rows["id"] = list(hist)
        counts = np.array([*hist.values()], "<u4").reshape(-1, 3)
        rows["rtt_sum_us"] = counts @ [0, 3, 5]  # samples of 0 µs add nothing
        hists = sampled(rows, slice(3), counts)
        step = TableDiff.from_ids(step.ids, rows["id"].copy())
        live.update(rows, hists, step)
        anew = RttTotals.from_rows(rows, np.arange(len(rows)), hists)
        assert live.total.hist.tolist() == anew.hist.tolist() == hists.histograms(rows["hist"]).sum(axis=0).tolist()
        assert anew.hist[:3].tolist() == counts.sum(axis=0).tolist()
        assert (live.total.sum_us, live.total.connections) == (anew.sum_us, anew.connections)


def busy(count: int, samples: int, second: int) -> Table:
    rows = np.repeat(connections({}), count)
    rows["id"], rows["lport"] = np.arange(1, count + 1), np.arange(1, count + 1)
    rows["rtt_sum_us"] = samples * 300
    at_ns = NOW + second * SECOND
    return Table(rows, at_ns, UTC + second * SECOND, sampled(rows, 8, samples))


def test_more_connections_than_are_kept_apart_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat_map_builder, "_MAX_BUSY_CONNECTIONS", 10)
    store = Store(Settings())
    start = -NOW // SECOND % heat_map.STEP_S
    for second in range(4):
        store.apply(busy(20, 1 + second, start + second))
    gone = busy(20, 4, start + 4)
    store.apply(EndedConnections(ended(gone.rows[19:], samples=6)))
    store.apply(replace(gone, rows=gone.rows[:19]))
    rtt = make_frame(store.snapshot(), ViewOptions()).rtt
    assert rtt.heat_columns[8].tolist() == [3 * 20 + 2]
    assert int(rtt.hist[8]) == 19 * 4 + 6


def ended(rows: Rows, samples: int) -> Rows:
    made = sessions(*({} for _ in rows))
    for name in set(made.dtype.names or ()) & set(rows.dtype.names or ()):
        made[name] = rows[name]
    made["rtt_hist"][:, 8], made["rtt_sum_us"] = samples, samples * 300
    return made


def told(usual: RttBaseline, *given_: dict[str, Any]) -> list[tuple[int, float, float]]:
    return list(usual.slow_addresses(rows_of(ROW, *given_)))


def test_usual_stays_with_its_address_when_others_come_and_go() -> None:
    usual = RttBaseline()
    fast = {"id": 500, "raddr": "10.9.9.9", "srtt_us": 1000}
    for second in range(MIN_SECONDS + 1):
        # more addresses than are remembered, all new ones
        others = [{"id": 1 + k, "raddr": f"10.{second}.{k // 250}.{k % 250}", "srtt_us": 50} for k in range(250)]
        assert not told(usual, *others, fast)
    [(row, now_us, usual_us)] = told(usual, {"id": 400, "srtt_us": 10}, fast | {"srtt_us": 90_000})
    assert (row, now_us, round(usual_us)) == (1, 90_000.0, 1000)
