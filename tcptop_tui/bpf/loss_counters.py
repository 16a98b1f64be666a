"""What has not been delivered, by cause: the kernel side's counters and what comparisons have shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.bpf import program
from tcptop_tui.bpf.program import Program
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.stream.batches import Loss


def read_loss(tracer: Program, joiner: Joiner) -> Loss:
    """So far."""
    # first what is skipped: what is caught meanwhile would look as if nobody had
    skipped = tracer.recursion_misses()
    counters: NDArray[np.uint64] = tracer.counters.read()
    caught = int(counters[program.CAUGHT])
    # no entry and never met: with a full map that says nothing
    unseen = 0 if counters[program.MAP_FULL] else joiner.differences.unseen_transitions
    return Loss(
        ring_full=int(counters[program.RING_FULL]),
        sessions_ring_full=int(counters[program.ENDED_RING_FULL]),
        map_full=int(counters[program.MAP_FULL]),
        # what the kernel counts shows again as a gap where the socket moves on: not to be counted twice
        skipped=max(0, skipped - caught, int(counters[program.UNSEEN]) + unseen),
        caught=caught,
        missed=joiner.differences.missed,
        mended=joiner.differences.mended,
    )
