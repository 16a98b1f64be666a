"""``tcptop-tui snapshot``: runs a feed for some seconds and writes what it has seen, without a screen."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from tcptop_tui.config.schema import Config
from tcptop_tui.dashboard.app import TcptopApp
from tcptop_tui.errors import TcptopError
from tcptop_tui.export.render import HostInfo, render
from tcptop_tui.export.writers import format_of
from tcptop_tui.feed import Feed
from tcptop_tui.filters import Filter
from tcptop_tui.host.caller_files import resolve_path, write_export
from tcptop_tui.host.privileges import drop_unneeded
from tcptop_tui.host.signals import ShutdownTimer, Wake, handle_signals
from tcptop_tui.host.terminal import standard_output
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.store import Store
from tcptop_tui.replay.source import CUT_OFF
from tcptop_tui.safe_text import clean
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Status

_SCREEN = (160, 50)
"""Columns and lines of the dashboard in an SVG."""

_AS_IT_COMES = Config()
_STARTUP_S = 30.0
"""For the first table: more than the compiler takes on a busy machine."""


class StoreSink:
    """A sink that folds batches into a store at once, in the feed's own thread."""

    def __init__(self, settings: Settings, attached: Callable[[], object]) -> None:
        self.store = Store(settings)
        self._attached = attached
        self._has_table = False
        self.failed = ""
        self.started_s: float | None = None

    def offer(self, batch: Batch) -> bool:
        """Take every batch. The first one shows that the feed has attached."""
        if isinstance(batch, Status) and batch.ended and batch.backend != "replay":
            self.failed = batch.note  # it may have ended before it attached
        elif not self._has_table:
            self._has_table = True
            self._attached()
        self.store.apply(batch)
        if isinstance(batch, Status) and CUT_OFF in batch.note:
            sys.stderr.write(f"tcptop-tui: {clean(batch.note)}\n")
        if self.started_s is None and self.store.snapshot().now_ns:
            self.started_s = time.monotonic()
        return True


def _run_feed(feed: Feed, settings: Settings, seconds: float, attached: Callable[[], object]) -> Store:
    """Run ``feed`` here until ``seconds`` after its first table; ``attached`` is called before the first batch.

    Raises:
        TcptopError: the feed ended with a reason.
        SystemExit: a signal has ended it; nothing is written then.
    """
    collector = StoreSink(settings, attached)
    pause = Wake()
    begun_s = time.monotonic()
    ending = ShutdownTimer(lambda _number: pause.set())

    def stopped(wait_s: float) -> bool:
        now_s = time.monotonic()
        if collector.started_s is None:
            return now_s - begun_s > _STARTUP_S or pause.wait(wait_s)
        left_s = collector.started_s + seconds - now_s
        return left_s <= 0 or pause.wait(min(wait_s, left_s))

    with handle_signals(ending.handle):
        feed.run(collector, stopped)
    if ending.number:
        raise SystemExit(128 + ending.number)
    if collector.failed:
        raise TcptopError(collector.failed)
    return collector.store


async def _render_svg(feed: Feed, settings: Settings, chosen: Filter, seconds: float, config: Config) -> str:
    """SVG of the dashboard after ``seconds``, drawn without a terminal."""
    uname = os.uname()
    app = TcptopApp(feed, settings, uname.nodename, uname.release, chosen, config)
    async with app.run_test(size=_SCREEN) as pilot:
        await app.first_table_shown.wait()
        await pilot.pause(seconds)
        await app.tick()
        await pilot.pause()
        return app.export_screenshot(title="tcptop-tui")


def take_snapshot(
    feed: Feed, settings: Settings, chosen: Filter, seconds: float, kind: str | None, output: str,
    config: Config = _AS_IT_COMES,
) -> None:  # fmt: skip
    """Write a snapshot to ``output``, a path or ``-``.

    Raises:
        TcptopError: the backend that was asked for does not work, or the file cannot be written.
    """
    kind = kind or format_of(output) or "json"
    uname = os.uname()
    target = standard_output() if output == "-" else None
    work = replace(feed.privileges_needed, writes=feed.privileges_needed.writes or output != "-")
    drop_unneeded(work, in_two_steps=kind != "svg")  # a picture is made by the dashboard, with its threads
    if kind == "svg":
        data = asyncio.run(_render_svg(feed, settings, chosen, seconds, config)).encode()
    else:
        feed.want_details(wanted=True)
        store = _run_feed(
            feed,
            settings,
            seconds,
            lambda: feed.drop_capabilities(replace(work, writes=output != "-" or feed.replaces_recording)),
        )
        frame = make_frame(store.snapshot(), ViewOptions(filter=chosen))
        data = render(frame, HostInfo(uname.nodename, uname.release), kind, "")
    if target is not None:
        with target:
            target.write(data)
    else:
        sys.stderr.write(f"wrote {clean(str(write_export(resolve_path(output), data)))}\n")
    if feed.recording_failure:
        raise TcptopError(f"the recording stopped: {feed.recording_failure}")
