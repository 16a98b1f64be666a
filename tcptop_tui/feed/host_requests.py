"""What the user asks of the host beside the batches: details of one socket, closing a socket, the ping probe."""

from __future__ import annotations

from collections.abc import Callable

from tcptop_tui.diag.destroy import destroy, find_cookie
from tcptop_tui.diag.tcp_info import tcp_info
from tcptop_tui.errors import TcptopError
from tcptop_tui.feed.source_run import error_text, open_and_run
from tcptop_tui.host.capabilities import raise_capabilities
from tcptop_tui.host.privileges import WORKER
from tcptop_tui.host.processes import SocketAnswer, process_facts
from tcptop_tui.host.socket_owners import is_running
from tcptop_tui.records import Rows
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Pings, Sink


class HostRequests:
    """Each request may be made from any thread.

    Args:
        settings: ``readonly`` forbids closing; the ping probe has the others.
        can_use_bpf: the ping probe may be attached.
        is_replay: a recording is played, so that the host has none of its connections.
    """

    def __init__(self, settings: Settings, *, can_use_bpf: bool, is_replay: bool) -> None:
        self.settings = settings
        self._can_use_bpf = can_use_bpf
        self._is_replay = is_replay

    def read_details(self, row: Rows) -> SocketAnswer:
        """Read what the kernel and /proc know now of a connection (dtype ROW, shape (1,)).

        The answer is empty when the connection does not exist any more.
        """
        if self._is_replay:
            return SocketAnswer()
        pid = int(row["pid"][0])
        with raise_capabilities(*WORKER):
            try:
                info = tcp_info(row)
            except OSError:
                info = {}
            # another process may have the PID by now. The name would not show that: exec() and prctl() change it
            is_owner = bool(pid) and is_running(pid, int(row["start_ticks"][0]))
            facts = process_facts(pid) if is_owner else None
        return SocketAnswer(info, facts)

    def find_cookie(self, row: Rows) -> int:
        """Find the cookie of a connection's socket (dtype ROW, shape (1,)), so that ``destroy`` closes no other one.

        Raises:
            TcptopError: nothing can be closed here, or the socket does not exist any more.
        """
        if self.settings.readonly:
            raise TcptopError("--readonly closes no connection", hint="start again without it")
        if self._is_replay:
            raise TcptopError("a recording has no connection that can be closed")
        with raise_capabilities(*WORKER):
            return find_cookie(row)

    def destroy(self, row: Rows, cookie: int) -> None:
        """Close the socket with the cookie that ``find_cookie`` has returned.

        Raises:
            TcptopError: the socket does not exist any more, or the kernel refuses.
        """
        if not self.settings.readonly:
            with raise_capabilities(*WORKER):
                destroy(row, cookie)

    def run_ping_probe(self, sink: Sink, stopped: Callable[[float], bool]) -> str:
        """Offer ICMP echo requests to ``sink`` until ``stopped``. It never raises.

        Returns:
            Why the probe could not be attached; empty when it was.
        """
        if self._is_replay:
            return "the probe is not attached: a recording is played"
        if not self._can_use_bpf:
            return "the probe is not attached: it needs BPF, and --backend diag was chosen"
        try:
            from tcptop_tui.bpf.packets import PingSource  # noqa: PLC0415  the other backends do without

            open_and_run(PingSource(self.settings), _PingSink(sink), stopped)
        except Exception as error:  # noqa: BLE001  a view without data is no reason to end
            return f"the probe is not attached: {error_text(error)}"
        return ""


class _PingSink:
    """Lets only pings through: the probe's status must not stand for the feed's."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def offer(self, batch: Batch) -> bool:
        """See ``Sink``."""
        return self._sink.offer(batch) if isinstance(batch, Pings) else True
