"""What a stream says beside its lines, on standard error."""

from __future__ import annotations

import os
import select
import sys

from tcptop_tui.safe_text import clean
from tcptop_tui.stream.batches import Loss


def summary(written: int, seconds: float, lost: int, loss: Loss, unwritten: int = 0) -> str:
    """``312 lines in 12.3 s; lost 0, map full 0, missed 0``; ``unwritten`` are among the lost ones."""
    lines = f"{written:,} line{'' if written == 1 else 's'} in {seconds:.1f} s"
    of_them = f" ({unwritten:,} not written before the end)" if unwritten else ""
    return f"{lines}; lost {lost:,}{of_them}, map full {loss.map_full:,}, missed {loss.missed:,}"


def print_note(message: str) -> None:
    """A line to the user, beside the stream."""
    sys.stdout.flush()
    sys.stderr.write(f"tcptop-tui: {clean(message)}\n")
    sys.stderr.flush()


def print_note_nonblocking(message: str) -> None:
    """As ``say``, without waiting, without locks."""
    if select.select([], [2], [], 0)[1]:
        os.write(2, f"tcptop-tui: {message}\n".encode())
