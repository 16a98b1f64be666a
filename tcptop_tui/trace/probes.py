"""The BPF probes of ``trace ping`` and ``trace connect -d``, which do not go through the dashboard's feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tcptop_tui.feed import error_text
from tcptop_tui.host.capabilities import raise_capabilities
from tcptop_tui.host.privileges import WORKER, PrivilegeNeeds, drop_after_attach
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Sink, Status


class PingFeed:
    """Runs the probe of ICMP echo requests from start to end.

    Args:
        settings: periods and sizes.
        pid: the interrupted process must have this PID; None: any.
        cpu: the request must be handled on this CPU; None: any.
    """

    privileges_needed = PrivilegeNeeds(looks=False, programs="loads")

    def __init__(self, settings: Settings, pid: int | None, cpu: int | None) -> None:
        self._settings, self._pid, self._cpu = settings, pid, cpu

    def drop_capabilities(self, work: PrivilegeNeeds) -> None:
        """See ``Feed``."""
        drop_after_attach(work)

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Offer batches to ``sink`` until ``stopped``. Never raises: its end is a ``Status`` with the reason."""
        from tcptop_tui.bpf.packets import PingSource  # noqa: PLC0415  bcc costs 80 MB

        source = PingSource(self._settings, self._pid, self._cpu)
        with raise_capabilities(*WORKER):
            try:
                source.open()
                source.run(sink, stopped)
            except Exception as error:  # noqa: BLE001  the stream reports it
                sink.offer(Status(source.backend, error_text(error), ended=True))
            finally:
                source.close()


class DnsLookups:
    """Names that were looked up, from the DNS answers that a probe has seen come in."""

    def __init__(self) -> None:
        from tcptop_tui.bpf.packets import DnsProbe  # noqa: PLC0415  bcc costs 80 MB
        from tcptop_tui.host.dns_answers import DnsNameCache  # noqa: PLC0415

        self._probe = DnsProbe()
        self._cache = DnsNameCache()

    def name_of(self, words: tuple[int, int], ts_ns: int) -> tuple[str, float] | None:
        """See ``connect.LookedUpNames``."""
        return self._cache.name_of(words, ts_ns)

    def refresh(self) -> None:
        """See ``connect.LookedUpNames``."""
        self._cache.add_answers(self._probe.drain())

    @property
    def lost(self) -> int:
        """See ``connect.LookedUpNames``."""
        return self._probe.lost

    def close(self) -> None:
        """Detach the probe."""
        self._probe.close()


@contextmanager
def dns_lookups(*, is_wanted: bool) -> Iterator[DnsLookups | None]:
    """``DnsLookups`` for as long as they are needed; None if they are not wanted.

    Raises:
        BackendUnavailable: BPF is not possible.
    """
    if not is_wanted:
        yield None
        return
    with raise_capabilities(*WORKER):
        lookups = DnsLookups()
        try:
            yield lookups
        finally:
            lookups.close()
