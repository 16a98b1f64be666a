"""Names of network namespaces, cgroups and devices, offered to the sink beside the rows that contain their numbers."""

from __future__ import annotations

from tcptop_tui.diag.name_collector import NameCollector
from tcptop_tui.diag.namespaces import Namespaces, skipped_namespaces_note
from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.records import Rows
from tcptop_tui.stream.batches import Sink, Status


class NameOffers:
    """Collects the numbers in rows and offers their names when they change; used by the worker thread only.

    Args:
        diag: knows the network namespaces and the devices in them.
        cgroups: knows the paths of cgroups.
        backend: name of the source, for the status about namespaces that are left out.
    """

    def __init__(self, diag: Namespaces, cgroups: Cgroups, backend: str) -> None:
        self._diag = diag
        self._backend = backend
        self._collector = NameCollector(cgroups)
        self._reported_skipped = 0
        self.netns: frozenset[int] = frozenset()
        """Inode numbers of the network namespaces that the latest dump found."""

    def collect(self, rows: Rows) -> bool:
        """Remember the numbers in ``rows`` (``cgroup``, ``netns``, ``dev``); True if one of them is new."""
        return self._collector.collect(rows)

    def offer(self, sink: Sink) -> None:
        """Offer all names if one has changed, and a status if the number of skipped namespaces has changed."""
        self._collector.offer(sink, self._diag.names, self.netns, self._diag.device_name)
        skipped = self._diag.skipped
        if skipped != self._reported_skipped and sink.offer(Status(self._backend, skipped_namespaces_note(skipped))):
            self._reported_skipped = skipped
