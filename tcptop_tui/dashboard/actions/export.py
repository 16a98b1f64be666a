"""Keys that take something out: snapshots as files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.errors import TcptopError
from tcptop_tui.export.render import HostInfo, default_path, render
from tcptop_tui.host.caller_files import resolve_path, write_export
from tcptop_tui.model.frame import Frame, make_frame
from tcptop_tui.safe_text import clean
from tcptop_tui.widgets.dialogs.export import ExportDialog

_PATIENCE_S = 3.0
"""For the details of sockets: a survey of 100,000 takes 0.3 s."""


class ExportActions(ViewApp):
    """Snapshots of what is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "export", "Export", key_display="e", priority=True),
    ]

    async def action_export(self) -> None:
        """Ask for format and path of a snapshot of what is shown now."""
        frame, picture = self.frame, self.export_screenshot(title="tcptop-tui")
        utc_ns = time.time_ns()
        self.exporting = True
        self.want_details()

        def chosen(answer: tuple[str, str] | None) -> None:
            if answer is None:
                self.exporting = False
            else:
                self._write(frame, picture, *answer)

        await self.push_screen(ExportDialog(lambda kind: str(default_path(self.host, utc_ns, kind))), chosen)

    @work(group="export", exit_on_error=False)
    async def _write(self, frame: Frame, picture: str, kind: str, path: str) -> None:
        """Write the file away from the event loop, with the details of sockets as far as these come soon."""
        known = kind == "svg" or frame.snapshot.status.backend == "replay"
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if known else _PATIENCE_S):
                await self.detailed.wait()
        self.exporting = False
        detailed = replace(frame, snapshot=replace(frame.snapshot, details=self._store.details))
        await asyncio.to_thread(self._render, detailed, picture, kind, path)

    def _render(self, frame: Frame, picture: str, kind: str, path: str) -> None:
        """Write the file; say what came of it."""
        try:
            origin = HostInfo(self.host, self.kernel)
            # a list without TIME_WAIT is for the eye: who reads the file later would think that there was none
            whole = (
                frame
                if frame.view_options.show_time_wait
                else make_frame(frame.snapshot, replace(frame.view_options, show_time_wait=True))
            )
            written = write_export(resolve_path(path), render(whole, origin, kind, picture))
        except TcptopError as error:
            self._report(str(error), "error")
        else:
            self._report(f"wrote {clean(str(written))}", "information")

    def _report(self, message: str, severity: str) -> None:
        say: Callable[[], None] = lambda: self.notify(message, severity=severity, markup=False, timeout=8)  # type: ignore[arg-type]  # noqa: E731
        self.call_from_thread(say)
