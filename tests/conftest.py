"""Shared by all tests: real sockets, the real kernel, and what to do where BPF is not possible."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.stream.batches import Capture
from tests.support.close_cases import own_namespace
from tests.support.running_source import Running
from tests.support.silent_link import Far, severable
from tests.support.sockets import listening
from tests.support.timezones import timezone
from tests.support.tracer import SMALL, WATCHING, require_bpf

# benchmarks measure time, tests do not: a busy machine is no failure
hypothesis.settings.register_profile("tcptop", deadline=None)
hypothesis.settings.load_profile("tcptop")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is hermetic unless its file, or the test, says that it needs the host for itself."""
    for item in items:
        if item.get_closest_marker("host") is None:
            item.add_marker("hermetic")


@pytest.fixture(scope="session")
def bpf_possible() -> None:
    """Skip, or fail, once for all tests that need the kernel."""
    require_bpf(SMALL).close()


@pytest.fixture
def tracer(bpf_possible: None) -> Iterator[Program]:
    """Attached, for this process's own connections and those that nobody owns yet."""
    program = require_bpf(SMALL)
    program.attach(Capture())
    yield program
    program.close()


@pytest.fixture
def server(bpf_possible: None) -> Iterator[socket.socket]:
    """Listens on the loopback, for a tracer of the test's own."""
    with listening() as made:
        yield made


@pytest.fixture(scope="module")
def source(bpf_possible: None) -> Iterator[Running]:
    """The kernel programs at work, for all tests of a module that has no source of its own."""
    running = Running(BpfSource(WATCHING, Capture()), WATCHING)
    yield running
    running.close()


@pytest.fixture
def namespace(source: Running) -> Iterator[None]:
    """This thread is in a network namespace of its own."""
    with own_namespace():
        yield


@pytest.fixture
def far(source: Running) -> Iterator[Far]:
    """The other end of a link that can be made to fall silent."""
    with severable() as made:
        yield made


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """What is closed at the end of the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, to be filled."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], check=False).returncode:
        pytest.skip("cannot mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(autouse=True, scope="session")
def _nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the settings of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day are shown as in UTC, wherever this runs."""
    yield from timezone(monkeypatch, "UTC")
