"""A snapshot that is told to end before its time."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tcptop_tui.cli.headless import take_snapshot
from tcptop_tui.host.privileges import PrivilegeNeeds
from tcptop_tui.host.signals import ShutdownTimer
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Sink
from tests.support.privileges import PROGRAM, until

pytestmark = pytest.mark.host


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("kind", ["json", "svg"])
def test_it_ends_and_writes_nothing(tmp_path: Path, kind: str, number: signal.Signals, code: int) -> None:
    record = tmp_path / "it.looks"
    arguments = ("snapshot", "--backend", "diag", "--after", "600", "--format", kind, "--record", str(record))
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(lambda: record.exists() and record.stat().st_size > 0, process)
        process.send_signal(number)
        told, complained = process.communicate(timeout=30)
    left = process.returncode
    assert (left if left >= 0 else 128 - left, told) == (code, b"")
    assert complained.strip() == b""


class _Finalized:
    """What an exception out of a signal handler gets lost in."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


class _Feed:
    privileges_needed = PrivilegeNeeds()

    def want_details(self, *, wanted: bool) -> None: ...

    def run(self, _sink: Sink, stopped: Callable[[float], bool]) -> None:
        _Finalized()
        assert stopped(600)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_signal_is_not_lost_whatever_runs_just_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcptop_tui.cli.headless.drop_unneeded", lambda *_, **__: None)
    monkeypatch.setattr(ShutdownTimer, "arm", lambda *_: None)  # it would end the tests
    with pytest.raises(SystemExit, match="130"):
        take_snapshot(_Feed(), Settings(), SimpleNamespace(), 600, "json", "-")  # type: ignore[arg-type]
