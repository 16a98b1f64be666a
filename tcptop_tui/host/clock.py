"""The clock that the kernel programs read: CLOCK_MONOTONIC as the host has it."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

_OFFSETS = Path("/proc/self/timens_offsets")


def monotonic_ns() -> int:
    """Comparable with ``bpf_ktime_get_ns()``, also in a time namespace: those shift our clock and not the kernel's.

    It stands still while the host is suspended, as TCP's own timers do: ages are times awake.
    """
    return time.monotonic_ns() - _namespace_offset_ns("monotonic")


def boottime_offset_ticks() -> int:
    """What /proc/PID/stat adds to the start of a process for a reader in this time namespace, in ticks of 10 ms."""
    return _namespace_offset_ns("boottime") // 10_000_000


@lru_cache(maxsize=2)
def _namespace_offset_ns(clock: str) -> int:
    """What this process's time namespace adds; 0 in the first one (time_namespaces(7)). It cannot change."""
    try:
        lines = _OFFSETS.read_text().splitlines()
    except OSError:  # a kernel without time namespaces
        return 0
    return sum(int(line.split()[1]) * 10**9 + int(line.split()[2]) for line in lines if line.startswith(f"{clock} "))
