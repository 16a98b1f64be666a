"""What every source emits: batches, and the interface that they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np

from tcptop_tui.records import HOLDING, Rows
from tcptop_tui.settings import Settings
from tcptop_tui.stream.histograms import NO_HISTOGRAMS, HistogramStore
from tcptop_tui.stream.socket_details import NO_DETAILS


@dataclass(frozen=True, slots=True)
class Transitions:
    """Changes of state in the order they were recorded; ``rows`` has dtype TRANSITION."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class EndedConnections:
    """Connections that ended; ``rows`` has dtype ENDED."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class LateEndings:
    """What was not known yet when the ``EndedConnections`` before came; ``rows`` has dtype LATE_ENDING."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Table:
    """Every connection of the host at one moment; ``rows`` has dtype ROW, sorted by ``id``."""

    rows: Rows
    now_ns: int
    """CLOCK_MONOTONIC when it was read."""
    utc_ns: int
    """The wall clock of the same moment."""
    hists: HistogramStore = NO_HISTOGRAMS
    """Round-trip times, by ``hist`` of the rows."""
    holders: Rows = field(default_factory=lambda: np.zeros(0, HOLDING))
    """dtype HOLDING, sorted by ``id`` and PID: all processes that have a socket open, of those that several have."""
    details: Rows = field(default_factory=lambda: NO_DETAILS)
    """dtype SOCKET_DETAIL, sorted by ``id``; empty while nobody wants them (``Source.want_details``)."""
    events_ns: int = 0
    """Transitions and ended connections from before this have been offered; later ones wait in the kernel's rings or in
    the worker. 0: none waits."""


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
    """Transitions that the kernel gave to neither program: those that it counts (recursion), or at least
    as many as lie between the states in which a socket was met."""
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
    stage: str = ""
    """What is done before the first table, and how far it is: ``reading sockets: 31,000 so far``."""


def reading_stage(sockets: int) -> str:
    """The ``Status.stage`` of a first dump that has read so many sockets."""
    return f"reading sockets: {sockets:,} so far" if sockets else "reading sockets"


@dataclass(frozen=True, slots=True)
class Names:
    """What numbers in the rows are called; a new one replaces the one before."""

    netns: Mapping[int, str] = field(default_factory=dict)
    """Network namespaces by inode number: ``ip netns`` name or container, where there is one."""
    cgroups: Mapping[int, str] = field(default_factory=dict)
    """Paths of cgroups (v2) by id, from the hierarchy's root, as /proc/PID/cgroup has them."""
    devices: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    """Network devices that sockets are bound to: by inode number of their network namespace, then by their own."""

    def device(self, netns: int, dev: int) -> str:
        """Name of a device, as it was given: harmless or not; its number where no name is known, empty for 0."""
        return self.devices.get(netns, {}).get(dev, str(dev)) if dev else ""


@dataclass(frozen=True, slots=True)
class Pings:
    """ICMP echo requests as they were answered; ``rows`` has dtype PING."""

    rows: Rows
    lost: int = 0
    """Those that the ring had no room for, since the probe was attached."""


Batch: TypeAlias = Transitions | EndedConnections | LateEndings | Table | Loss | Status | Names | Pings


MAX_CAPTURE_KEYS = 1024
"""PIDs, and cgroups, that a capture filter has room for in the kernel: ``pids`` and ``cgroups`` of bpf/c/records.c."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What to look at all; a source drops the rest as early as it can. Empty: everything."""

    lports: frozenset[int] = field(default_factory=frozenset)
    rports: frozenset[int] = field(default_factory=frozenset)
    pids: frozenset[int] = field(default_factory=frozenset)
    ip: int = 0
    """4, 6 or 0 for both."""
    cgroups: frozenset[int] = field(default_factory=frozenset)
    """Ids of cgroups (v2); everything below them is wanted too."""
    cgroup_map_path: str = ""
    """Path of a pinned BPF map with cgroup ids as keys, as bcc's ``--cgroupmap`` takes it."""
    mntns_map_path: str = ""
    """Path of a pinned BPF map with inode numbers of mount namespaces, as bcc's ``--mntnsmap``."""
    connects: bool = False
    """Log connects that fail before a SYN is sent, too, as transitions from CLOSE to CLOSE."""
    context: bool = False
    """Keep the name of whoever was on the CPU at each transition."""
    rtt_unit_us: int = 1
    """What the slots of the RTT histograms count in: 1, or 1000 for milliseconds."""

    @property
    def needs_bpf(self) -> bool:
        """Whether sock_diag cannot choose what is wanted: it would show everything."""
        return bool(self.cgroup_map_path or self.mntns_map_path)


class Sink(Protocol):
    """Where a source's thread puts its batches."""

    def offer(self, batch: Batch) -> bool:
        """Take a batch, or return False at once when the reader is too far behind."""
        ...


class Source(Protocol):
    """A supplier of batches that runs in a thread of its own; what only some can do, the others leave as it is here."""

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

    def set_capture(self, capture: Capture) -> None:
        """From any thread: look at something else from now on."""
        del capture

    def set_refresh(self, settings: Settings) -> None:
        """From any thread: other periods from now on, sizes stay; a recording has its own pace."""
        del settings

    def want_details(self, *, wanted: bool) -> None:
        """From any thread: have ``Table.details``, or do without; a recording has what was recorded."""
        del wanted

    def before_narrowing(self) -> None:
        """Get what needs capabilities that the process, which has no other thread yet, is about to give up."""
        return

    def close(self) -> None:
        """Release everything; may be called twice, and without ``open``."""
        ...
