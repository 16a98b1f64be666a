"""What a process and its kernel programs have cost so far."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Since the process began."""

    kernel_ns: int
    """Run time of all its BPF programs, as the kernel counts it (``bpf_stats_enabled``)."""
    cpu_s: float
    """User and system time of all its threads."""
    peak_bytes: int


def count_kernel_time(*, on: bool) -> None:
    """Have the kernel count the run time of BPF programs; costs some ns each run."""
    _STATS.write_text(str(int(on)))


def cost_of(pid: int) -> Cost:
    """Of a running process."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    return Cost(
        kernel_ns=sum(_run_times(pid)),
        cpu_s=(int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S,
        peak_bytes=int(status.partition("VmHWM:")[2].split()[0]) * 1024,
    )


def fields_of(fdinfo: Path) -> dict[str, str]:
    """What the kernel says of a descriptor."""
    return dict(line.split(":\t", 1) for line in fdinfo.read_text().splitlines() if ":\t" in line)


def tcp_count(name: str) -> int:
    """One of the host's counters of TCP: ``InSegs``, ``RetransSegs`` … (RFC 4022)."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index(name)])


def _run_times(pid: int) -> list[int]:
    """Of each BPF program that the process has open, once each."""
    found: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            fields = fields_of(entry)
        except OSError:  # closed meanwhile
            continue
        if "run_time_ns" in fields:
            found[fields.get("prog_id", entry.name)] = int(fields["run_time_ns"])
    return list(found.values())
