"""A source at work in its thread, as the program has it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tcptop_tui.model.store import Store
from tcptop_tui.records import Rows
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Source


class Running:
    """A source in its thread, and the store that its batches go to."""

    def __init__(self, source: Source, settings: Settings, attached: Callable[[], object] = lambda: None) -> None:
        self.store = Store(settings)
        self.batches: list[Batch] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._source = source
        self._source.open()
        attached()
        self._thread = threading.Thread(target=self._source.run, args=(self, self._stop.wait))
        self._thread.start()

    def offer(self, batch: Batch) -> bool:
        with self._changed:
            self.batches.append(batch)
            self.store.apply(batch)
            self._changed.notify_all()
        return True

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for batch after batch until it has happened."""
        with self._changed:
            assert self._changed.wait_for(happened, timeout=60)

    def rows(self, lport: int, rport: int | None = None) -> Rows:
        """The table's rows with this local port.

        A client's port may be that of others, too, which other tests have left in TIME_WAIT: its peer's port tells.
        """
        rows = self.store.snapshot().rows
        return rows[(rows["lport"] == lport) & ((rows["rport"] == rport) | (rport is None))]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._source.close()
