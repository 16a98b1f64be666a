"""The wall clock: the time of day at which something happened, as the clock showed it then."""

from __future__ import annotations

from dataclasses import dataclass, replace

_MIN_STEP_NS = 500_000_000
"""A smaller change of the offset is no step: clocks are slewed, and a busy machine reads the two not at once."""
_MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class WallClock:
    """Translates CLOCK_MONOTONIC to UTC. Immutable.

    The offset between the two changes when somebody sets the clock, and when the host is suspended. What happened
    before such a step keeps the time of day that it had.
    """

    now_ns: int = 0
    """CLOCK_MONOTONIC of the latest reading; 0: there was none."""
    offset_ns: int = 0
    """UTC less CLOCK_MONOTONIC at the latest reading."""
    earlier_offsets: tuple[tuple[int, int], ...] = ()
    """Offsets before the latest step: until when (CLOCK_MONOTONIC), and which. Oldest first."""

    def with_reading(self, now_ns: int, utc_ns: int) -> WallClock:
        """The same with one more reading of both clocks."""
        offset_ns = utc_ns - now_ns
        if self.now_ns and abs(offset_ns - self.offset_ns) > _MIN_STEP_NS:
            earlier_offsets = (*self.earlier_offsets, (self.now_ns, self.offset_ns))[-_MAX_STEPS:]
            return WallClock(now_ns, offset_ns, earlier_offsets)
        return replace(self, now_ns=now_ns, offset_ns=offset_ns)

    def utc_ns(self, ts_ns: int) -> int:
        """UTC of a time by CLOCK_MONOTONIC."""
        offsets = (offset_ns for until_ns, offset_ns in self.earlier_offsets if ts_ns <= until_ns)
        return ts_ns + next(offsets, self.offset_ns)
