"""Shared by all tests: real sockets, the real kernel, and what to do where BPF is not possible."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import hypothesis
import pytest
from sockets import listening

from tcptop_tui.bpf.program import Program
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture

# benchmarks measure time, tests do not: a busy machine is no failure
hypothesis.settings.register_profile("tcptop", deadline=None)
hypothesis.settings.load_profile("tcptop")

SMALL = Settings(max_connections=4096, ring_bytes=2**20, session_ring_bytes=2**20)


def require_bpf(settings: Settings) -> Program:
    """A loaded program; skips the test where that is not possible, or fails it when told to."""
    try:
        return Program(settings)
    except BackendUnavailable as error:
        if os.environ.get("TCPTOP_REQUIRE_BPF") == "1":
            pytest.fail(f"BPF is required here: {error}")
        pytest.skip(f"no BPF: {error}")


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


@pytest.fixture(autouse=True, scope="session")
def _nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the settings of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


def timezone(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """For a fixture: times of day are shown as there."""
    monkeypatch.setenv("TZ", name)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day are shown as in UTC, wherever this runs."""
    yield from timezone(monkeypatch, "UTC")
