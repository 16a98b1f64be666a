"""F9: close the selected connection."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.errors import TcptopError
from tcptop_tui.widgets.dialogs.close import CloseDialog
from tcptop_tui.widgets.lists.list_rows import endpoints
from tcptop_tui.widgets.views.connections import ConnectionTable


class CloseActions(ViewApp):
    """The kernel's own socket destroy; not there at all with ``--readonly``."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f9,K", "close_connection", "Close", tooltip="Close the connection (asks first)", key_display="F9"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only where there is something to close, and somebody may."""
        if action == "close_connection":
            return not self._settings.readonly and self.view_options.view == "connections"
        return super().check_action(action, parameters)

    @work(group="close", exclusive=True)
    async def action_close_connection(self) -> None:
        """Find out which socket it is, ask, close exactly that one."""
        row = self.panel(ConnectionTable).selected_connection
        if row is None:
            self.notify("nothing to close: select a connection that has not ended", severity="warning", timeout=3)
            return
        names = self.frame.snapshot.names
        try:
            cookie = await asyncio.to_thread(self._feed.host_requests.find_cookie, row)
            if await self.push_screen_wait(CloseDialog(row, names)):
                await asyncio.to_thread(self._feed.host_requests.destroy, row, cookie)
                self.notify(f"closed {endpoints(row, names)}", markup=False, timeout=4)
        except TcptopError as error:
            self.notify(str(error), severity="error", markup=False, timeout=8)
