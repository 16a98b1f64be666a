"""The map of round-trip times: every sample once, in its step and bucket, whatever the filter."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.support.samples as made
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.filters import parse
from tcptop_tui.model.frame import RttSelection, ViewOptions, make_frame
from tcptop_tui.model.heat_map import MAX_STEPS, STEP_S
from tcptop_tui.model.store import Store
from tcptop_tui.records import RTT_SLOTS, State
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture, EndedConnections, Table
from tcptop_tui.stream.histograms import empty_histogram
from tcptop_tui.widgets.panels.heat_map import heat_lines, heat_scale, heat_title
from tcptop_tui.widgets.panels.histogram import RttPanel
from tests.support.dashboard import dashboard
from tests.support.running_source import Running
from tests.support.samples import NOW, SECOND, UTC, connections, sessions
from tests.support.sockets import listening, pair, port

pytestmark = pytest.mark.host

START_S = -NOW // SECOND % STEP_S
"""A step begins here, in seconds after NOW."""


def sampled(slots: dict[int, int], **fields: Any) -> dict[str, Any]:
    """Fields of a row with so many samples in these slots."""
    hist = np.zeros(RTT_SLOTS, "<u4")
    for slot, count in slots.items():
        hist[slot] = count
    return {"rtt_hist": hist, "rtt_sum_us": sum(count << slot for slot, count in slots.items()), **fields}


def table(second: float, *given: dict[str, Any]) -> Table:
    at_ns = round((START_S + second) * SECOND)
    rows = connections(*given)
    hists = np.array([one.get("rtt_hist", empty_histogram()) for one in given]).reshape(-1, RTT_SLOTS)
    return Table(rows, NOW + at_ns, UTC + at_ns, made.sampled(rows, slice(None), hists))


def shown(store: Store, text: str = "") -> RttSelection:
    return make_frame(store.snapshot(), ViewOptions(filter=parse(text))).rtt


def steps(rtt: RttSelection, slot: int) -> list[int]:
    return [int(count) for count in rtt.heat_columns[slot]]


def test_samples_are_in_the_step_in_which_they_came() -> None:
    store = Store(Settings())
    store.apply(table(0, sampled({10: 7})))  # from before: nobody knows when
    store.apply(table(1, sampled({10: 9})))
    store.apply(table(STEP_S - 1, sampled({10: 10, 12: 1})))
    assert (steps(shown(store), 10), steps(shown(store), 12)) == ([3], [1])
    store.apply(table(STEP_S, sampled({10: 10, 12: 1})))
    store.apply(table(STEP_S + 1, sampled({10: 15, 12: 1})))
    assert (steps(shown(store), 10), steps(shown(store), 12)) == ([3, 5], [1, 0])
    store.apply(table(4 * STEP_S, sampled({10: 15, 12: 1})))  # nobody looked for two steps
    assert steps(shown(store), 10) == [3, 5, 0, 0, 0]


def test_ended_connections_count_once() -> None:
    store = Store(Settings())
    lived = {"lport": 1, "born_ns": NOW - SECOND}
    store.apply(table(0, sampled({10: 5}, **lived)))
    store.apply(table(1, sampled({10: 6}, **lived)))
    store.apply(EndedConnections(sessions(sampled({10: 8}, **lived))))
    short = {"lport": 2, "born_ns": NOW + (START_S + 1) * SECOND}
    store.apply(EndedConnections(sessions(sampled({10: 100}, **short))))
    store.apply(
        EndedConnections(sessions(sampled({10: 1000}, lport=3, born_ns=NOW - SECOND)))
    )  # from before, never seen
    store.apply(table(2))
    assert steps(shown(store), 10) == [103]
    assert [steps(shown(store, f"lport:{number}"), 10) for number in (1, 2, 3)] == [[3], [100], [0]]


def test_an_end_that_is_told_a_step_late_counts_what_was_not_seen() -> None:
    store = Store(Settings())
    lived = {"lport": 1, "born_ns": NOW - SECOND}
    store.apply(table(0, sampled({10: 5}, **lived)))
    store.apply(table(1, sampled({10: 6}, **lived)))
    store.apply(table(STEP_S))
    store.apply(EndedConnections(sessions(sampled({10: 8}, **lived))))
    store.apply(table(STEP_S + 1))
    assert sum(steps(shown(store), 10)) == 3


def test_what_comes_back_with_a_wider_capture_is_not_new() -> None:
    store = Store(Settings())
    store.apply(table(0))
    store.apply(table(1, sampled({10: 50}, born_ns=NOW - SECOND)))
    store.apply(table(2, sampled({10: 55}, born_ns=NOW - SECOND)))
    assert steps(shown(store), 10) == [0]
    store.apply(table(STEP_S, sampled({10: 55}, born_ns=NOW - SECOND)))
    store.apply(table(STEP_S + 1, sampled({10: 60}, born_ns=NOW - SECOND)))
    assert steps(shown(store), 10) == [0, 5]


def test_the_first_samples_of_a_connection_that_was_quiet_for_a_step() -> None:
    store = Store(Settings())
    quiet = {"born_ns": NOW + (START_S + 1) * SECOND}
    store.apply(table(0))
    for second in (2, STEP_S, STEP_S + 1):
        store.apply(table(second, sampled({}, **quiet)))
    store.apply(table(STEP_S + 2, sampled({10: 4}, **quiet)))
    assert steps(shown(store), 10) == [0, 4]
    store.apply(EndedConnections(sessions(sampled({10: 6}, **quiet))))
    store.apply(table(STEP_S + 3, sampled({}, state=State.TIME_WAIT, **quiet)))
    store.apply(table(2 * STEP_S, sampled({}, state=State.TIME_WAIT, **quiet)))
    assert steps(shown(store), 10) == [0, 6, 0]


def test_memory_is_bounded_and_says_so() -> None:
    store = Store(Settings(heat_rows=4))
    for second in range(3 * STEP_S + 1):
        store.apply(table(second, *(sampled({10: second + 1}, lport=number + 1) for number in range(3))))
    assert steps(shown(store), 10) == [3 * STEP_S, 3 * STEP_S, 3 * STEP_S, 0]  # the sum is whole
    filtered = shown(store, "lport:1")
    assert filtered.heat_complete_steps == 2
    assert steps(filtered, 10)[-2:] == [STEP_S, 0]
    store.apply(table((MAX_STEPS + 10) * STEP_S))
    assert shown(store).heat_columns.shape == (RTT_SLOTS, MAX_STEPS)
    store.clear()
    assert shown(store).heat_columns.shape == (RTT_SLOTS, 1)


_LIVES = st.lists(
    st.tuples(st.integers(0, 20), st.lists(st.integers(0, 3), min_size=1, max_size=6), st.booleans()), max_size=12
)


@given(_LIVES)
def test_the_map_adds_up_to_the_histogram(lives: list[tuple[int, list[int], bool]]) -> None:
    """Connections born at their second, with so many samples each second, some of them ended then."""
    store = Store(Settings())
    store.apply(table(-1))
    for second in range(28):
        rows = []
        for number, (born, samples, ends) in enumerate(lives):
            done = sum(samples[: max(0, second - born + 1)])
            fields = {"id": number + 1, "lport": number + 1, "rport": 9, "born_ns": NOW + (START_S + born) * SECOND}
            if born <= second and not (ends and second >= born + len(samples)):
                rows.append(sampled({9: done}, **fields))
            if ends and second == born + len(samples) and sum(samples):
                store.apply(EndedConnections(sessions(sampled({9: done}, **fields))))
        store.apply(table(second, *rows))
    rtt = shown(store)
    assert rtt.heat_columns.sum(axis=1).tolist() == rtt.hist.tolist()
    for number in range(len(lives)):
        one = shown(store, f"lport:{number + 1}")
        assert one.heat_columns.sum(axis=1).tolist() == one.hist.tolist()


def test_the_kernel_s_samples_of_live_and_ended_connections() -> None:
    with listening() as server:
        running = Running(BpfSource(Settings(refresh_s=0.1), Capture(lports=(port(server),))), Settings())
        try:
            running.until(lambda: bool(running.store.snapshot().now_ns))
            client, accepted = pair(server)
            for _ in range(50):
                client.sendall(b"x")
                accepted.recv(1)
                accepted.sendall(b"y")
                client.recv(1)
            running.until(lambda: int(shown(running.store).hist.sum()) >= 50)
            assert_adds_up(running)
            client.close()
            accepted.shutdown(socket.SHUT_RDWR)
            accepted.close()
            running.until(lambda: running.store.snapshot().ended_total == 1)
            count = len(running.batches)
            running.until(lambda: any(isinstance(batch, Table) for batch in running.batches[count:]))
            assert_adds_up(running)
        finally:
            running.close()


def assert_adds_up(running: Running) -> None:
    rtt = shown(running.store)
    assert rtt.heat_columns.sum(axis=1).tolist() == rtt.hist.tolist()


def test_darker_is_more_and_one_is_seen() -> None:
    columns = np.zeros((RTT_SLOTS, 5), np.uint64)
    columns[3] = [0, 1, 30, 900, 27_000]
    columns[4, 4] = 1
    assert heat_lines(columns, range(3, 5), 6) == ["  ░▒▓█", "     ░"]
    assert heat_lines(columns, range(3, 5), 2) == ["▓█", " ░"]
    assert heat_lines(columns[:, :0], range(3, 5), 3) == ["   ", "   "]


def test_the_title_says_how_far_back() -> None:
    assert heat_title(100, 24, 100) == "-2 min, 5 s a cell   now"
    assert heat_title(3, 24, 3) == "   -15 s, 5 s a cell now"
    assert heat_title(100, 12, 100) == "-60 s    now"
    assert heat_title(100, 40, 4) == "-3 min, complete for 20 s            now"
    assert heat_title(100, 4, 100) == " now"


@given(st.integers(1, 100), st.integers(12, 60), st.data())
def test_the_title_is_as_wide_as_the_map_and_ends_now(columns: int, cells: int, data: st.DataObject) -> None:
    title = heat_title(columns, cells, data.draw(st.integers(0, columns)))
    assert len(title) == cells
    assert title.endswith("now")


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=20))
def test_the_scale_says_from_how_many_samples_on_a_shade_is(samples: list[int]) -> None:
    columns = np.zeros((RTT_SLOTS, len(samples)), np.uint64)
    columns[3] = samples
    (line,) = heat_lines(columns, range(3, 4), len(samples))
    words = heat_scale(columns, range(3, 4), len(samples)).removeprefix("map from ").split()
    least = {shade: int(number.replace(",", "")) for shade, number in zip(words[::2], words[1::2], strict=True)}
    for shade, count in zip(line, samples, strict=True):
        due = max((one for one in least if least[one] <= count), key=least.__getitem__, default=" ")
        assert shade == due


async def test_w_goes_from_both_to_the_map_to_the_bars() -> None:
    async with dashboard((160, 50)) as board:
        panel = board.app.panel(RttPanel)
        seen = []
        for _ in range(4):
            told = str(panel.render())
            seen.append(("distribution" in told, " now" in told))
            await board.press("w")
        assert seen == [(True, True), (False, True), (True, False), (True, True)]
