"""The short form of ``make soak``: what a day makes of it, and what starts and stops leave."""

from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from left import bpf_ids, left_of
from soak import soak, start_and_stop

pytestmark = pytest.mark.host


@pytest.fixture(autouse=True)
def _needed(bpf_possible: None) -> None:
    """All of these look at the kernel."""


def test_every_transition_of_the_load_is_counted_or_lost() -> None:
    steps = soak(0.12, per_step=60_000)
    assert steps.made >= 120_000
    assert steps.counted + steps.lost == steps.made
    assert len(steps.resident_mb) == 2


def test_starts_and_stops_leave_nothing() -> None:
    # in a process of its own: what the tests before have left in this one says nothing about eight starts
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        before, more = pool.submit(start_and_stop, 8).result()
    assert (more.descriptors, more.threads, more.children) == (before.descriptors, before.threads, before.children)
    assert (more.programs, more.maps, more.links) == (frozenset(),) * 3
    assert more.resident_mb < before.resident_mb + 30  # compiled code and caches, not 8 times a map


def test_what_is_left_would_be_seen(tracer: object) -> None:
    """The kernel's lists have what is attached now."""
    now = left_of()
    assert now.programs >= now.programs & bpf_ids("prog")
    assert now.programs
    assert now.maps
    assert dataclasses.astuple(now)[0] > 10
