"""What a process has left behind in itself and in the kernel."""

from __future__ import annotations

import ctypes as ct
import gc
import os
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tcptop_tui.bpf.load.libbpf import load_libbpf_functions
from tcptop_tui.host import memory
from tcptop_tui.host.c_functions import Signature


def bpf_ids(kind: str) -> frozenset[int]:
    """Ids of all of the kernel's ``prog``, ``map``, ``link`` or ``btf``, whoever made them."""
    name, found, last = f"bpf_{kind}_get_next_id", set(), ct.c_uint32(0)
    next_id = getattr(load_libbpf_functions({name: Signature(ct.c_int, (ct.c_uint32, ct.POINTER(ct.c_uint32)))}), name)
    while next_id(last, ct.byref(last)) == 0:
        found.add(last.value)
    return frozenset(found)


def held_elsewhere() -> dict[str, set[int]]:
    """Ids of programs, maps and links that other processes have open, by kind (``prog`` …)."""
    found: dict[str, set[int]] = {"prog": set(), "map": set(), "link": set()}
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        with suppress(OSError):  # it has ended
            for entry in (process / "fdinfo").iterdir():
                told = re.search(r"^(prog|map|link)_id:\s*(\d+)$", entry.read_text(), re.MULTILINE)
                if told:
                    found[told[1]].add(int(told[2]))
    return found


@dataclass(frozen=True)
class Left:
    """At one moment."""

    descriptors: int
    threads: int
    children: int
    resident_mb: float
    programs: frozenset[int]
    maps: frozenset[int]
    links: frozenset[int]

    def __str__(self) -> str:
        counts = f"{len(self.programs)} programs, {len(self.maps)} maps, {len(self.links)} links in the kernel"
        return (
            f"{self.descriptors} descriptors, {self.threads} threads, {self.children} children, "
            f"{self.resident_mb:.1f} MB, {counts}"
        )


def give_back() -> None:
    """Let glibc return what it holds free: as large as the largest table was, whoever had all those connections."""
    gc.collect()
    memory.trim_heap()


def left_of() -> Left:
    """Of this process, and of the whole kernel."""
    gc.collect()
    children = sum(len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir())
    return Left(
        len(os.listdir("/proc/self/fd")), threading.active_count(), children,
        int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6,
        bpf_ids("prog"), bpf_ids("map"), bpf_ids("link"),
    )  # fmt: skip


def settled(before: Left, patience_s: float = 10) -> Left:
    """``left_of`` when nothing new is in the kernel any more but what others have open.

    The kernel frees a moment after the last descriptor.
    """
    deadline_s = time.monotonic() + patience_s
    give_back()
    while True:
        now, others = left_of(), held_elsewhere()
        fresh = replace(
            now, programs=now.programs - before.programs - others["prog"], maps=now.maps - before.maps - others["map"],
            links=now.links - before.links - others["link"],
        )  # fmt: skip
        if not (fresh.programs or fresh.maps or fresh.links) or time.monotonic() > deadline_s:
            return fresh
        os.sched_yield()
