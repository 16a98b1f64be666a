"""Histograms by number: what a table has stays what it was, whatever later ones have."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.records import RTT_SLOTS
from tcptop_tui.stream.histograms import NO_HISTOGRAMS, HistogramStore

NUMBERS = st.integers(1, 3000)
"""In three blocks."""
COUNTS = st.integers(0, 3) | st.integers(0, 2**32 - 1)


@given(st.lists(st.dictionaries(NUMBERS, COUNTS, max_size=9), max_size=5), st.lists(NUMBERS, max_size=9))
def test_each_is_what_was_written_last(writes: list[dict[int, int]], others: list[int]) -> None:
    known: dict[int, int] = {}
    hists, stages = NO_HISTOGRAMS, []
    for write in writes:
        made = np.zeros((len(write), RTT_SLOTS), "<u4")
        made[:, 5] = list(write.values())
        hists = hists.with_histograms(np.array([*write], "<u4"), made)
        known = known | write
        stages.append((hists, known))
    for then, had in stages:
        asked = np.array([0, *had, *others, 2**32 - 1], "<u4")
        expected = [had.get(number, 0) for number in asked.tolist()]
        assert then.column(5, asked).tolist() == then.histograms(asked)[:, 5].tolist() == expected
        assert then.histograms(asked).sum() == sum(expected)
        assert then.sum(np.unique(asked)).tolist()[4:7] == [0, sum(had.values()), 0]


def test_what_has_not_changed_is_the_same_memory() -> None:
    before = HistogramStore.from_array(np.ones((5000, RTT_SLOTS), "<u4"))
    after = before.with_histograms(np.array([1500]), np.zeros((1, RTT_SLOTS), "<u4"))
    assert [old is new for old, new in zip(before.blocks, after.blocks, strict=True)] == [True, False, True, True, True]


def test_those_of_nobody_take_no_room() -> None:
    before = HistogramStore.from_array(np.ones((2000, RTT_SLOTS), "<u4"))
    after = before.with_histograms(np.arange(1, 2001), np.zeros((2000, RTT_SLOTS), "<u4"))
    assert len({id(block) for block in after.blocks}) == 1
