"""What the capture filter's maps have room for, in C and in Python."""

from __future__ import annotations

import re

from tcptop_tui.bpf.program import source_text
from tcptop_tui.stream.batches import MAX_CAPTURE_KEYS


def test_sets_of_the_capture_filter_have_the_room_that_python_knows_of() -> None:
    sizes = dict(re.findall(r'BPF_TABLE\("hash", \w+, \w+, (pids|cgroups), (\d+)\)', source_text()))
    assert sizes == {"pids": str(MAX_CAPTURE_KEYS), "cgroups": str(MAX_CAPTURE_KEYS)}
