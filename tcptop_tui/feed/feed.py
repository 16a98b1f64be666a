"""Chooses the source, runs it, and falls back to polling where BPF cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from tcptop_tui.diag.source import DiagSource
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.feed.host_requests import HostRequests
from tcptop_tui.feed.source_run import error_text, open_and_run
from tcptop_tui.host.caller_files import DraftFile
from tcptop_tui.host.privileges import PrivilegeNeeds, drop_after_attach
from tcptop_tui.replay.recorder import Recorder
from tcptop_tui.replay.source import ReplaySource
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture, Sink, Source, Status

if TYPE_CHECKING:
    from tcptop_tui.bpf.source import BpfSource

_POLLING_NOTE = "--backend diag polls sock_diag: transitions between two polls are not seen"

Backend: TypeAlias = Literal["auto", "bpf", "diag"]


class Feed:
    """Runs one source in the worker thread, from start to end.

    Args:
        backend: ``auto`` falls back to sock_diag and says why; ``bpf`` ends with the reason instead.
        settings: the source's periods and limits.
        capture: the capture filter of the command line.
        replay: a recording to play instead of looking at the host.
        record: a file to write every batch to. It is made anew, with mode 0600.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        capture: Capture,
        replay: Path | None = None,
        record: Path | None = None,
    ) -> None:
        is_replay = replay is not None
        self._backend = backend
        self._settings = settings
        self._present_capture = capture
        self._replay = replay
        self._record = record
        self._draft: DraftFile | None = None
        self._recorder: Recorder | None = None
        self._source: Source | None = None
        self._prepared_source: BpfSource | None = None
        self._needs_details = False
        self.replaces_recording = record is not None and os.path.lexists(record)
        """``record`` exists already. It is replaced as soon as the new recording has a table."""
        self.capture = capture
        """The capture filter of the command line, whatever ``set_capture`` has set since."""
        self.privileges_needed = PrivilegeNeeds(
            looks=not is_replay,
            programs="none" if backend == "diag" or is_replay else "loads",
            writes=record is not None,
        )
        self.host_requests = HostRequests(settings, can_use_bpf=backend != "diag", is_replay=is_replay)

    # -- from any thread ----------------------------------------------------------------------

    def set_capture(self, capture: Capture) -> None:
        """Use another capture filter; the source takes it up at its next poll."""
        self._present_capture = capture
        if self._source is not None:
            self._source.set_capture(capture)

    def set_refresh(self, refresh_s: float) -> None:
        """Make a table every ``refresh_s`` seconds from now on."""
        self._settings = replace(self._settings, refresh_s=refresh_s, poll_s=min(0.1, refresh_s))
        self.host_requests.settings = self._settings
        if self._source is not None:
            self._source.set_refresh(self._settings)

    def want_details(self, *, wanted: bool) -> None:
        """Have ``Table.details``, or do without. A call before ``run`` is in force from the first table on."""
        self._needs_details = wanted
        if self._source is not None:
            self._source.want_details(wanted=wanted)

    @property
    def recording_failure(self) -> str:
        """Why the recording has ended before its time; empty: it has not."""
        return self._recorder.failure if self._recorder else ""

    # -- before `run` -------------------------------------------------------------------------

    def prepare(self) -> None:
        """Start the compiler, which works while the caller gets its own things ready, and make the recording's file.

        Raises:
            ExportError: the file cannot be made.
        """
        if self._record is not None:
            self._draft = DraftFile(self._record)
        if self._backend != "diag" and self._replay is None:
            self._prepared_source = self._make_bpf_source()
            self._prepared_source.prepare()

    # -- in the worker thread -----------------------------------------------------------------

    def drop_capabilities(self, needs: PrivilegeNeeds) -> None:
        """Drop the capabilities that were needed only to attach the source. No other thread may run yet."""
        if self._source is not None:
            self._source.before_narrowing()
        drop_after_attach(needs)

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Offer batches to ``sink`` until ``stopped``.

        It never raises: if the source fails, the last batch is a ``Status`` with the reason.
        """
        try:
            if self._record is None:
                self._run(sink, stopped)
            else:
                self._run_and_record(self._record, sink, stopped)
        except Exception as error:  # noqa: BLE001  the reason must reach the screen
            sink.offer(Status(self._backend, f"stopped: {error_text(error)}", ended=True))

    def _run_and_record(self, path: Path, sink: Sink, stopped: Callable[[float], bool]) -> None:
        draft = self._draft or DraftFile(path)
        try:
            self._recorder = Recorder(sink, draft.file, draft.publish, early=not self.replaces_recording)
            self._run(self._recorder, stopped)
        finally:
            draft.close()

    def _run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        if self._replay is not None:
            self._run_source(ReplaySource(self._replay, self._present_capture), sink, stopped)
        elif self._backend == "diag":
            self._run_source(self._diag_source(_POLLING_NOTE), sink, stopped)
        else:
            self._run_bpf(sink, stopped)

    def _run_bpf(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        try:
            self._run_source(self._bpf_source(), sink, stopped)
        except (BackendUnavailable, OSError, ValueError, RuntimeError) as error:
            if self._backend == "bpf" or self._present_capture.needs_bpf:
                raise
            note = f"BPF cannot be used, so sock_diag is polled: {error_text(error)}"
            self._run_source(self._diag_source(note), sink, stopped)

    def _run_source(self, source: Source, sink: Sink, stopped: Callable[[float], bool]) -> None:
        self._source = source
        source.want_details(wanted=self._needs_details)
        open_and_run(source, sink, stopped)

    def _diag_source(self, note: str) -> Source:
        return DiagSource(self._settings, self._present_capture, note)

    def _bpf_source(self) -> Source:
        """The source that ``prepare`` has made, or a new one."""
        prepared_source, self._prepared_source = self._prepared_source, None
        return prepared_source or self._make_bpf_source()

    def _make_bpf_source(self) -> BpfSource:
        from tcptop_tui.bpf.source import BpfSource  # noqa: PLC0415  the other backends do without

        return BpfSource(self._settings, self._present_capture)
