"""The dashboard without its keys: one worker thread in, frames out to the panels."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

from rich.console import RenderableType
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.notifications import SeverityLevel
from textual.widget import Widget
from textual.widgets import ContentSwitcher
from textual.worker import get_current_worker

from tcptop_tui import safe_text
from tcptop_tui.config.file import save_config
from tcptop_tui.config.schema import MAX_REFRESH_S, MIN_REFRESH_S, Config
from tcptop_tui.dashboard.dashboard_feed import DashboardFeed
from tcptop_tui.drawing.borrowed_terminal import BorrowedTerminal
from tcptop_tui.drawing.driver import DiffDriver
from tcptop_tui.errors import TcptopError
from tcptop_tui.filters import Filter, parse
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame, ViewOptions, make_frame
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.store import Store
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import EndedConnections, Table, Transitions
from tcptop_tui.stream.queue import BatchQueue
from tcptop_tui.widgets import themes
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.panels.alerts import AlertStrip
from tcptop_tui.widgets.panels.filter_bar import FilterBar
from tcptop_tui.widgets.panels.header import HeaderLines
from tcptop_tui.widgets.panels.histogram import RttPanel
from tcptop_tui.widgets.panels.key_bar import KeyBar
from tcptop_tui.widgets.panels.search_bar import SearchBar
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.typed_keys import KeyQueueApp
from tcptop_tui.widgets.views.board import BoardView
from tcptop_tui.widgets.views.connections import ConnectionTable
from tcptop_tui.widgets.views.connects import ConnectsView
from tcptop_tui.widgets.views.ended import EndedTable
from tcptop_tui.widgets.views.ping import PingView
from tcptop_tui.widgets.views.rtt import RttView

_THREAD_ROWS = 5_000
"""From this many connections on a frame is made in a thread: the loop must not stop for it."""

_MAX_LOOP_S = 0.006
"""CPU of a frame that is made on the loop all the same: to a thread and back a busy host takes ten times that."""

_CONFIGURABLE_LISTS = {
    "connections": "connections", "connects": "connects-list", "sessions": "sessions", "board": "board",
}  # fmt: skip
"""Lists whose columns F2 chooses, and the ids of their widgets."""

PanelT = TypeVar("PanelT", bound=Widget)
View: TypeAlias = ConnectionTable | ConnectsView | EndedTable | RttView | PingView | BoardView

VIEWS = ("connections", "connects", "sessions", "rtt-view", "ping-view", "board")
"""By number key, from 1."""


def timed_frame(facts: Snapshot, look: ViewOptions) -> tuple[Frame, float]:
    """A frame, and what it took of this thread's time."""
    began_s = time.thread_time()
    return make_frame(facts, look), time.thread_time() - began_s


class Dashboard(KeyQueueApp):
    """Runs the feed, keeps the facts, paints the frames.

    Args:
        feed: what runs in the worker thread.
        settings: bounds and periods.
        host: name of this host.
        kernel: its kernel's release.
        chosen: the filter to start with.
        config: what the user has chosen in F2.
    """

    TITLE = "tcptop-tui"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012  as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]  # noqa: RUF012

    def __init__(
        self,
        feed: DashboardFeed,
        settings: Settings,
        host: str,
        kernel: str,
        chosen: Filter | None = None,
        config: Config | None = None,
    ) -> None:
        # without colours Textual's greys would be sent as colours, but for the terminal's own
        super().__init__(driver_class=DiffDriver, ansi_color=True if os.environ.get("NO_COLOR") else None)
        self.config = config or Config()
        self._saved_config = self.config
        self.config_path: Path | None = None
        """Where it is kept; None: nowhere."""
        self.history_path: Path | None = None
        """Where the filters that were typed are kept; None: nowhere."""
        self.config_note = ""
        """What there is to say about where it came from."""
        self._feed = feed
        self._settings = settings
        self.host, self.kernel = host, kernel
        self.view_options = ViewOptions(filter=chosen or parse(""), **self.config.view_options())
        self.frame = Frame(view_options=self.view_options)
        self._store = Store(settings)
        self._shown_generation = 0
        self._paused_total: int | None = None
        self._painting = asyncio.Lock()
        # for which look the latest frame was made, and what it took; at first, and after another one: who knows
        self._painted_options, self._frame_cost_s = self.view_options, _MAX_LOOP_S
        self.host_names = HostNames(self._name_found)
        self._loop_ready: asyncio.AbstractEventLoop | None = None
        self.borrowed_terminal: BorrowedTerminal | None = None
        """What the driver draws on; None: what Textual gives it."""
        self.ascii_only = False
        """Whether the driver draws ASCII only; else it goes by locale and terminal."""
        self.on_exit: Callable[[], object] = lambda: None
        """Called when it begins to end."""
        self.first_table_shown = asyncio.Event()
        """Set when the first table is on the screen."""

    def compose(self) -> ComposeResult:
        """Header, three panels, filter, footer."""
        yield HeaderLines(self.host, self.kernel, id="header")
        yield AlertStrip(id="alerts")
        with Vertical(id="panels"):
            with ContentSwitcher(initial="connections", id="views"):
                yield ConnectionTable(self.host_names, id="connections")
                yield ConnectsView(self.host_names, id="connects")
                yield EndedTable(self.host_names, id="sessions")
                yield RttView(id="rtt-view")
                yield PingView(self._attach_pings, id="ping-view")
                yield BoardView(id="board")
            with Horizontal(id="below"):
                yield TransitionLog(self.host_names, id="transitions")
                yield RttPanel(id="rtt")
        yield FilterBar(id="filter")
        yield SearchBar(id="search")
        yield KeyBar(id="keys")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own colours, for every theme."""
        return dict(themes.DEFAULT_VARIABLES)

    def _choose_theme(self) -> None:
        for one in themes.THEMES:
            self.register_theme(one)
        system = "truecolor" if self.is_headless else None if self.no_color else self.console.color_system
        self.theme, told = themes.select_theme(self.config.theme, system, set(self.available_themes))
        for note in filter(None, (told, self.config_note)):
            self.notify(safe_text.clean(note), severity="warning", markup=False)

    def on_mount(self) -> None:
        """Start the thread, the pump and the clock."""
        self._choose_theme()
        self.panel(FilterBar).keep_history(self.history_path)
        self._loop_ready = loop = asyncio.get_running_loop()
        self.query_one(ConnectionTable).focus()
        self._queue = BatchQueue(loop)
        # nothing is known yet, and that is drawn: a start may take seconds
        self.call_next(self._repaint)
        self.call_after_refresh(self._run_feed, self._queue)
        self._pump_frames(self._queue)
        self._clock = self.set_interval(self._settings.refresh_s, self.tick)
        self.apply_config(self.config)

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """As Textual does it; from now on nothing may wait for ever."""
        self.on_exit()
        super().exit(result, return_code, message)

    def end_by_signal(self, number: int) -> bool:
        """From a signal handler: come to an end; False: it has not begun."""
        if self._loop_ready is None:
            return False
        self._loop_ready.call_soon_threadsafe(self.exit, None, 128 + number)
        return True

    def _name_found(self) -> None:
        """In a thread that has found a name: show it with the next tick, with all that come until then."""
        self._shown_generation = -1

    def set_refresh(self, refresh_s: float) -> None:
        """Repaint, and read the table, so often from now on; within the bounds of the config file."""
        refresh_s = min(MAX_REFRESH_S, max(MIN_REFRESH_S, refresh_s))
        if refresh_s != self._settings.refresh_s:
            self._settings = replace(self._settings, refresh_s=refresh_s)
            self._clock.stop()
            self._clock = self.set_interval(refresh_s, self.tick)
            self._feed.set_refresh(refresh_s)

    def apply_config(self, config: Config) -> None:
        """Show everything as ``config`` says; what changed since the last one."""
        before, self.config = self.config, config
        for kind, name in _CONFIGURABLE_LISTS.items():
            self.screen_stack[0].query_one(f"#{name}", Listing).choose_columns(config.columns.get(kind, ()))
        self._store.linger_s = config.linger_s
        if config.refresh_s != before.refresh_s:
            self.set_refresh(config.refresh_s)
        if config.theme != before.theme and config.theme in self.available_themes:
            self.theme = config.theme
        if changed := dict(
            config.view_options().items() - before.view_options().items()
        ):  # keys may have changed the others
            self.set_view_options(replace(self.view_options, **changed))

    @work(thread=True, group="source", exit_on_error=False)
    def _run_feed(self, queue: BatchQueue) -> None:
        """Everything that touches the kernel; hands batches over and nothing else."""
        self._feed.run(queue, get_current_worker().cancelled_event.wait)

    def _attach_pings(self, stopped: Callable[[float], bool]) -> str:
        """In a thread of its own, while the ping view is open: feed its echo requests in."""
        return self._feed.host_requests.run_ping_probe(self._queue, stopped)

    @work(group="pump")
    async def _pump_frames(self, queue: BatchQueue) -> None:
        """Fold what comes into the store; a table is painted at once, the rest with it, or when the clock says."""
        while True:
            batch = await queue.get()
            if isinstance(batch, Table | Transitions | EndedConnections) and len(batch.rows) >= _THREAD_ROWS:
                await asyncio.to_thread(self._store.apply, batch)
            else:
                self._store.apply(batch)
            if isinstance(batch, Table):
                self._clock.reset()
                await self.tick()
                self.first_table_shown.set()

    def notify(
        self, message: str, *, title: str = "", severity: SeverityLevel = "information",
        timeout: float | None = None, markup: bool = True,
    ) -> None:  # fmt: skip
        """Say something for some seconds, in the key bar's place: Textual's toasts would cover rows."""
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)
        spell_s = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        self.panel(KeyBar).show_message(message, spell_s, trouble=severity != "information")

    def clear_notifications(self) -> None:
        """Say nothing any more."""
        super().clear_notifications()
        self.panel(KeyBar).clear_message()

    @property
    def paused(self) -> bool:
        """Whether the view stands still; capture goes on."""
        return self._paused_total is not None

    def set_paused(self, *, paused: bool) -> None:
        """Stop the view at the present frame, or let it catch up."""
        self._paused_total = self.frame.snapshot.log_total if paused else None
        self._show_header()

    def set_view_options(self, look: ViewOptions) -> None:
        """Filter or sort differently, at once; it is the same moment still."""
        self.view_options = look
        self.call_next(self._repaint)

    def save_config(self, config: Config) -> None:
        """Take it, and write what changed into the user's file; says what came of it."""
        before = self._saved_config
        self.apply_config(config)
        self._saved_config = config
        if self.config_path is None:
            self.notify("not saved, because there is no config file: it holds until you quit", timeout=4)
        else:
            self._save(self.config_path, before, config)

    @work(thread=True, group="config", exit_on_error=False)
    def _save(self, path: Path, before: Config, config: Config) -> None:
        try:
            save_config(path, before, config)
        except TcptopError as error:
            told, severity = str(error), "error"
        else:
            told, severity = f"saved in {safe_text.clean(str(path))}", "information"
        self.call_from_thread(self.notify, told, severity=severity, markup=False, timeout=5)

    async def tick(self) -> None:
        """Show what is new, if anything is."""
        generation = self._store.generation
        if self.paused:
            self._show_header()
        elif generation != self._shown_generation:
            self._shown_generation = generation
            await self._repaint(newer=True)

    async def _repaint(self, *, newer: bool = False) -> None:
        """Make a frame, of what is on the screen or of the present facts; paint it.

        A key waits for nothing newer: under load the latest of the log has to be put together first.
        """
        async with self._painting:
            facts = self._store.snapshot() if newer else self.frame.snapshot
            look = self.view_options
            # the same rows in another direction cost what they did
            known = look.differs_in_direction_only(self._painted_options) and self._frame_cost_s < _MAX_LOOP_S
            if len(facts.rows) < _THREAD_ROWS or known:
                self.frame, self._frame_cost_s = timed_frame(facts, look)
            else:
                self.frame, self._frame_cost_s = await asyncio.to_thread(timed_frame, facts, look)
            self._painted_options = look
            self._show_header()
            with self.batch_update():
                self.panel(AlertStrip).show(self.frame)
                self.view.show(self.frame)
                self.panel(TransitionLog).show(self.frame)
                self.panel(RttPanel).show(self.frame)
            if isinstance(self.screen, DetailScreen):
                self.screen.show(self.frame)

    def _show_header(self) -> None:
        newer = None if self._paused_total is None else self._store.snapshot().log_total - self._paused_total
        self.panel(HeaderLines).show(self.frame, newer)

    @property
    def view(self) -> View:
        """The view that is open."""
        return cast("View", self.screen_stack[0].query_one(f"#{self.view_options.view}"))

    @property
    def view_lists(self) -> list[Listing]:
        """The lists of the view that is open."""
        return [widget for widget in (self.view, *self.view.query(Listing)) if isinstance(widget, Listing)]

    def panel(self, kind: type[PanelT]) -> PanelT:
        """A panel of the main screen, whatever dialog is above it."""
        return self.screen_stack[0].query_one(kind)
