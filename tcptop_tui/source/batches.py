"""What every source emits: batches, and the interface that they have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from tcptop_tui.records import Rows


@dataclass(frozen=True, slots=True)
class Transitions:
    """Changes of state in the order they were recorded; ``rows`` has dtype TRANSITION."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Sessions:
    """Connections that ended; ``rows`` has dtype SESSION."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Table:
    """Every connection of the host at one moment; ``rows`` has dtype ROW, sorted by ``id``."""

    rows: Rows
    now_ns: int
    """CLOCK_MONOTONIC when it was read."""
    utc_ns: int
    """The wall clock of the same moment."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Everything that did not reach the screen, or only late, since the start; all are counts."""

    ring_full: int = 0
    """Transitions lost: the ring to user space was full."""
    sessions_ring_full: int = 0
    """Ended connections lost (their bytes and histogram): the ring was full."""
    map_full: int = 0
    """Connections without gauges: the kernel's map was full."""
    skipped: int = 0
    """Transitions that the kernel did not give to either program (recursion)."""
    caught: int = 0
    """Transitions that the first program missed and the guard recorded: not a loss."""
    missed: int = 0
    """Connections that only the comparison with sock_diag found."""
    mended: int = 0
    """Rows put right by that comparison: missing ones added, left-over ones removed."""

    @property
    def lost(self) -> int:
        """Events that are gone for good."""
        return self.ring_full + self.sessions_ring_full + self.skipped


@dataclass(frozen=True, slots=True)
class Status:
    """What feeds the screen, in words."""

    backend: str
    """``bpf``, ``diag`` or ``replay``."""
    note: str = ""
    """Why it is not the best one, and what would help; one line."""
    ended: bool = False
    """Nothing more will come; ``note`` says why."""


Batch: TypeAlias = Transitions | Sessions | Table | Loss | Status


@dataclass(frozen=True, slots=True)
class Capture:
    """What to look at all; a source drops the rest as early as it can. Empty: everything."""

    lports: frozenset[int] = field(default_factory=frozenset)
    rports: frozenset[int] = field(default_factory=frozenset)
    pids: frozenset[int] = field(default_factory=frozenset)
    ip: int = 0
    """4, 6 or 0 for both."""


class Sink(Protocol):
    """Where a source's thread puts its batches."""

    def offer(self, batch: Batch) -> bool:
        """Take a batch, or return False at once when the reader is too far behind."""
        ...


class Source(Protocol):
    """A supplier of batches that runs in a thread of its own."""

    backend: str

    def open(self) -> None:
        """Get ready: compile, attach, open sockets.

        Raises:
            BackendUnavailable: it cannot work on this host.
        """
        ...

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped(seconds)``, which waits and answers, says so."""
        ...

    def close(self) -> None:
        """Release everything; may be called twice, and without ``open``."""
        ...
