"""The shape of a snapshot: typed structures with stable names. Unknown is null, never 0."""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 1


class Holder(msgspec.Struct, frozen=True):
    """A process that has a socket open."""

    pid: int
    comm: str | None


class Connection(msgspec.Struct, frozen=True):
    """One row of the table. ``comm`` is cleaned of what a terminal would obey; ``user`` is uid's login name.

    ``holders`` are all processes that have it open, ``pid`` among them; empty when it has been closed by its process,
    or not been accepted yet; null while nobody has looked.
    """

    pid: int | None
    comm: str | None
    uid: int | None
    user: str | None
    netns: int | None
    ip: int
    laddr: str
    lport: int | None
    raddr: str
    rport: int | None
    state: str
    state_age_s: float | None
    age_s: float | None
    tx_bytes: int | None
    rx_bytes: int | None
    tx_bytes_per_s: float | None
    rx_bytes_per_s: float | None
    srtt_us: int | None
    retrans: int | None
    netns_name: str | None
    cgroup: str | None
    opened: str | None
    retrans_in: dict[str, int]
    dev: str | None
    ifindex: int | None
    holders: list[Holder] | None


class Transition(msgspec.Struct, frozen=True):
    """One change of state; ``ms`` were spent in the old one. ``skaddr`` is in hexadecimal, without 0x."""

    time: str
    skaddr: str | None
    pid: int | None
    comm: str | None
    uid: int | None
    netns: int | None
    ip: int
    laddr: str
    lport: int | None
    raddr: str
    rport: int | None
    oldstate: str
    newstate: str
    ms: float | None
    tx_bytes: int | None
    rx_bytes: int | None
    delayed: bool
    polled: bool
    cgroup: str | None
    why: str | None
    reset_in: str | None
    dev: str | None
    ifindex: int | None


class Session(msgspec.Struct, frozen=True):
    """A connection that has ended; ``ms`` from its first SYN on, ``handshake_ms`` until ESTABLISHED."""

    time: str
    skaddr: str | None
    pid: int | None
    comm: str | None
    uid: int | None
    netns: int | None
    ip: int
    laddr: str
    lport: int | None
    raddr: str
    rport: int | None
    tx_bytes: int | None
    rx_bytes: int | None
    ms: float | None
    handshake_ms: float | None
    rtt_avg_us: float | None
    retrans: int | None
    retrans_in: dict[str, int]
    opened: str | None
    cgroup: str | None
    why: str | None
    reset_in: str | None
    dev: str | None
    ifindex: int | None


class Bucket(msgspec.Struct, frozen=True):
    """``low`` to ``high``, both included; the last one has no ``high``."""

    low: int
    high: int | None
    count: int


class Rtt(msgspec.Struct, frozen=True):
    """Round-trip times of the connections that match; percentiles interpolated in their bucket."""

    unit: str
    count: int
    avg: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    buckets: list[Bucket]


class LossCounts(msgspec.Struct, frozen=True):
    """What did not reach the snapshot, or only late; see source.batches.Loss."""

    lost: int
    ring_full: int
    sessions_ring_full: int
    map_full: int
    skipped: int
    caught: int
    missed: int
    mended: int


class Meta(msgspec.Struct, frozen=True):
    """Where and when, through which filter, and of which time.

    From ``since`` on (the first table, or when the user has cleared what was) everything was counted, round-trip times
    and losses too; ``transitions`` and ``sessions`` are all from their own ``..._since`` on. What happened in the last
    ``behind_s`` seconds was not read yet. Times are UTC, null before the first table.
    """

    tool: str
    version: str
    time: str
    host: str
    kernel: str
    backend: str
    backend_note: str
    filter: str
    hidden: str
    connections_total: int
    connections_shown: int
    since: str | None
    transitions_since: str | None
    sessions_since: str | None
    behind_s: int


class Destination(msgspec.Struct, frozen=True):
    """connect() calls to one remote end; ``avg_ms`` is how long those took that connected.

    A link-local address is another host's on each link: ``ifindex`` is the device's number, else null.
    """

    raddr: str
    ifindex: int | None
    rport: int | None
    connects: int
    failed: int
    waiting: int
    avg_ms: float | None


class Connects(msgspec.Struct, frozen=True):
    """What came of connect() calls that sent a SYN; those that match, where there is a filter.

    ``failed`` counts from ``failed_since`` on, all others from ``connected_since`` on; a filter chooses from what is
    kept, so that these may differ then. ``waiting`` is of the moment. ``beyond`` of ``connects`` went to destinations
    that there was no room for.
    """

    connects: int
    failed: int
    waiting: int
    connected_since: str | None
    failed_since: str | None
    beyond: int
    destinations: list[Destination]


class Alert(msgspec.Struct, frozen=True):
    """Something that is wrong on the host, whatever the filter; ``filter`` is the one that shows it."""

    text: str
    filter: str
    severe: bool


class Document(msgspec.Struct, frozen=True):
    """A snapshot."""

    schema_version: int
    meta: Meta
    loss: LossCounts
    rtt: Rtt
    connections: list[Connection]
    transitions: list[Transition]
    sessions: list[Session]
    connects: Connects
    alerts: list[Alert]
