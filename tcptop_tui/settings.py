"""Every number that a user may want to change, with its limits."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILTER_CHARS = 1_000
"""Of a filter or a search, typed, saved or given on the command line."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Bounds and periods; nothing in the program grows past these."""

    refresh_s: float = 0.5
    """Between two readings of the connection table, and two repaints."""
    poll_s: float = 0.1
    """Between two readings of the rings; Textual waits this long for the thread at the end."""
    reconcile_s: float = 2.0
    """Between two comparisons with sock_diag; longer where one takes long."""
    log_rows: int = 10_000
    """Transitions that the log keeps."""
    connect_rows: int = 10_000
    """Outcomes of connect() that are kept, of those that failed and of the others."""
    session_rows: int = 20_000
    """Ended connections whose histograms can still be filtered."""
    heat_rows: int = 60_000
    """What the map of round-trip times keeps by connection, so that a filter can choose from it: 17 bytes each."""
    trend_rows: int = 300_000
    """RTT and rates of the last minute: 20 bytes a connection and second; with many the past is shorter."""
    ping_rows: int = 10_000
    """ICMP echo requests that are kept."""
    max_connections: int = 0
    """That the kernel side may follow; 0: what fits this host (``bpf/capacity.py``)."""
    block_slots: int = 16_384
    """Of its memory for connections, so many are made at a time; a power of two."""
    max_namespaces: int = 512
    """Network namespaces whose sockets are read from sock_diag: a descriptor each."""
    ring_bytes: int = 16 * 2**20
    """The transitions ring, a power of two: 120,000 of them."""
    session_ring_bytes: int = 8 * 2**20
    queue_batches: int = 64
    """Batches between the worker thread and the event loop."""
    queue_bytes: int = 16 * 2**20
    """What they may have together: a batch is as large as what the rings held, up to 16 MiB."""
    linger_s: float = 5.0
    """How long a connection that has ended stays in the table; 0: not at all."""
    linger_rows: int = 1_000
    """How many of those there are at most, the latest."""
    readonly: bool = False
    """Nothing on this host can be changed from here: no socket is closed."""
