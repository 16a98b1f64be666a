"""Chooses the source, runs it, and says so when it has to make do with another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from tcptop_tui.diag.source import DiagSource
from tcptop_tui.errors import BackendUnavailable, TcptopError
from tcptop_tui.settings import Settings
from tcptop_tui.source.batches import Capture, Sink, Source, Status

Backend: TypeAlias = Literal["auto", "bpf", "diag"]


class Feed:
    """Runs in the worker thread from start to end.

    Args:
        backend: ``auto`` falls back to sock_diag with a note, ``bpf`` ends with the reason.
    """

    def __init__(self, backend: Backend, settings: Settings, capture: Capture) -> None:
        self._backend = backend
        self._settings = settings
        self._capture = capture

    def _bpf(self) -> Source:
        # here, because bcc costs 80 MB and must not be touched by the other backends
        from tcptop_tui.bpf.source import BpfSource  # noqa: PLC0415

        return BpfSource(self._settings, self._capture)

    def _diag(self, note: str) -> Source:
        return DiagSource(self._settings, self._capture, note)

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``. Never raises: the end is a ``Status`` with its reason."""
        try:
            if self._backend == "diag":
                _run(self._diag("chosen with --backend diag: transitions are found from poll to poll"), sink, stopped)
            else:
                self._run_bpf(sink, stopped)
        except Exception as error:  # noqa: BLE001  the thread's last words must reach the screen
            sink.offer(Status(self._backend, f"stopped: {describe(error)}", ended=True))

    def _run_bpf(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        try:
            _run(self._bpf(), sink, stopped)
        except (BackendUnavailable, OSError, ValueError, RuntimeError) as error:
            if self._backend == "bpf":
                raise
            _run(self._diag(f"no BPF, polling sock_diag instead: {describe(error)}"), sink, stopped)


def _run(source: Source, sink: Sink, stopped: Callable[[float], bool]) -> None:
    try:
        source.open()
        source.run(sink, stopped)
    finally:
        source.close()


def describe(error: Exception) -> str:
    """One line for an error: ours as they are, others with their type."""
    if isinstance(error, TcptopError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
