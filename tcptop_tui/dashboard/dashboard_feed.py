"""What the dashboard needs of the feed behind it, and of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tcptop_tui.host.processes import SocketAnswer
from tcptop_tui.records import Rows
from tcptop_tui.stream.batches import Capture, Sink


class DashboardRequests(Protocol):
    """What the dashboard asks of the host beside the batches. See ``HostRequests``."""

    def run_ping_probe(self, sink: Sink, stopped: Callable[[float], bool]) -> str:
        """Offer echo requests to ``sink`` until ``stopped``. Never raises: the result says why no probe is attached."""
        ...

    def read_details(self, row: Rows) -> SocketAnswer:
        """What the kernel and /proc know now of a connection (dtype ROW, shape (1,)); empty when it does not exist."""
        ...

    def find_cookie(self, row: Rows) -> int:
        """The cookie of a connection's socket (dtype ROW, shape (1,)), so that ``destroy`` closes no other one.

        Raises:
            TcptopError: nothing can be closed here, or the socket does not exist any more.
        """
        ...

    def destroy(self, row: Rows, cookie: int) -> None:
        """Close the socket with the cookie that ``find_cookie`` has returned.

        Raises:
            TcptopError: the socket does not exist any more, or the kernel refuses.
        """
        ...


class DashboardFeed(Protocol):
    """Runs a source in the worker thread. See ``Feed``."""

    @property
    def capture(self) -> Capture:
        """The capture filter of the command line."""
        ...

    @property
    def host_requests(self) -> DashboardRequests:
        """Requests to the host that the source looks at."""
        ...

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Offer batches to ``sink`` until ``stopped``. Never raises: the end is a ``Status`` with its reason."""
        ...

    def set_capture(self, capture: Capture) -> None:
        """From any thread: use another capture filter from now on."""
        ...

    def set_refresh(self, refresh_s: float) -> None:
        """From any thread: make a table every ``refresh_s`` seconds from now on."""
        ...

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details``, or do without."""
        ...
