"""Every network namespace of the host: where they are, a netlink socket in each, one dump of all.

A namespace has no list that can be read: it is found by the processes in it and by the bind mounts
that keep it (``ip netns``, docker). One that only a thread, a descriptor or a socket keeps is not.
"""

from __future__ import annotations

import ctypes as ct
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tcptop_tui.diag.dump import Dump, DumpBuilder
from tcptop_tui.diag.netlink import SockDiag, new_buffer
from tcptop_tui.errors import BackendUnavailable, TcptopError
from tcptop_tui.host import c_functions, clock
from tcptop_tui.host.c_functions import Signature
from tcptop_tui.host.capabilities import Cap, raise_capabilities, thread_capabilities
from tcptop_tui.host.containers import container_of_pid
from tcptop_tui.host.kernel import NAMED_NETNS_FOLDER

_MOUNTS = (NAMED_NETNS_FOLDER, "/run/docker/netns")
_MACHINE_MADE = re.compile(r"(?:cni|netns)-[0-9a-f]{8}-[0-9a-f-]{27}")
"""CNI's and podman's names: the container's says more."""
_CLONE_NEWNET = 0x40000000
_MIN_PERIOD_S = 2.0
_SCAN_SHARE = 0.05
"""Of one core that looking for namespaces may take."""

T = TypeVar("T")

_OWN = "/proc/thread-self/ns/net"


@dataclass(frozen=True, slots=True)
class NamespacePath:
    """Where a namespace was found."""

    path: str
    """Of a file that stands for it."""
    pid: int = 0
    """The lowest of the processes in it; 0: only a mount keeps it."""
    name: str = ""
    """As ``ip netns`` lists it; empty where it does not."""


def find_namespaces() -> dict[int, NamespacePath]:
    """By inode number, each namespace that a process of ours to see is in, or that a bind mount keeps."""
    device = os.stat(_OWN).st_dev  # noqa: PTH116  2 µs, not 8, for each process
    places: dict[int, NamespacePath] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        path = f"/proc/{pid}/ns/net"
        try:
            inode = os.stat(path).st_ino  # noqa: PTH116
        except OSError:  # ended, or another user's
            continue
        if inode not in places:
            places[inode] = NamespacePath(path, pid)
    for folder in _MOUNTS:
        for name, inode in _mounted(folder, device).items():
            pid = places[inode].pid if inode in places else 0
            given = places[inode].name if inode in places else ""
            own_name = name if folder == NAMED_NETNS_FOLDER else ""
            places[inode] = NamespacePath(f"{folder}/{name}", pid, given or own_name)
    return places


def _mounted(folder: str, device: int) -> dict[str, int]:
    """Inode of each namespace that is mounted in ``folder``; an ordinary file lies on another device."""
    found: dict[str, int] = {}
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError:
        return found
    for name in names:
        try:
            stat = os.stat(f"{folder}/{name}")  # noqa: PTH116
        except OSError:  # removed meanwhile
            continue
        if stat.st_dev == device:
            found[name] = stat.st_ino
    return found


def skipped_namespaces_note(count: int) -> str:
    """What the header says of namespaces that are not read; empty when all are."""
    return f"{count} network namespaces are not read from sock_diag: too many" if count else ""


class NamespaceVisitor:
    """Opens things in other network namespaces; only the calling thread goes there, and it comes back."""

    def __init__(self) -> None:
        # os.setns is there from Python 3.12 on
        self._libc = c_functions.load_library(None, {"setns": Signature(ct.c_int, (ct.c_int, ct.c_int))})
        self._home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    def open_in(self, inode: int, path: str, make: Callable[[], T]) -> T:
        """What ``make`` gives in the namespace with this inode number.

        Raises:
            OSError: it cannot be entered, or ``path`` has come to stand for another one.
            BackendUnavailable: ``make`` failed there.
            TcptopError: there is no way back. The thread must end.
        """
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(there).st_ino != inode:
                raise ProcessLookupError(path)
            self._enter(there)
        finally:
            os.close(there)
        try:
            return make()
        finally:
            try:
                self._enter(self._home)
            except OSError as error:
                # no BackendUnavailable: the next source would take the wrong namespace for its own
                raise TcptopError(f"no way back into our own network namespace ({error.strerror})") from error

    def _enter(self, descriptor: int) -> None:
        with raise_capabilities(Cap.SYS_ADMIN):
            if self._libc.setns(descriptor, _CLONE_NEWNET):
                number = ct.get_errno()
                raise OSError(number, os.strerror(number))

    def close(self) -> None:
        """Stay where it is."""
        os.close(self._home)


def _devices_in(netns: int) -> dict[int, str]:
    """Names of the devices of a namespace by their numbers; none where it cannot be entered."""
    place = find_namespaces().get(netns) if thread_capabilities().has(Cap.SYS_ADMIN) else None
    if place is None:
        return {}
    visit = NamespaceVisitor()
    try:
        found = visit.open_in(netns, place.path, socket.if_nameindex)
    except OSError:  # gone, or another user's
        return {}
    finally:
        visit.close()
    return {number: os.fsencode(name).decode(errors="replace") for number, name in found}


class Namespaces:
    """A netlink socket in each namespace, kept for as long as something else keeps the namespace.

    A socket of ours would keep it alive: so each is closed at the next look after the last process
    has left and the mount is gone. Used from one thread only, but for ``device``.

    Args:
        most: namespaces at the same time; the rest is counted in ``left_out``.
        clock: seconds from any start.

    Raises:
        BackendUnavailable: not even our own namespace can be dumped.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.skipped = 0
        self.names: dict[int, str] = {}
        """By inode number: ``ip netns`` name, else container, where there is one."""
        self.details = False
        """Whether dumps have ``stream.socket_details``; may be set in any thread."""
        self.on_sockets: Callable[[int], None] | None = None
        """Called in the thread of ``dump`` with the number of sockets that it has read so far."""
        self._most = most
        self._clock = clock
        self._not_before_s = float("-inf")
        self._own_inode = os.stat(_OWN).st_ino  # noqa: PTH116
        self._buffer = new_buffer()
        self._expected = 0
        """Sockets, by the dump before."""
        self._open = {self._own_inode: SockDiag(self._own_inode, self._buffer)}
        self._refused: set[int] = set()
        self._closing = threading.Lock()
        self._young: dict[int, dict[int, str]] = {}
        """Devices of namespaces that the latest look has not found, as far as somebody has asked."""
        self._containers: dict[tuple[int, int], str] = {}

    def dump(self) -> Dump:
        """The sockets of all namespaces, ours first.

        Takes 0.6 ms for each even when it has none: the kernel walks the table of all namespaces
        twice (``inet_diag_dump_icsk``, net/ipv4/inet_diag.c).

        Raises:
            BackendUnavailable: the kernel refuses our own.
            TcptopError: the thread is lost in another namespace.
        """
        if self._clock() >= self._not_before_s:
            self.refresh()
        pile = DumpBuilder(self._expected, self.on_sockets, details=self.details)
        now_ns, netns = clock.monotonic_ns(), {self._own_inode}
        self._open[self._own_inode].dump_into(pile)
        for inode, diag in list(self._open.items()):
            if inode != self._own_inode:
                try:
                    diag.dump_into(pile)
                    netns.add(inode)
                except BackendUnavailable:  # short of memory, as it were: opened anew at the next look
                    self._close(inode)
        self._expected = pile.count
        return pile.finish(now_ns, frozenset(netns))

    def refresh(self) -> None:
        """Find out which namespaces there are now, and have a socket in each."""
        started_s = self._clock()
        places = find_namespaces()
        for inode in self._open.keys() - places.keys() - {self._own_inode}:
            self._close(inode)
        self._refused &= places.keys()
        missing = sorted(places.keys() - self._open.keys() - self._refused)
        if missing and thread_capabilities().has(Cap.SYS_ADMIN):
            self._enter(missing[: max(0, self._most - len(self._open))], places)
            self.skipped = len(places.keys() - self._open.keys() - self._refused)
        else:
            self.skipped = 0
        self._update_names(places)
        with self._closing:
            self._young.clear()
        ended_s = self._clock()
        self._not_before_s = ended_s + max(_MIN_PERIOD_S, (ended_s - started_s) / _SCAN_SHARE)

    def _enter(self, inodes: list[int], places: dict[int, NamespacePath]) -> None:
        visit = NamespaceVisitor()
        try:
            for inode in inodes:
                try:
                    self._open[inode] = visit.open_in(inode, places[inode].path, lambda: SockDiag(inode, self._buffer))  # noqa: B023  called at once
                except PermissionError:
                    self._refused.add(inode)
                except (OSError, BackendUnavailable):  # gone, or no descriptor left: the next look tries again
                    continue
        finally:
            visit.close()

    def _update_names(self, places: dict[int, NamespacePath]) -> None:
        """Call them by their mounts, else by the containers that their first processes are in."""
        keys = {(inode, place.pid) for inode, place in places.items() if place.pid}
        self._containers = {key: self._containers.get(key) or container_of_pid(key[1]) for key in keys}
        names = {}
        for inode, place in places.items():
            container = self._containers.get((inode, place.pid), "")
            first, second = place.name, container
            if _MACHINE_MADE.fullmatch(place.name):
                first, second = container, place.name
            if first or second:
                names[inode] = first or second
        self.names = names  # at once: another thread reads it

    def device_name(self, netns: int, index: int) -> str:
        """Name of a network device by the inode number of its namespace and its own; from any thread.

        A namespace that is younger than the latest look is gone to for it; a name that is not found there is asked
        for again after the next look. Empty: there is none, or the namespace cannot be entered.

        Raises:
            TcptopError: the thread is lost in another namespace.
        """
        with self._closing:  # its descriptor would be another namespace's
            if netns in self._open:
                return self._open[netns].device_name(index)
            if index not in self._young.get(netns, {}):
                self._young[netns] = {index: ""} | _devices_in(netns)
            return self._young[netns][index]

    def _close(self, inode: int) -> None:
        with self._closing:
            self._open.pop(inode).close()

    def close(self) -> None:
        """Close all sockets; may be called twice."""
        for inode in list(self._open):
            self._close(inode)
