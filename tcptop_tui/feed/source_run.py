"""Runs a source in the present thread, from its opening to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tcptop_tui.errors import TcptopError
from tcptop_tui.host.capabilities import raise_capabilities
from tcptop_tui.host.privileges import WORKER
from tcptop_tui.stream.batches import Sink, Source

_OPENING = threading.Lock()
"""Held while a source is opened: two compilers at once would need twice the memory."""


def open_and_run(source: Source, sink: Sink, stopped: Callable[[float], bool]) -> None:
    """Open ``source``, run it until ``stopped``, and close it, with the capabilities of a worker.

    Raises:
        BackendUnavailable: the source cannot work on this host.
        OSError: the source cannot be opened, or has failed.
    """
    with raise_capabilities(*WORKER):
        try:
            with _OPENING:
                source.open()
            source.run(sink, stopped)
        finally:
            source.close()


def error_text(error: Exception) -> str:
    """One line for an error: a ``TcptopError`` has one, others get the name of their class in front."""
    if isinstance(error, TcptopError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
