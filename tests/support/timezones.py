"""Times of day as they are shown in another place."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest


def timezone(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """For a fixture: times of day are shown as there."""
    monkeypatch.setenv("TZ", name)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
