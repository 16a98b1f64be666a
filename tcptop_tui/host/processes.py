"""Facts about one process, as the connection's page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_MOST_CHARS = 2000


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Texts are as the process or its user wrote them, and must be cleaned before they are shown."""

    command: str = ""
    user: str = ""
    started_s: float = 0.0
    """UTC; 0: not known."""
    cpu_s: float = 0.0
    memory_bytes: int = 0
    """Resident."""
    descriptors: int = -1
    """Open ones; -1: not allowed to look."""
    descriptor_limit: int = -1


def process_facts(pid: int) -> ProcessFacts | None:
    """Facts about a running process; None: it has ended, or this user may know nothing of it."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            command = " ".join(process.cmdline()) or f"[{process.name()}]"
            times, memory = process.cpu_times(), process.memory_info().rss
            user, started_s = process.username(), process.create_time()
    except (psutil.Error, OSError):
        return None
    try:
        descriptors = process.num_fds()
    except psutil.Error:
        descriptors = -1
    limit = _descriptor_limit(pid)
    cpu_s = times.user + times.system
    return ProcessFacts(command[:_MOST_CHARS], user, started_s, cpu_s, memory, descriptors, limit)


def _descriptor_limit(pid: int) -> int:
    """The soft one. From /proc, which everybody may read: prlimit(2) wants CAP_SYS_RESOURCE even for that."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii", errors="replace")
    except OSError:
        return -1
    value = limits.partition("Max open files")[2].split(maxsplit=1)[:1]
    return int(value[0]) if value and value[0].isdigit() else -1


@dataclass(frozen=True, slots=True)
class SocketAnswer:
    """What the host answers about one connection, for its page."""

    tcp_info: Mapping[str, int | str] = field(default_factory=dict)
    """As ``diag.tcp_info`` gives it."""
    process: ProcessFacts | None = None
