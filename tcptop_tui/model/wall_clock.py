"""The time of day of what happened: by the clock as it was then."""

from __future__ import annotations

from dataclasses import dataclass, replace

_STEP_NS = 500_000_000
"""Clocks are slewed by less between two tables, and a busy machine reads the two clocks not that far apart."""
_MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class WallClock:
    """From CLOCK_MONOTONIC to UTC.

    The two part when somebody sets the clock, and when the host is suspended: what happened before
    keeps the time that it had.
    """

    now_ns: int = 0
    offset_ns: int = 0
    earlier: tuple[tuple[int, int], ...] = ()
    """Until when another offset held, and which; oldest first."""

    def with_reading(self, now_ns: int, utc_ns: int) -> WallClock:
        """With both clocks read once more."""
        offset_ns = utc_ns - now_ns
        if self.now_ns and abs(offset_ns - self.offset_ns) > _STEP_NS:
            before = (*self.earlier, (self.now_ns, self.offset_ns))[-_MOST_STEPS:]
            return WallClock(now_ns, offset_ns, before)
        return replace(self, now_ns=now_ns, offset_ns=offset_ns)

    def utc_ns(self, ts_ns: int) -> int:
        """Of a time by CLOCK_MONOTONIC."""
        offset_ns = next((held_ns for until_ns, held_ns in self.earlier if ts_ns <= until_ns), self.offset_ns)
        return ts_ns + offset_ns
