"""What the dashboard needs of the feed behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tcptop_tui.host.processes import SocketAnswer
from tcptop_tui.records import Rows
from tcptop_tui.stream.batches import Capture, Sink


class DashboardFeed(Protocol):
    """Runs a source in the worker thread and answers the dashboard's questions to the host. See ``Feed``."""

    @property
    def capture(self) -> Capture:
        """The capture filter that the command line asked for."""
        ...

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``. Never raises: the end is a ``Status`` with its reason."""
        ...

    def run_pings(self, sink: Sink, stopped: Callable[[float], bool]) -> str:
        """Probe echo requests until ``stopped``. Never raises: the result says why no probe is attached."""
        ...

    def set_capture(self, capture: Capture) -> None:
        """From any thread: look at something else from now on."""
        ...

    def set_refresh(self, refresh_s: float) -> None:
        """From any thread: make a table so often from now on."""
        ...

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details``, or do without."""
        ...

    def ask(self, row: Rows) -> SocketAnswer:
        """What the kernel and /proc know now of a connection (dtype ROW, shape (1,)); nothing when it has gone."""
        ...

    def identify(self, row: Rows) -> int:
        """Which socket a connection (dtype ROW, shape (1,)) is, so that ``destroy`` closes no other.

        Raises:
            TcptopError: nothing can be closed here, or it is not there any more.
        """
        ...

    def destroy(self, row: Rows, cookie: int) -> None:
        """Close a socket that ``identify`` has named.

        Raises:
            TcptopError: it is not there any more, or the kernel refuses.
        """
        ...
