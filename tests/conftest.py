"""Shared by all tests: real sockets, the real kernel, and what to do where BPF is not possible."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import hypothesis
import pytest
from resets import own_namespace
from running import Running
from severed import Far, severable
from sockets import listening

from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture

# benchmarks measure time, tests do not: a busy machine is no failure
hypothesis.settings.register_profile("tcptop", deadline=None)
hypothesis.settings.load_profile("tcptop")

SMALL = Settings(max_connections=4096, ring_bytes=2**20, session_ring_bytes=2**20)
WATCHING = dataclasses.replace(SMALL, poll_s=0.02, refresh_s=0.2, reconcile_s=2)
"""Of the fixture ``source``."""


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
