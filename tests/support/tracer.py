"""The kernel programs for tests: small maps, and what to do where BPF is not possible."""

from __future__ import annotations

import dataclasses
import os

import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.settings import Settings

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
