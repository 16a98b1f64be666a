"""What streams listen to beside the dashboard's feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tcptop_tui.feed import error_text
from tcptop_tui.host.capabilities import raise_capabilities
from tcptop_tui.host.privileges import WORKER, PrivilegeNeeds, drop_after_attach
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Sink, Status


class PingFeed:
    """Runs the echo request probe from start to end.

    Args:
        settings: periods and sizes.
        pid: of the interrupted process; None: all.
        cpu: None: all.
    """

    privileges_needed = PrivilegeNeeds(looks=False, programs="loads")

    def __init__(self, settings: Settings, pid: int | None, cpu: int | None) -> None:
        self._settings, self._pid, self._cpu = settings, pid, cpu

    def drop_capabilities(self, work: PrivilegeNeeds) -> None:
        """See ``Feed``."""
        drop_after_attach(work)

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``. Never raises: the end is a ``Status`` with its reason."""
        from tcptop_tui.bpf.packets import PingSource  # noqa: PLC0415  bcc costs 80 MB

        source = PingSource(self._settings, self._pid, self._cpu)
        with raise_capabilities(*WORKER):
            try:
                source.open()
                source.run(sink, stopped)
            except Exception as error:  # noqa: BLE001  the last words
                sink.offer(Status(source.backend, error_text(error), ended=True))
            finally:
                source.close()


class DnsLookups:
    """Names that were looked up, from the answers that have come in."""

    def __init__(self) -> None:
        from tcptop_tui.bpf.packets import DnsProbe  # noqa: PLC0415  bcc costs 80 MB
        from tcptop_tui.host.dns_answers import DnsNameCache  # noqa: PLC0415

        self._probe = DnsProbe()
        self._cache = DnsNameCache()

    def name_of(self, words: tuple[int, int], ts_ns: int) -> tuple[str, float] | None:
        """See ``connect.LookedUpNames``."""
        return self._cache.name_of(words, ts_ns)

    def refresh(self) -> None:
        """Take in what has come."""
        self._cache.add_answers(self._probe.drain())

    @property
    def lost(self) -> int:
        """See ``connect.LookedUpNames``."""
        return self._probe.lost

    def close(self) -> None:
        """Detach."""
        self._probe.close()


@contextmanager
def dns_lookups(*, wanted: bool) -> Iterator[DnsLookups | None]:
    """A ``DnsLookups`` while it is needed.

    Raises:
        BackendUnavailable: no BPF.
    """
    if not wanted:
        yield None
        return
    with raise_capabilities(*WORKER):
        opened = DnsLookups()
        try:
            yield opened
        finally:
            opened.close()
