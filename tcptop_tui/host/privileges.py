"""Which capabilities a dashboard, a snapshot or a stream needs, with the reasons; and giving up all others."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from tcptop_tui.errors import TcptopError
from tcptop_tui.host import capabilities
from tcptop_tui.host.capabilities import Cap
from tcptop_tui.host.kernel import kernel_version

_MAPS_WITHOUT = (5, 19)
"""From here on the kernel asks for CAP_BPF only where something is made (commit c8644cd0efe7)."""

ALWAYS = (Cap.DAC_READ_SEARCH,)
"""In force in every thread: Python reads modules when they are needed, from a home folder that may be
closed to all but its owner."""
COMPILER = (Cap.BPF, Cap.PERFMON, Cap.DAC_READ_SEARCH)
"""What the compiler's process is lent."""
WORKER = (Cap.BPF, Cap.SYS_PTRACE)
"""In force while a source runs, in its thread."""
WRITER = (Cap.CHOWN, Cap.DAC_OVERRIDE, Cap.FOWNER)
"""In force while a file is made on behalf of whoever called sudo."""


@dataclass(frozen=True, slots=True)
class PrivilegeNeeds:
    """What this process is going to do, as far as capabilities are needed for it."""

    looks: bool = True
    """At this host; a replay does not."""
    programs: Literal["none", "loads", "loaded"] = "none"
    """Kernel programs: ``loads`` while some may still be compiled and attached."""
    closes: bool = False
    """Connections, with F9."""
    writes: bool = False
    """Exports, or a recording."""


@dataclass(frozen=True, slots=True)
class CapabilityReason:
    """Why a capability is kept, and what does not work without it."""

    cap: Cap
    why: str
    without: str
    is_needed: Callable[[PrivilegeNeeds], bool]


def _as_root(work: PrivilegeNeeds) -> bool:
    return work.writes and os.geteuid() == 0


def _maps_need_it() -> bool:
    return kernel_version() < _MAPS_WITHOUT


CAPABILITY_REASONS = (
    CapabilityReason(
        Cap.BPF, "compiles and loads kernel programs", "sock_diag is polled instead",
        lambda work: work.programs == "loads" or (work.programs == "loaded" and _maps_need_it()),
    ),
    CapabilityReason(
        Cap.PERFMON, "lets them read kernel memory at tracepoints", "sock_diag is polled instead",
        lambda work: work.programs == "loads",
    ),
    CapabilityReason(
        Cap.SYS_PTRACE, "sees sockets and namespaces of all processes",
        "other users' connections from before the start have no PID; other network namespaces are not found",
        lambda work: work.looks,
    ),
    CapabilityReason(
        Cap.DAC_READ_SEARCH, "lists /proc/PID/fd of other users, reads its own files in a closed home",
        "other users' connections from before the start have no PID",
        lambda work: work.looks or os.geteuid() == 0,
    ),
    CapabilityReason(
        Cap.SYS_ADMIN, "enters other network namespaces for sock_diag, in force only for that",
        "in other network namespaces only connections that change are seen",
        lambda work: work.looks,
    ),
    CapabilityReason(
        Cap.NET_ADMIN, "F9 closes a connection, in force only for that; not with --readonly",
        "F9 cannot close connections",
        lambda work: work.closes,
    ),
    CapabilityReason(
        Cap.CHOWN, "gives an export to the user who called sudo", "nothing can be exported under sudo", _as_root
    ),
    CapabilityReason(
        Cap.DAC_OVERRIDE, "exports into that user's folders", "exports work only in root's folders", _as_root
    ),
    CapabilityReason(Cap.FOWNER, "exports into that user's sticky folders", "exports into these fail", _as_root),
)  # fmt: skip


DASHBOARD = PrivilegeNeeds(programs="loads", closes=True, writes=True)
"""What may be done in it without ``--readonly`` and ``--backend diag``."""
STREAM = PrivilegeNeeds(programs="loaded")
"""``trace``, and ``snapshot`` to standard output, once they are attached."""


def needed_capabilities(work: PrivilegeNeeds) -> frozenset[Cap]:
    """The capabilities that ``work`` needs."""
    return frozenset(need.cap for need in CAPABILITY_REASONS if need.is_needed(work))


def lift_memlock_limit() -> None:
    """Let maps take as much memory as they need: before 5.11 they count as locked memory.

    It takes CAP_SYS_RESOURCE, which ``drop_unneeded`` gives up, so this comes first; without it the limit stays.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def drop_unneeded(work: PrivilegeNeeds, *, in_two_steps: bool = False) -> None:
    """Give up what ``work`` does not need; before any thread is started.

    Args:
        work: what is to come.
        in_two_steps: ``drop_after_attach`` follows. CAP_SETPCAP stays until then: without it nothing
            can be taken out of the bounding set.

    Raises:
        TcptopError: a sandbox forbids it.
    """
    lift_memlock_limit()
    kept = needed_capabilities(work)
    _give_up(kept | {Cap.SETPCAP} if in_two_steps else kept, frozenset(ALWAYS))


def drop_after_attach(work: PrivilegeNeeds) -> None:
    """Give up what was needed only until the programs were attached. There must be no other thread."""
    kept = needed_capabilities(replace(work, programs="loaded") if work.programs == "loads" else work)
    _give_up(kept, kept & {*ALWAYS, *WORKER})


def _give_up(kept: frozenset[Cap], in_force: frozenset[Cap]) -> None:
    try:
        capabilities.forbid_gains()
        capabilities.keep(kept, in_force)
    except OSError as error:
        raise TcptopError(
            f"capabilities cannot be given up ({error.strerror})", hint="allow prctl and capset in the sandbox"
        ) from error
