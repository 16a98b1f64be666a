"""What a transition costs in the kernel, against an empty program on the same transitions: ratios, no times.

The short form of ``make bench``. Nothing here is near its limit: it is there for what makes it half as dear again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcptop_tui.bpf.load.compiler_client import CompileRequest, LoadedPrograms
from tcptop_tui.bpf.program import Program
from tcptop_tui.stream.batches import Capture
from tests.support.other_tools import tcpstates
from tests.support.tracer import SMALL, require_bpf

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from churn import churn
from hooks import EMPTY, Runs, counting_runs, runs_of, since
from measure import cost_of

pytestmark = pytest.mark.host

_MOST_EMPTY = 15.5
"""Times an empty program's; measured 9.6 to 11."""
_LEAST_TCPSTATES = 6
"""tcpstates' against ours; measured 18 to 35."""
_ROUNDS = 6


@pytest.fixture
def counting(bpf_possible: None) -> Iterator[None]:
    """The kernel counts what programs cost, for as long as this is open."""
    descriptor = counting_runs()
    yield
    os.close(descriptor)


@pytest.fixture
def programs(counting: None) -> Iterator[tuple[Program, dict[str, int]]]:
    """Ours, and one that does nothing, at the same transitions."""
    empty = LoadedPrograms(CompileRequest(EMPTY, [], ["empty"]))
    empty.attach("empty", "inet_sock_set_state")
    tracer = require_bpf(SMALL)
    tracer.attach(Capture())
    yield tracer, {**tracer._compiled.functions, "empty": empty.functions["empty"]}
    tracer.close()
    empty.close()


def churned(tracer: Program, programs: dict[str, int], connections: int) -> Runs:
    """What connections cost, that fit the rings."""
    before = runs_of(programs)
    churn(connections)
    after = runs_of(programs)
    tracer.transitions.read()
    tracer.ended.read()
    return since(before, after)


def a_transition(runs: Runs) -> float:
    """Nanoseconds, of all our programs."""
    return sum(took_ns for name, (took_ns, _) in runs.items() if name != "empty") / runs["empty"][1]


def test_a_transition_costs_so_many_empty_programs(programs: tuple[Program, dict[str, int]]) -> None:
    """The best of some rounds: another process can make one dearer, and none cheaper."""
    churned(*programs, 500)
    rounds = [churned(*programs, 800) for _ in range(_ROUNDS)]
    ratios = [a_transition(runs) / (runs["empty"][0] / runs["empty"][1]) for runs in rounds]
    assert min(ratios) < _MOST_EMPTY, ratios


def test_a_transition_costs_a_fraction_of_tcpstates(programs: tuple[Program, dict[str, int]], tmp_path: Path) -> None:
    ratios = []
    with tcpstates(tmp_path) as peer:
        for _ in range(_ROUNDS):
            before_ns = cost_of(peer.process.pid).kernel_ns
            runs = churned(*programs, 80)  # as many lines as its pipe has room for
            its_ns = (cost_of(peer.process.pid).kernel_ns - before_ns) / runs["empty"][1]
            ratios.append(its_ns / a_transition(runs))
            peer._until_seen()
    assert max(ratios) > _LEAST_TCPSTATES, ratios
