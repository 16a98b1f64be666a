"""Notes of a stream on standard error: what happened meanwhile, and at its end what was written and lost."""

from __future__ import annotations

import os
import select
import sys

from tcptop_tui.safe_text import clean
from tcptop_tui.stream.batches import Loss


def summary(written: int, seconds: float, lost: int, loss: Loss, unwritten: int = 0) -> str:
    """``312 lines in 12.3 s; lost 0, map full 0, missed 0``.

    Args:
        written: lines.
        seconds: how long the stream went on.
        lost: events that would have been lines, including those that are ``unwritten``.
        loss: all counts.
        unwritten: events that reached this process too late to be written.
    """
    lines = f"{written:,} line{'' if written == 1 else 's'} in {seconds:.1f} s"
    of_them = f" ({unwritten:,} not written before the end)" if unwritten else ""
    return f"{lines}; lost {lost:,}{of_them}, map full {loss.map_full:,}, missed {loss.missed:,}"


def print_note(message: str) -> None:
    """Write a line for the user; lines of the stream that are before it are flushed first."""
    sys.stdout.flush()
    sys.stderr.write(f"tcptop-tui: {clean(message)}\n")
    sys.stderr.flush()


def print_note_nonblocking(message: str) -> None:
    """As ``print_note``, but neither blocks nor takes a lock: for a thread that ends a stuck process."""
    if select.select([], [2], [], 0)[1]:
        os.write(2, f"tcptop-tui: {message}\n".encode())
