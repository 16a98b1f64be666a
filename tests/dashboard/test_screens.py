"""The panels as text, at the two sizes that matter. `pytest --snapshot-update` after a wanted change."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from tcptop_tui.stream.batches import Loss, Status
from tests.support.dashboard import dashboard, screen_text

pytestmark = pytest.mark.usefixtures("utc")


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("slash", *"state:close_wait"),
        ("slash", *"rtt>fast"),
        ("f6",),
        ("down", "enter"),
        ("f1",),
        ("tab", "tab"),
        ("tab", "home", "p"),
    ],
    ids=["dashboard", "filter", "complaint", "sort", "connection", "help", "histogram", "paused"],
)
async def test_panels(size: tuple[int, int], keys: tuple[str, ...], snapshot: SnapshotAssertion) -> None:
    async with dashboard(size) as board:
        await board.press(*keys)
        assert screen_text(board) == snapshot


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
async def test_bad_days(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with dashboard(size) as board:
        why = "BPF needs more privileges (CAP_BPF and CAP_PERFMON): run with sudo"
        note = f"BPF cannot be used, so sock_diag is polled: {why}"
        await board.deliver(Status("diag", note), Loss(ring_full=12, map_full=5, missed=1, mended=1))
        assert screen_text(board) == snapshot
