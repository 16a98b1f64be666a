"""The panels as text, at the two sizes that matter. `pytest --snapshot-update` after a wanted change."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from tcptop_tui.stream.batches import Loss, Status
from tests.dashboard.test_keys import Dashboard, dashboard

pytestmark = pytest.mark.usefixtures("utc")


def screen(board: Dashboard) -> str:
    """What the terminal shows, as text."""
    lines = board.app.screen._compositor.render_strips()
    return "\n".join(line.text.rstrip() for line in lines)


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
        assert screen(board) == snapshot


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
async def test_bad_days(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with dashboard(size) as board:
        why = "BPF needs more privileges (CAP_BPF and CAP_PERFMON): run with sudo"
        note = f"BPF cannot be used, so sock_diag is polled: {why}"
        await board.more(Status("diag", note), Loss(ring_full=12, map_full=5, missed=1, mended=1))
        assert screen(board) == snapshot
