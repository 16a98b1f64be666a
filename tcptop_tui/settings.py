"""Periods and bounds of a dashboard, a snapshot or a stream.

The config file and options set some of them (``config/schema.py``, ``options/``); tests make the others small.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILTER_CHARS = 1_000
"""Of a filter or a search, typed, saved or given on the command line."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Nothing in the program grows beyond these bounds."""

    refresh_s: float = 0.5
    """Between two readings of the connection table, and two repaints."""
    poll_s: float = 0.1
    """Between two readings of the rings. At the end, Textual waits this long for the source's thread."""
    reconcile_s: float = 2.0
    """Between two reconciliations with sock_diag; longer if one takes long."""
    log_rows: int = 10_000
    """Transitions that the log keeps."""
    connect_rows: int = 10_000
    """Outcomes of connect() that are kept: so many of those that failed, and so many of the others."""
    session_rows: int = 20_000
    """Ended connections that are kept, with their histograms, so that a filter can choose from them."""
    heat_rows: int = 60_000
    """What the heat map keeps by connection, so that a filter can choose from it: 17 bytes each."""
    trend_rows: int = 300_000
    """RTT and rates of the last minute: 20 bytes a connection and second. With many connections the past is shorter."""
    max_connections: int = 0
    """That the kernel side may follow; 0: as many as fit this host (``bpf/capacity.py``)."""
    block_slots: int = 16_384
    """Slots of a slot block; a power of two."""
    max_namespaces: int = 512
    """Network namespaces whose sockets are read from sock_diag: a descriptor each."""
    ring_bytes: int = 16 * 2**20
    """Of the ring for transitions, a power of two: room for 120,000."""
    session_ring_bytes: int = 8 * 2**20
    """Of the ring for ended connections, a power of two."""
    linger_s: float = 5.0
    """How long a connection that has ended stays in the table, as a lingering row; 0: not at all."""
    linger_rows: int = 1_000
    """Lingering rows at the same time; the latest stay."""
    readonly: bool = False
    """Nothing on this host can be changed from here: no connection is closed."""
