"""The dashboard with a script instead of the kernel, through Textual's pilot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from tcptop_tui.config.schema import Config
from tcptop_tui.dashboard.app import TcptopApp
from tcptop_tui.filters import Filter
from tcptop_tui.records import PING, CloseFlag, Flag, State, SynSent
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, EndedConnections, Loss, Pings, Status, Table, Transitions
from tcptop_tui.widgets.panels.header import HeaderLines
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.samples import NOW, SECOND, UTC, Script, connections, rows_of, sampled, sessions, transitions


def numbered_table(count: int = 100, later_s: int = 0) -> Table:
    """``count`` connections; the k-th has received k KiB, and every tenth is of sshd."""
    rows = connections(
        *(
            {
                "lport": 22 if k % 10 == 0 else 443,
                "comm": b"sshd" if k % 10 == 0 else b"nginx",
                "rx_bytes": k * 1024,
                "tx_bytes": 1,
                "srtt_us": 100 + k,
                "raddr": f"10.0.1.{k % 250}",
                "state": State.CLOSE_WAIT if k == 3 else State.ESTABLISHED,
            }
            for k in range(count)
        )
    )
    rows["rtt_sum_us"] = 200
    return Table(rows, NOW + later_s * SECOND, UTC + later_s * SECOND, sampled(rows, 6, 2))


def transition_batch(count: int) -> Transitions:
    """``count`` transitions SYN_SENT to ESTABLISHED, a nanosecond apart."""
    return Transitions(transitions(*({"rport": 50_000 + k, "ts_ns": NOW - SECOND + k} for k in range(count))))


def screen_line(board: Dashboard, y: int) -> str:
    """The text of line ``y`` of the screen."""
    line: str = board.app.screen._compositor.render_strips()[y].text
    return line


async def until_painted(pilot: Pilot[None]) -> None:
    """Wait until the screen shows the effect of all keys and batches so far."""
    await pilot.pause()
    await pilot.app.tick()  # type: ignore[attr-defined]
    await pilot.pause()


class Dashboard:
    """The running application, its pilot and the script that feeds it."""

    def __init__(self, app: TcptopApp, pilot: Pilot[None], script: Script) -> None:
        self.app, self.pilot, self.script = app, pilot, script

    async def press(self, *keys: str) -> None:
        """Press keys and wait until the screen shows what they did."""
        await self.pilot.press(*keys)
        await until_painted(self.pilot)

    async def deliver(self, *batches: Batch) -> None:
        """Let the script offer batches and wait until the screen shows them."""
        before = self.app._store.generation
        self.script.deliver(*batches)
        while self.app._store.generation < before + len(batches):
            await self.pilot.pause()
        await until_painted(self.pilot)

    async def until_exported(self) -> None:
        """Wait until a notification says what became of the export."""
        while not self.app._notifications:
            await self.pilot.pause()
        await until_painted(self.pilot)

    def lines(self, kind: type[ConnectionTable | TransitionLog]) -> list[str]:
        """The texts of a panel's lines."""
        panel = self.app.panel(kind)
        return [panel.render_line(y).text.rstrip() for y in range(panel.size.height)]

    @property
    def header(self) -> str:
        """The text of the header's lines."""
        return self.app.panel(HeaderLines)._painted.plain

    @property
    def row_count(self) -> int:
        """Number of connections in the list: those that match the filter."""
        return len(self.app.frame.row_order)


@asynccontextmanager
async def dashboard(
    size: tuple[int, int] = (160, 50), *, chosen: Filter | None = None, config: Config | None = None
) -> AsyncIterator[Dashboard]:
    """A dashboard of ``size`` columns and lines that has painted 100 connections; it refreshes when it is told to."""
    script = Script(Status("bpf"), EndedConnections(sessions({})), transition_batch(30), numbered_table())
    app = TcptopApp(script, Settings(refresh_s=600), "host-1", "6.1.0", chosen, config)
    async with app.run_test(size=size) as pilot:
        await app.first_table_shown.wait()
        await until_painted(pilot)
        yield Dashboard(app, pilot, script)


def screen_text(board: Dashboard) -> str:
    """All lines of the screen as text."""
    lines = board.app.screen._compositor.render_strips()
    return "\n".join(line.text.rstrip() for line in lines)


VIEW_KEYS: dict[str, tuple[str, ...]] = {
    "connections": (), "groups": ("t",), "connects": ("2",), "sessions": ("3",), "rtt": ("4",), "ping": ("5",),
    "board": ("6",), "alerts": ("a",), "connection": ("end", "enter"), "help": ("f1",), "setup": ("f2",),
    "filter": ("slash", *"comm:"), "search": ("f3", *"nobody"), "sort": ("f6",), "close": ("end", "f9"),
    "saved": ("slash", *"port:22", "enter", "f"), "export": ("e",), "palette": ("ctrl+p",),
}  # fmt: skip
"""The keys that open each view, panel and dialog from the first screen."""


async def fill_every_view(board: Dashboard) -> None:
    """Deliver batches that give every view something to show."""
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
    await board.deliver(
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
