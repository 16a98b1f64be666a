"""A connection's life as one line: a part for each state, as long as it lasted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rich.style import Style
from rich.text import Text

from tcptop_tui import formats
from tcptop_tui.records import UNKNOWN_NS, Rows

Span = tuple[int, int | None]
"""A state's number, and how long it lasted, ns; None: not known."""


def state_spans(row: np.void, history: Rows, now_ns: int) -> list[Span]:
    """The states one after the other; the present one is still going on.

    Args:
        row: the connection, dtype ROW.
        history: its transitions, oldest first, dtype TRANSITION.
        now_ns: 0: it has ended.
    """
    spans: list[Span] = [
        (int(move["oldstate"]), None if move["time_in_state_ns"] == UNKNOWN_NS else int(move["time_in_state_ns"]))
        for move in history
    ]
    if now_ns:
        began_ns = int(row["state_ns"])
        spans.append((int(row["state"]), max(0, now_ns - began_ns) if began_ns else None))
    return spans


def timeline(spans: list[Span], cells: int, style: Callable[[int], Style]) -> Text:
    """A bar of ``cells``, to scale but for a cell that each state has at least; below it what is what."""
    drawn = Text.assemble(("\nLife\n", "bold"))
    if not spans:
        return drawn.append("no transition of it was seen\n")
    widths = _widths([span for _, span in spans[-cells:]], cells)
    for index, ((state, span), width) in enumerate(zip(spans[-cells:], widths, strict=True)):
        # two kinds of block: where there are no colours the states must still be seen apart
        drawn.append(("?" if span is None else "█▓"[index % 2]) * width, style(state))
    drawn.append("\n")
    for index, (state, span) in enumerate(spans):
        told = formats.UNKNOWN if span is None else formats.duration_ns(span)
        drawn.append(" → " if index else "").append(formats.state_name(state), style(state)).append(f" {told}")
    return drawn.append("\n")


def _widths(lasted: list[int | None], cells: int) -> list[int]:
    """A cell for each, the rest in proportion; what is not known gets its cell only."""
    spare = max(0, cells - len(lasted))
    total = sum(span or 0 for span in lasted)
    return [1 + (spare * (span or 0) // total if total else 0) for span in lasted]
