"""How many connections the kernel side can follow on this host, and the memory that it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tcptop_tui.bpf.maps import possible_cpus
from tcptop_tui.host.kernel import kernel_version
from tcptop_tui.records import CONN
from tcptop_tui.settings import Settings

_ON_DEMAND_SINCE = (6, 1)
"""From here on a hash has an allocator that tracing programs may use (kernel/bpf/memalloc.c)."""

_MIN_CONNECTIONS = 65_536
_MAX_CONNECTIONS = 1 << 20
"""By default; a host that has more sockets at the start gets twice as many as it has."""
_MEMORY_SHARE = 1 / 16
"""Of all memory, that a full map may take by default."""
_MAX_MEMORY_SHARE = 1 / 4
"""The same on a host that has that many sockets."""

CHUNK = 64
"""Slots that the kernel side opens at once; ``c/records.c``."""
_SPARE_BLOCKS = 1.5
"""At least, so many that nothing was opened of: new connections of two polls."""
_SPARE_SHARE = 0.5
"""Or, of what is in use."""

SLOT_BYTES = 16 + CONN.itemsize
"""``struct slot``; taken with its block."""
_ENTRY_BYTES, _LAZY_ENTRY_BYTES = 64, 112
"""Of the hash: ``struct htab_elem``, key and value; as measured where each is allocated by itself."""
_RESERVED_BYTES = 16 + 4
"""Whatever is in use: a bucket of the hash, and a number that waits in ``free_slots``."""


@dataclass(frozen=True, slots=True)
class HostSize:
    """What decides it."""

    sockets: int
    """TCP sockets of all network namespaces, TIME_WAIT apart."""
    memory_bytes: int
    allocates_on_demand: bool
    """A hash takes memory entry by entry."""

    @classmethod
    def from_this_host(cls) -> HostSize:
        """The one that this runs on."""
        return cls(count_sockets(), meminfo_bytes("MemTotal"), kernel_version() >= _ON_DEMAND_SINCE)


@dataclass(frozen=True, slots=True)
class Capacity:
    """Connections that the kernel side can follow."""

    limit: int
    block_slots: int
    """Slots are made so many at a time; a power of two."""
    allocates_on_demand: bool
    """See ``HostSize``; else all of the hash's entries are there from the start."""

    @classmethod
    def from_settings(cls, settings: Settings, host: HostSize) -> Capacity:
        """As many as were asked for; else what fits ``host``.

        Where all entries of the hash are there from the start it is sized for the sockets that there are, four times.
        """
        limit = settings.max_connections or _limit_for(host)
        block_slots = max(CHUNK, min(settings.block_slots, _power_of_two(limit)))
        return cls(limit, block_slots, host.allocates_on_demand)

    def memory_bytes(self, connections: int) -> int:
        """What the maps take when so many are followed, with what is spare; the kernel may round up."""
        slots = -(-target_slots(connections, self.block_slots, self.limit) // self.block_slots) * self.block_slots
        entries = connections * _LAZY_ENTRY_BYTES if self.allocates_on_demand else self.limit * _ENTRY_BYTES
        return slots * SLOT_BYTES + entries + _power_of_two(self.limit) * _RESERVED_BYTES


def most_slots(limit: int) -> int:
    """That there may be for ``limit`` connections: each CPU may keep one to itself (``c/slots.c``); in whole chunks."""
    return -(-(limit + possible_cpus()) // CHUNK) * CHUNK


def target_slots(used: int, block_slots: int, most: int) -> int:
    """How many there shall be when so many are in use: the rest is for what comes until somebody looks again."""
    return min(most, used + int(max(_SPARE_BLOCKS * block_slots, used * _SPARE_SHARE)))


def _limit_for(host: HostSize) -> int:
    each = SLOT_BYTES + _LAZY_ENTRY_BYTES + _RESERVED_BYTES
    usual = _MAX_CONNECTIONS if host.allocates_on_demand else max(_MIN_CONNECTIONS, _power_of_two(4 * host.sockets))
    permitted = max(_MIN_CONNECTIONS, _power_of_two(int(host.memory_bytes * _MEMORY_SHARE / each) // 2 + 1))
    needed = min(
        _power_of_two(2 * host.sockets), _power_of_two(int(host.memory_bytes * _MAX_MEMORY_SHARE / each) // 2 + 1)
    )
    return max(min(usual, permitted), needed)


def _power_of_two(number: int) -> int:
    """The least that is not less than ``number``."""
    return 1 << max(0, number - 1).bit_length()


def count_sockets() -> int:
    """TCP sockets of all network namespaces, TIME_WAIT apart: ``alloc`` counts the whole host's.

    See sockstat_seq_show, net/ipv4/proc.c. 0 where the kernel does not tell.
    """
    try:
        told = re.search(r"^TCP:.* alloc (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(told[1]) if told else 0


def meminfo_bytes(kind: str) -> int:
    """A line of /proc/meminfo, e.g. ``MemAvailable``, in bytes; 0 where it is not there."""
    told = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(told[1]) * 1024 if told else 0
