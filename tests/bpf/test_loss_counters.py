"""What is counted while it is read is not taken for a loss."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tcptop_tui.bpf import program
from tcptop_tui.bpf.loss_counters import read_loss
from tcptop_tui.reconcile.joiner import Joiner

pytestmark = pytest.mark.host


class Busy:
    """The kernel skips a program and catches that, again and again: between any two readings as well."""

    def __init__(self) -> None:
        self._caught = 0

    def read(self) -> NDArray[np.uint64]:
        self._caught += 1
        counters = np.zeros(program.UNSEEN + 1, np.uint64)
        counters[program.CAUGHT] = self._caught
        return counters

    @property
    def counters(self) -> Busy:
        return self

    def recursion_misses(self) -> int:
        self._caught += 1
        return self._caught


def test_caught_while_it_is_read() -> None:
    assert read_loss(Busy(), Joiner()).lost == 0  # type: ignore[arg-type]
