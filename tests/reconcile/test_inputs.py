"""When sock_diag is asked, and which owners are looked for."""

from __future__ import annotations

import numpy as np
import pytest

from tcptop_tui.diag.namespaces import Namespaces
from tcptop_tui.host.socket_owners import OwnerFinder
from tcptop_tui.reconcile.inputs import InputReader, Schedule
from tcptop_tui.stream.batches import Capture
from tests.support.sockets import listening, port
from tests.support.tracer import SMALL, require_bpf

pytestmark = pytest.mark.host

PERIOD_S = 2.0


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def due_after(pace: Schedule, clock: Clock) -> float:
    """Seconds until it is, in steps of 1/8."""
    began_s = clock.now_s
    while not pace.is_due(PERIOD_S):
        clock.now_s += 0.125
    return clock.now_s - began_s


@pytest.mark.parametrize(
    ("moving", "doubts", "cpu_s", "after_s"),
    [
        (True, False, 0.01, 2.0),
        (False, False, 0.01, 6.0),  # nothing happens
        (False, True, 0.01, 0.25),  # another one must say who is right
        (True, False, 0.4, 8.0),  # a twentieth of one core
        (True, True, 0.4, 8.0),
    ],
)
def test_pace(moving: bool, doubts: bool, cpu_s: float, after_s: float) -> None:
    clock = Clock()
    pace = Schedule(clock)
    assert pace.is_due(PERIOD_S)
    pace.started()
    pace.finished(cpu_s, needs_confirmation=doubts)
    pace.has_events = moving
    assert due_after(pace, clock) == after_s


def test_owners_of_what_is_there_at_first_and_of_what_comes(bpf_possible: None) -> None:
    diag, tracer = Namespaces(8), require_bpf(SMALL)
    surveyor = InputReader(diag, tracer.slots, OwnerFinder(tracer.read_holders, 0, clock=lambda: 0))
    try:
        with listening() as first:

            def owner(lport: int) -> int:
                surveyor.start(Capture())
                found = surveyor.result(10)
                assert found is not None
                (mine,) = np.flatnonzero((found.dump.rows["lport"] == lport) & (found.dump.rows["rport"] == 0))
                return int(found.dump.rows["pid"][mine])

            here = owner(port(first))
            assert here != 0
            with listening() as second:
                assert owner(port(second)) == here
    finally:
        surveyor.close()
        tracer.close()
        diag.close()
