"""Which source feeds the screen, and what is said when one dies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.feed import Backend, Feed
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Capture, Sink, Source, Status, Table


class Dying(Source):
    """A source that fails when it is opened, or later."""

    backend = "bpf"

    def __init__(self, at_open: Exception | None = None, running: Exception | None = None) -> None:
        self.at_open, self.running, self.closed = at_open, running, False

    def open(self) -> None:
        if self.at_open:
            raise self.at_open

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        sink.offer(Status("bpf"))
        if self.running:
            raise self.running

    def close(self) -> None:
        self.closed = True


class Taking:
    """Takes everything, and stops the feed after the first table."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def offer(self, batch: Batch) -> bool:
        self.batches.append(batch)
        return True

    def stopped(self, _seconds: float) -> bool:
        return any(isinstance(batch, Table) for batch in self.batches)

    @property
    def last_words(self) -> Status:
        return [batch for batch in self.batches if isinstance(batch, Status)][-1]


def fed(backend: Backend, source: Dying, monkeypatch: pytest.MonkeyPatch) -> Taking:
    feed = Feed(backend, Settings(), Capture())
    monkeypatch.setattr(feed, "_bpf_source", lambda: source)
    sink = Taking()
    feed.run(sink, sink.stopped)
    assert source.closed
    return sink


@pytest.mark.parametrize(
    "source",
    [Dying(at_open=BackendUnavailable("no BTF", hint="another kernel")), Dying(running=OSError(5, "map is gone"))],
    ids=["cannot start", "dies later"],
)
def test_auto_falls_back_and_says_why(source: Dying, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = fed("auto", source, monkeypatch)
    assert sink.last_words.backend == "diag"
    assert not sink.last_words.ended
    assert ("no BTF: another kernel" in sink.last_words.note) or ("map is gone" in sink.last_words.note)
    assert any(isinstance(batch, Table) for batch in sink.batches)


def test_bpf_and_nothing_else_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = fed("bpf", Dying(at_open=BackendUnavailable("no BTF")), monkeypatch)
    assert sink.last_words == Status("bpf", "stopped: no BTF", ended=True)


def test_a_bug_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = fed("auto", Dying(running=KeyError("surprise")), monkeypatch)
    assert sink.last_words.ended
    assert "KeyError" in sink.last_words.note
    assert "\n" not in sink.last_words.note
