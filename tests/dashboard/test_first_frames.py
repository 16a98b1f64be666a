"""Before the first table nothing is known: no panel says 0, all of them say that they wait."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tcptop_tui.dashboard.app import TcptopApp
from tcptop_tui.diag.namespaces import Namespaces
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture, Status, Table, reading_stage
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tests.support.dashboard import Dashboard, numbered_table, screen_text, until_painted
from tests.support.samples import Script
from tests.support.sockets import listening, pair
from tests.support.terminal import Terminal

SIZES = {"80x24": (80, 24), "160x50": (160, 50), "40x10": (40, 10)}


@asynccontextmanager
async def waiting(size: tuple[int, int]) -> AsyncIterator[Dashboard]:
    """A dashboard whose source has read 31,000 sockets so far."""
    script = Script(Status("bpf", stage=reading_stage(31_000)))
    app = TcptopApp(script, Settings(refresh_s=600), "host-one", "6.x")
    async with app.run_test(size=size) as pilot:
        while not app._store.generation:
            await pilot.pause()
        await until_painted(pilot)
        yield Dashboard(app, pilot, script)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", "12346")
async def test_nothing_is_zero_before_the_first_table(size: str, view: str) -> None:
    async with waiting(SIZES[size]) as board:
        await board.press(view)
        shown = screen_text(board)
        assert "reading sockets: 31,000 so far" in shown
        assert "waiting for the first table" in shown
        assert not re.findall(r"(?<![\d:,.])0(?![\d.,])", shown)
        for untrue in ("nothing was received", "no connection", "since", "Nothing is stuck"):
            assert untrue not in shown


async def test_the_log_waits_too_and_the_first_table_ends_all_waiting() -> None:
    async with waiting((160, 50)) as board:
        assert board.app.panel(TransitionLog).render_line(0).text.strip() == "waiting for the first table"
        assert "lost –  missed –  mended –" in board.header
        await board.press("a")
        assert "waiting for the first table" in screen_text(board).splitlines()[-1]
        board.app.clear_notifications()
        await board.deliver(numbered_table(0))
        shown = screen_text(board)
        assert "0 sockets" in shown
        assert "reading" not in shown
        assert "lost 0  missed 0  mended 0" in shown
        assert "1 Connections 0" in shown
        assert "waiting" not in "\n".join(shown.splitlines()[:-1])
        assert "no connection" in shown


async def test_the_header_is_drawn_before_the_source_says_anything() -> None:
    app = TcptopApp(Script(), Settings(refresh_s=600), "host-one", "6.x")
    async with app.run_test(size=(80, 24)) as pilot:
        await until_painted(pilot)
        lines = screen_text(Dashboard(app, pilot, Script())).splitlines()
        assert lines[0] == "tcptop-tui  host-one  Linux 6.x  backend starting…"
        assert lines[1] == "starting"
        assert "━1 Connections –" in "\n".join(lines)


@pytest.mark.host
def test_the_terminal_has_a_word_before_anything_that_takes_long() -> None:
    terminal = Terminal("--backend", "diag", columns=100, lines=30)
    try:
        terminal.shows("Connections")
        first = terminal.output[: terminal.output.index(b"\x1b[")]
        assert first.strip().startswith(b"tcptop-tui")
        assert first.strip().endswith(b"starting")
        between = terminal.output[len(first) : terminal.output.index(b"\x1b[?1049h")]
        assert b"\r\x1b[K" in between  # the shell's line is as it was
    finally:
        terminal.close()


@pytest.mark.host
def test_a_dump_says_how_far_it_is() -> None:
    with listening() as server:
        kept = [pair(server) for _ in range(5)]
        told: list[int] = []
        diag = Namespaces(1)
        diag.on_sockets = told.append
        try:
            read = len(diag.dump().rows)
        finally:
            diag.close()
        assert told == sorted(told)
        assert told[-1] >= read >= 11
        del kept


@pytest.mark.host
def test_sock_diag_says_that_it_reads_before_its_first_table() -> None:
    seen: list[object] = []

    class Sink:
        def offer(self, batch: object) -> bool:
            seen.append(batch)
            return True

    source = DiagSource(Settings(), Capture(), "no BPF")
    source.open()
    source.run(Sink(), lambda _s: True)
    source.close()
    first_table = next(place for place, batch in enumerate(seen) if isinstance(batch, Table))
    before = [batch for batch in seen[:first_table] if isinstance(batch, Status)]
    assert before[0] == Status("diag", "no BPF", stage="reading sockets")
    assert all(batch.note == "no BPF" for batch in before)
