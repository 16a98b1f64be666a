"""What can be wrong on a host, a class for each kind. They have values; ``export.alert_text`` makes a line of one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that is wrong, and where to look at it."""

    key: str
    """What the alert is about. It stays the same while the numbers change."""
    filter: str
    """The filter that shows the rows that the alert is about."""
    view: str = "connections"
    """The view that shows them."""
    severe: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseWaitAlert(Alert):
    """A process leaves connections open that their peers have closed."""

    comm: bytes
    """Name of the process; empty: unknown."""
    pid: int
    """0: unknown."""
    count: int
    oldest_age_ns: int | None
    """How long the oldest of them has been in CLOSE_WAIT; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptQueueAlert(Alert):
    """A listener's accept queue is full or nearly so. It is severe when there is no room left."""

    comm: bytes
    port: int
    waiting: int
    """Connections that wait to be accepted."""
    backlog: int
    """How many may wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredAlert(Alert):
    """A remote address does not answer SYNs."""

    raddr: tuple[int, int]
    """High and low word of the address."""
    dev: int
    """The device that the first of the sockets is bound to, as its index; 0: none."""
    count: int
    oldest_age_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedConnectsAlert(Alert):
    """Many connect() calls to one destination have failed."""

    raddr: tuple[int, int]
    dev: int
    port: int
    count: int
    period_s: int
    """They failed within so many seconds."""
    result: int
    """What came of the latest, a ``CloseReason``."""
    err: int
    """The errno of the latest; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowAddressAlert(Alert):
    """The average smoothed RTT of a remote address is far above its usual one."""

    raddr: tuple[int, int]
    dev: int
    average_us: float
    usual_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetransmitAlert(Alert):
    """The host sends far more segments again than usual."""

    per_second: float
    usual_per_second: float
