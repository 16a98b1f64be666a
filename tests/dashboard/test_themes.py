"""Every view and dialog with its colours, at the two sizes that matter, in dark and light.

`pytest --snapshot-update` after a wanted change. Below each line of text stands a letter for each
cell's pen; the pens themselves are at the end.
"""

from __future__ import annotations

import string
from itertools import groupby

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from syrupy.assertion import SnapshotAssertion
from textual.widgets import Input

from tcptop_tui.records import PING, CloseFlag, Flag, State, SynSent
from tcptop_tui.stream.batches import EndedConnections, Loss, Pings, Table, Transitions
from tests.dashboard.test_keys import Dashboard, dashboard
from tests.support.samples import NOW, SECOND, UTC, connections, rows_of, sampled, sessions, transitions

pytestmark = pytest.mark.usefixtures("utc")

VIEWS = {
    "connections": (), "groups": ("t",), "connects": ("2",), "sessions": ("3",), "rtt": ("4",), "ping": ("5",),
    "board": ("6",), "alerts": ("a",), "connection": ("end", "enter"), "help": ("f1",), "setup": ("f2",),
    "filter": ("slash", *"comm:"), "search": ("f3", *"nobody"), "sort": ("f6",), "close": ("end", "f9"),
    "saved": ("slash", *"port:22", "enter", "f"), "export": ("e",), "palette": ("ctrl+p",),
}  # fmt: skip


async def busy(board: Dashboard) -> None:
    """Something to see in every view."""
    refused = {"oldstate": State.SYN_SENT, "newstate": State.CLOSE, "err": 111, "flags": Flag.ACTIVE, "rport": 9}
    states = [State.ESTABLISHED, State.CLOSE_WAIT, State.SYN_SENT, State.TIME_WAIT, State.LISTEN, State.FIN_WAIT2]
    rows = connections(
        *(
            {"comm": b"java" if k % 2 else b"nginx", "state": states[k % 6], "raddr": f"10.0.2.{k}", "srtt_us": 90 * k,
             "syn_sent": SynSent.OUT, "state_ns": NOW - (1 + 15 * k) * SECOND, "retrans": k % 3, "cookie": k + 1}
            for k in range(60)
        )
    )  # fmt: skip
    hists, rows["rtt_sum_us"] = sampled(rows, slice(6, 12), [1, 2, 30, 4, 0, 1]), 9000
    await board.more(
        Transitions(transitions(refused, {"newstate": State.CLOSE_WAIT, "flags": Flag.ACTIVE | Flag.POLLED})),
        EndedConnections(
            sessions(
                {"comm": b"curl", "state": State.CLOSE, "err": 111, "flags": Flag.ACTIVE | Flag.GAUGES},
                {
                    "comm": b"wget",
                    "state": State.CLOSE,
                    "close_flags": CloseFlag.RST_RECEIVED,
                    "established_ns": NOW - SECOND,
                },
            )
        ),
        Pings(rows_of(PING, {"tgid": 7, "comm": b"nginx"}), lost=1),
        Loss(ring_full=2, mended=1),
        Table(rows, NOW + SECOND, UTC + SECOND, hists),
    )


def pens_and_text(board: Dashboard) -> str:
    """The screen, a line of pens below each line of text."""
    legend: dict[str, str] = {}
    lines = []
    for strip in board.app.screen._compositor.render_strips():
        pens = "".join(pen(segment, legend) * cell_len(segment.text) for segment in strip)
        lines += [strip.text.rstrip(), "".join(f"{key}{len(list(same))} " for key, same in groupby(pens)).rstrip()]
    return "\n".join([*lines, *(f"{key} = {style}" for style, key in legend.items())])


def pen(segment: Segment, legend: dict[str, str]) -> str:
    style = segment.style or Style()
    told = str(Style(color=style.color, bgcolor=style.bgcolor, bold=style.bold, reverse=style.reverse, dim=style.dim))
    return legend.setdefault(told, string.ascii_letters[len(legend)])


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize("view", VIEWS)
async def test_looks(view: str, size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with dashboard(size) as board:
        await busy(board)
        await board.press(*VIEWS[view])
        if view == "export":
            board.app.screen.query_one("#path", Input).value = "/tmp/connections.json"  # folder and time of the test
        for theme in ("tcptop-dark", "tcptop-light"):
            board.app.theme = theme
            board.app.clear_notifications()
            await board.press("f12")
            assert pens_and_text(board) == snapshot(name=theme)
