"""Recordings have the details of sockets where somebody wanted them; those of another version are not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.replay.recording import BATCH_HEAD, DETAILS, MAGIC, details_payload, dtype_layout, read_batches
from tcptop_tui.stream.batches import Status, Table
from tcptop_tui.stream.socket_details import NO_DETAILS, SOCKET_DETAIL
from tests.support.recordings import one_row_table, write_recording
from tests.support.samples import NOW, SECOND


def test_details_of_sockets_are_recorded_where_there_are_some(tmp_path: Path) -> None:
    path, details = tmp_path / "r", np.zeros(1, SOCKET_DETAIL)
    details["id"], details["cwnd"], details["congestion"] = 1, 77, b"bbr"
    write_recording(path, Status("bpf"), replace(one_row_table(), details=details), one_row_table(SECOND))
    first, second = (batch for batch in read_batches(path) if isinstance(batch, Table))
    assert BY_KEY["cwnd"].values(RowContext(first.rows, NOW, details=first.details)) == [77]
    assert not len(second.details)


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", details_payload(NO_DETAILS) + b"x", b"\x02\x00[]" + bytes(168)])
def test_details_of_another_version_are_not_known(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "r"
    write_recording(path, Status("bpf"))
    head = BATCH_HEAD.pack(DETAILS, len(payload), 0, 0)
    last = write_recording(path.with_name("other"), one_row_table()).read_bytes()[len(MAGIC) + len(dtype_layout()) :]
    path.write_bytes(path.read_bytes() + head + payload + last)
    (found,) = (batch for batch in read_batches(path) if isinstance(batch, Table))
    assert not len(found.details)
