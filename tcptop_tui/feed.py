"""Chooses the source, runs it, and says so when it has to make do with another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from tcptop_tui.diag.source import DiagSource
from tcptop_tui.errors import BackendUnavailable, TcptopError
from tcptop_tui.export.files import create_export
from tcptop_tui.replay.recording import Recorder
from tcptop_tui.replay.source import ReplaySource
from tcptop_tui.settings import Settings
from tcptop_tui.source.batches import Capture, Sink, Source, Status

Backend: TypeAlias = Literal["auto", "bpf", "diag"]


class Feed:
    """Runs in the worker thread from start to end.

    Args:
        backend: ``auto`` falls back to sock_diag with a note, ``bpf`` ends with the reason.
        replay: a recording to play instead of looking at the host.
        record: a file to write every batch to; made anew, mode 0600.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        capture: Capture,
        replay: Path | None = None,
        record: Path | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._capture = capture
        self._replay = replay
        self._record = record

    def _bpf(self) -> Source:
        # here, because bcc costs 80 MB and must not be touched by the other backends
        from tcptop_tui.bpf.source import BpfSource  # noqa: PLC0415

        return BpfSource(self._settings, self._capture)

    def _diag(self, note: str) -> Source:
        return DiagSource(self._settings, self._capture, note)

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``. Never raises: the end is a ``Status`` with its reason."""
        try:
            if self._record is None:
                self._run(sink, stopped)
                return
            with create_export(self._record) as file:
                self._run(Recorder(sink, file), stopped)
        except Exception as error:  # noqa: BLE001  the thread's last words must reach the screen
            sink.offer(Status(self._backend, f"stopped: {describe(error)}", ended=True))

    def _run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        if self._replay is not None:
            _run(ReplaySource(self._replay), sink, stopped)
        elif self._backend == "diag":
            _run(self._diag("chosen with --backend diag: transitions are found from poll to poll"), sink, stopped)
        else:
            self._run_bpf(sink, stopped)

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
