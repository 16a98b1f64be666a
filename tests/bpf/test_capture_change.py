"""The capture filter changed while running, on the real kernel: nothing is lost, missed or mended by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from tcptop_tui.bpf import program
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.stream.batches import Capture
from tests.support.running_source import Running
from tests.support.sockets import listening, pair, path, port, reset, until_closed
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

ROOMY = dataclasses.replace(SMALL, ring_bytes=8 * 2**20)

Start = Callable[[Capture], tuple[Running, BpfSource]]


@pytest.fixture
def start(bpf_possible: None) -> Iterator[Start]:
    running: list[Running] = []

    def begin(capture: Capture) -> tuple[Running, BpfSource]:
        source = BpfSource(ROOMY, capture)
        running.append(Running(source, ROOMY))
        return running[-1], source

    yield begin
    for one in running:
        one.close()


def excluded(source: BpfSource) -> int:
    return int(source._require_open().program.counters.read()[program.EXCLUDED])


def test_pinned_to_one_port_and_back(start: Start) -> None:
    with listening() as wanted, listening() as other:
        feed, source = start(Capture())
        facts = feed.store.snapshot
        kept, kept_accepted = pair(other)  # is there all the time
        here = port(kept)
        feed.until(lambda: len(feed.rows(here)) == 1)

        def once(server: object) -> int:
            client, accepted = pair(server)  # type: ignore[arg-type]
            number = port(client)
            reset(client)
            until_closed(accepted)
            accepted.close()
            return number

        source.set_capture(Capture(rports=frozenset({port(wanted)})))
        feed.until(lambda: bool(facts().now_ns) and not len(feed.rows(here)))
        before = excluded(source)
        left_out, seen = once(other), once(wanted)
        feed.until(lambda: len(path(facts().log, seen)) >= 3)
        assert path(facts().log, left_out) == []
        assert excluded(source) > before
        source.set_capture(Capture())
        feed.until(lambda: len(feed.rows(here)) == 1)
        again = once(other)
        feed.until(lambda: len(path(facts().log, again)) >= 3)
        now_ns = facts().now_ns
        feed.until(lambda: facts().now_ns > now_ns + 5 * 10**9)  # two comparisons with sock_diag later
        assert len(feed.rows(here)) == 1
        loss = facts().loss
        assert (loss.lost, loss.missed, loss.mended) == (0, 0, 0)
        kept.close()
        kept_accepted.close()
