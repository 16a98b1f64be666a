"""The views of round-trip times by key and of pings, and the key that pins the filter."""

from __future__ import annotations

import numpy as np
import pytest
from rich.text import Text
from syrupy.assertion import SnapshotAssertion
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widget import Widget

from tcptop_tui import formats
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.records import PING
from tcptop_tui.stream.batches import Capture
from tcptop_tui.widgets.views.ping import PingView
from tcptop_tui.widgets.views.rtt import RttView
from tests.support.dashboard import dashboard
from tests.support.samples import NOW, UTC, Script, connections, rows_of, sampled


async def test_f_pins_the_filter_and_lets_it_go() -> None:
    async with dashboard() as board:
        await board.press("slash", *"lport:22 rtt>10ms", "enter", "F")
        assert board.script.captures == [Capture(lports=frozenset({22}))]
        assert "capture lport:22 · in user space: rtt>10ms" in board.header
        await board.press("F")
        assert board.script.captures[-1] == Capture()
        assert "capture" not in board.header


def facts(names: int) -> Snapshot:
    rows = connections(*({"comm": f"proc-{k}".encode(), "raddr": f"10.0.0.{k + 1}"} for k in range(names)))
    counts = np.zeros((names, 2))
    counts[:, 0], counts[0, 1] = np.arange(names, 0, -1), 4
    hists, rows["rtt_sum_us"] = sampled(rows, [6, 9], counts), 1000
    pings = rows_of(PING, *({"tgid": 7, "cpu": k % 2, "seq": k, "comm": b"\x1bng" if k else b"idle"} for k in range(3)))
    pings["saddr"] = rows["laddr"][0]
    return Snapshot(NOW, UTC, rows, np.zeros(names), np.zeros(names), hists, pings=pings, pings_total=3)


class Views(App[None]):
    """Both views, one of them shown."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script, self.look = script, ViewOptions()

    def compose(self) -> ComposeResult:
        yield RttView(id="rtt-view")
        yield PingView(lambda stopped: self.script.run_ping_probe(None, stopped), id="ping-view")  # type: ignore[arg-type]

    def on_mount(self) -> None:
        self.query_one(PingView).display = False

    def on_rtt_view_grouping_changed(self, event: RttView.GroupingChanged) -> None:
        self.look = ViewOptions(rtt_by=event.by)
        self.query_one(RttView).show(make_frame(facts(9), self.look))


def shown(app: Views) -> str:
    rendered = app.query_one(RttView).render()
    assert isinstance(rendered, Text)
    return rendered.plain


async def ready(pilot: Pilot[None]) -> None:
    await pilot.pause()
    await pilot.pause()


async def test_g_cycles_and_arrows_scroll() -> None:
    app = Views(Script())
    async with app.run_test(size=(80, 24)) as pilot:
        view = app.query_one(RttView)
        view.focus()
        await ready(pilot)
        assert app.look.rtt_by == "raddr"  # all together is what the panel below shows
        for by in ("port", "process", "laddr", "raddr", "port", "process"):
            await pilot.press("g")
            await ready(pilot)
            assert app.look.rtt_by == by
        assert "1–2 of 9" in str(view.border_title)
        assert "proc-0" in shown(app)
        assert "proc-2" not in shown(app)
        await pilot.press("right")
        assert "proc-2" in shown(app)
        await pilot.press("pagedown", "end")
        assert "8–9 of 9" in str(view.border_title)
        assert all(len(line) <= 80 for line in shown(app).splitlines())
        view.display = False
        await ready(pilot)
        assert app.look.rtt_by == ""


async def test_the_probe_is_attached_only_while_the_view_is_open() -> None:
    app = Views(Script())
    async with app.run_test(size=(120, 24)) as pilot:
        view = app.query_one(PingView)
        app.query_one(RttView).display = False
        await ready(pilot)
        assert app.script.attached == 0
        for _ in range(2):
            view.display = True
            while not app.script.attached:
                await pilot.pause()
            view.show(make_frame(facts(1), ViewOptions()))
            await ready(pilot)
            lines = [view.render_line(y).text for y in range(view.size.height)]
            assert "COMM" in lines[1]
            assert "ng" in lines[2]
            assert "idle" in lines[4]  # the oldest comes last
            assert not any("\x1b" in line for line in lines)
            view.display = False
            while app.script.attached:
                await pilot.pause()
        view.display = True
        while not app.script.attached:
            await pilot.pause()
    assert app.script.detached.wait(10)  # the end of the application detaches too


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize("kind", [RttView, PingView])
async def test_as_text(
    size: tuple[int, int], kind: type[Widget], snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "clock", lambda _utc_ns: "12:34:56.789")
    app = Views(Script())
    async with app.run_test(size=size) as pilot:
        app.query_one(RttView).display = kind is RttView
        app.query_one(PingView).display = kind is PingView
        await ready(pilot)
        if kind is RttView:
            app.query_one(RttView).focus()
            await pilot.press("g", "g")
        app.query_one(PingView).show(make_frame(facts(1), ViewOptions()))
        await ready(pilot)
        lines = app.screen._compositor.render_strips()
        assert "\n".join(line.text.rstrip() for line in lines) == snapshot


async def test_why_nothing_is_attached_is_one_line() -> None:
    app = Views(Script())
    app.script.refusal = "not attached: no BTF"
    async with app.run_test(size=(120, 24)) as pilot:
        view = app.query_one(PingView)
        app.query_one(RttView).display = False
        view.display = True
        while not view.problem:
            await pilot.pause()
        assert "no BTF" in view.render_line(0).text
