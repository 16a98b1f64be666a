"""Since when, and of which time, the numbers of a snapshot count, in words for titles."""

from __future__ import annotations

from tcptop_tui import formats
from tcptop_tui.model.snapshot import Snapshot


def start_text(snapshot: Snapshot) -> str:
    """When the first table was read, from which on everything is counted: ``15:42``, of an earlier day its date."""
    return formats.clock_or_date(snapshot.wall_clock.utc_ns(snapshot.first_ns), snapshot.utc_ns)


def span_text(snapshot: Snapshot, since_ns: int) -> str:
    """``since 15:42`` for all that is counted, ``of the last 3.2s`` where less than that is stored."""
    if since_ns > snapshot.counted_ns:
        return f"of the last {formats.duration_ns(snapshot.now_ns - since_ns)}"
    return f"since {formats.clock_or_date(snapshot.wall_clock.utc_ns(since_ns), snapshot.utc_ns)}"
