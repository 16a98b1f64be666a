"""Decoding the ring, whatever the records' headers say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.bpf.ring import decode_records, with_header
from tcptop_tui.records import ENDED, TRANSITION

BUSY = 1 << 31


@given(st.integers(0, 24), st.sets(st.integers(0, 40), max_size=3), st.integers(0, 160))
def test_all_submitted_records_in_order(count: int, busy: set[int], part_bytes: int) -> None:
    line = np.zeros(count, with_header(TRANSITION))
    line["length"] = [TRANSITION.itemsize | (BUSY if index in busy else 0) for index in range(count)]
    line["record"]["ts_ns"] = np.arange(1, count + 1)
    found = decode_records(np.append(line.view("u1"), np.zeros(part_bytes, "u1")), with_header(TRANSITION))
    ready = min((index for index in busy if index < count), default=count)
    assert found["record"]["ts_ns"].tolist() == list(range(1, ready + 1))


def test_records_are_padded_to_eight_bytes() -> None:
    assert with_header(TRANSITION).itemsize == 8 + 168
    assert with_header(ENDED).itemsize == 8 + 304
