"""Decoding the ring, wherever the records lie in it and whatever their headers say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.bpf.ring import decode, framed
from tcptop_tui.records import SESSION, TRANSITION

pytestmark = pytest.mark.apart

SIZE = 4096
BUSY = 1 << 31
FITTING = SIZE // framed(TRANSITION).itemsize


def ring_with(start: int, count: int, busy: set[int]) -> np.ndarray:
    """A data area with ``count`` records from ``start`` on, record i marked with ts_ns i + 1."""
    frame = framed(TRANSITION)
    line = np.zeros(count, frame)
    line["length"] = [TRANSITION.itemsize | (BUSY if index in busy else 0) for index in range(count)]
    line["record"]["ts_ns"] = np.arange(1, count + 1)
    area = np.zeros(SIZE, "u1")
    places = (start + np.arange(count * frame.itemsize)) % SIZE
    area[places] = line.view("u1")
    return area


@given(st.integers(0, SIZE // 8 - 1), st.integers(0, FITTING), st.sets(st.integers(0, 40), max_size=3))
def test_all_submitted_records_in_order(start_words: int, count: int, busy: set[int]) -> None:
    start = 8 * start_words
    frame = framed(TRANSITION)
    found = decode(ring_with(start, count, busy), frame, start, count * frame.itemsize)
    ready = min((index for index in busy if index < count), default=count)
    assert found["record"]["ts_ns"].tolist() == list(range(1, ready + 1))


def test_records_are_padded_to_eight_bytes() -> None:
    assert framed(TRANSITION).itemsize == 8 + 160
    assert framed(SESSION).itemsize == 8 + 288
