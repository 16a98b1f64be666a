"""The shape of a snapshot: typed structures with stable names. Unknown is null, never 0."""

from __future__ import annotations

from inspect import cleandoc
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from tcptop_tui.fields import RecordKinds, document_fields

SCHEMA_VERSION = 1


def _row_struct(name: str, records: RecordKinds, doc: str) -> Any:
    """A structure with the fields that documents have of ``records``, and a docstring, which the schema shows."""
    fields = [(field.json, field.type) for field in document_fields(records)]
    return msgspec.defstruct(name, fields, frozen=True, namespace={"__doc__": cleandoc(doc)}, module=__name__)


if TYPE_CHECKING:
    Connection: TypeAlias = Any
    Transition: TypeAlias = Any
    Session: TypeAlias = Any
else:
    Connection = _row_struct(
        "Connection", RecordKinds.TABLE,
        """One row of the table. ``comm`` is cleaned of what a terminal would obey; ``user`` is uid's login name.

        ``holders`` are all processes that have it open, ``pid`` among them; empty when it has been closed by its
        process, or not been accepted yet; null while nobody has looked.
        """,
    )  # fmt: skip
    Transition = _row_struct(
        "Transition", RecordKinds.TRANSITIONS,
        "One change of state; ``ms`` were spent in the old one. ``skaddr`` is in hexadecimal, without 0x.",
    )  # fmt: skip
    Session = _row_struct(
        "Session", RecordKinds.ENDED,
        "A connection that has ended; ``ms`` from its first SYN on, ``handshake_ms`` until ESTABLISHED.",
    )  # fmt: skip


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
