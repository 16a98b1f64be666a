"""Chooses the source, runs it, and says so when it has to make do with another one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from tcptop_tui.diag.destroy import destroy, find_cookie
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.diag.tcp_info import tcp_info
from tcptop_tui.errors import BackendUnavailable, TcptopError
from tcptop_tui.host.caller_files import DraftFile
from tcptop_tui.host.capabilities import raise_capabilities
from tcptop_tui.host.privileges import WORKER, PrivilegeNeeds, drop_after_attach
from tcptop_tui.host.processes import SocketAnswer, process_facts
from tcptop_tui.host.socket_owners import is_running
from tcptop_tui.records import Rows
from tcptop_tui.replay.recorder import Recorder
from tcptop_tui.replay.source import ReplaySource
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Capture, Pings, Sink, Source, Status

if TYPE_CHECKING:
    from tcptop_tui.bpf.source import BpfSource

_POLLED = "--backend diag polls sock_diag: transitions between two polls are not seen"

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
        self._draft: DraftFile | None = None
        self._recorder: Recorder | None = None
        self.replaces_recording = record is not None and os.path.lexists(record)
        """A recording that is there already: once the new one has a table."""
        self.capture = capture
        """What the command line asked for."""
        self.privileges_needed = PrivilegeNeeds(
            looks=replay is None,
            programs="none" if backend == "diag" or replay is not None else "loads",
            writes=record is not None,
        )
        """What privileges it takes."""
        self._source: Source | None = None
        self._details = False
        self._prepared: BpfSource | None = None
        self._opening = threading.Lock()

    def set_capture(self, capture: Capture) -> None:
        """From any thread: look at something else; the source's worker takes it up at its next poll."""
        self._capture = capture
        if self._source is not None:
            self._source.set_capture(capture)

    def drop_capabilities(self, work: PrivilegeNeeds) -> None:
        """Give up what was only needed until the source was attached; in the only thread there is."""
        if self._source is not None:
            self._source.before_narrowing()
        drop_after_attach(work)

    def set_refresh(self, refresh_s: float) -> None:
        """From any thread: read the table so often from now on."""
        self._settings = replace(self._settings, refresh_s=refresh_s, poll_s=min(0.1, refresh_s))
        if self._source is not None:
            self._source.set_refresh(self._settings)

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details``, or do without; before ``run``, from the first table on."""
        self._details = wanted
        if self._source is not None:
            self._source.want_details(wanted=wanted)

    def ask(self, row: Rows) -> SocketAnswer:
        """What the kernel and /proc know now of a connection (dtype ROW, shape (1,)); nothing when it has gone."""
        if self._replay is not None:
            return SocketAnswer()
        pid = int(row["pid"][0])
        with raise_capabilities(*WORKER):
            try:
                known = tcp_info(row)
            except OSError:
                known = {}
            # another process may have the PID now; a name tells nothing, exec() and prctl() change it
            facts = process_facts(pid) if pid and is_running(pid, int(row["start_ticks"][0])) else None
        return SocketAnswer(known, facts)

    def identify(self, row: Rows) -> int:
        """Which socket a connection (dtype ROW, shape (1,)) is, so that ``destroy`` closes no other.

        Raises:
            TcptopError: nothing can be closed here, or it is not there any more.
        """
        if self._settings.readonly:
            raise TcptopError("--readonly closes no connection", hint="start again without it")
        if self._replay is not None:
            raise TcptopError("a recording has no connection that can be closed")
        with raise_capabilities(*WORKER):
            return find_cookie(row)

    def destroy(self, row: Rows, cookie: int) -> None:
        """Close a socket that ``identify`` has named.

        Raises:
            TcptopError: it is not there any more, or the kernel refuses.
        """
        if not self._settings.readonly:
            with raise_capabilities(*WORKER):
                destroy(row, cookie)

    def run_pings(self, sink: Sink, stopped: Callable[[float], bool]) -> str:
        """Probe echo requests until ``stopped``; never raises.

        Returns:
            Why nothing is attached; empty when it was.
        """
        if self._replay is not None:
            return "the probe is not attached: a recording is played"
        if self._backend == "diag":
            return "the probe is not attached: it needs BPF, and --backend diag was chosen"
        try:
            from tcptop_tui.bpf.packets import PingSource  # noqa: PLC0415  the other backends do without

            self._open_and_run(PingSource(self._settings), PingsOnlySink(sink), stopped)
        except Exception as error:  # noqa: BLE001  a view that cannot be fed is no reason to end
            return f"the probe is not attached: {error_text(error)}"
        return ""

    def _run_source(self, source: Source, sink: Sink, stopped: Callable[[float], bool]) -> None:
        self._source = source
        self.want_details(wanted=self._details)
        self._open_and_run(source, sink, stopped)

    def _open_and_run(self, source: Source, sink: Sink, stopped: Callable[[float], bool]) -> None:
        with raise_capabilities(*WORKER):
            try:
                with self._opening:  # one compiler at a time
                    source.open()
                source.run(sink, stopped)
            finally:
                source.close()

    def _bpf(self) -> Source:
        prepared, self._prepared = self._prepared, None
        return prepared or self._bpf_source()

    def _bpf_source(self) -> BpfSource:
        from tcptop_tui.bpf.source import BpfSource  # noqa: PLC0415  the other backends do without

        return BpfSource(self._settings, self._capture)

    def prepare(self) -> None:
        """Start the compiler before ``run``, while the caller gets its own things ready.

        Raises:
            ExportError: there can be no such recording.
        """
        if self._record is not None:
            self._draft = DraftFile(self._record)
        if self._backend != "diag" and self._replay is None:
            self._prepared = self._bpf_source()
            self._prepared.prepare()

    def _diag(self, note: str) -> Source:
        return DiagSource(self._settings, self._capture, note)

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``. Never raises: the end is a ``Status`` with its reason."""
        try:
            if self._record is None:
                self._run(sink, stopped)
            else:
                self._run_recorded(self._record, sink, stopped)
        except Exception as error:  # noqa: BLE001  the thread's last words must reach the screen
            sink.offer(Status(self._backend, f"stopped: {error_text(error)}", ended=True))

    def _run_recorded(self, path: Path, sink: Sink, stopped: Callable[[float], bool]) -> None:
        draft = self._draft or DraftFile(path)
        try:
            self._recorder = Recorder(sink, draft.file, draft.publish, early=not self.replaces_recording)
            self._run(self._recorder, stopped)
        finally:
            draft.close()

    @property
    def recording_failure(self) -> str:
        """Why the recording has ended before its time; empty: it has not."""
        return self._recorder.failure if self._recorder else ""

    def _run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        if self._replay is not None:
            self._run_source(ReplaySource(self._replay, self._capture), sink, stopped)
        elif self._backend == "diag":
            self._run_source(self._diag(_POLLED), sink, stopped)
        else:
            self._run_bpf(sink, stopped)

    def _run_bpf(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        try:
            self._run_source(self._bpf(), sink, stopped)
        except (BackendUnavailable, OSError, ValueError, RuntimeError) as error:
            if self._backend == "bpf" or self._capture.needs_bpf:
                raise
            self._run_source(
                self._diag(f"BPF cannot be used, so sock_diag is polled: {error_text(error)}"), sink, stopped
            )


class PingsOnlySink:
    """Lets only pings through: what the probe says of itself is not said of the feed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def offer(self, batch: Batch) -> bool:
        """See ``Sink``."""
        return self._sink.offer(batch) if isinstance(batch, Pings) else True


def error_text(error: Exception) -> str:
    """One line for an error: ours as they are, others with their type."""
    if isinstance(error, TcptopError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
