"""Compile the program in ``c/`` with bcc against a generated header tree, load it, and attach it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.bpf import pinned_maps
from tcptop_tui.bpf.blocks import SlotMaps
from tcptop_tui.bpf.capacity import CHUNK, Capacity, HostSize, count_sockets, most_slots
from tcptop_tui.bpf.holder_iterator import read_holders
from tcptop_tui.bpf.load import headers
from tcptop_tui.bpf.load.compiled_code import MapPlan
from tcptop_tui.bpf.load.compiler_client import CompileRequest, LoadedPrograms, join_sources, require_bpf
from tcptop_tui.bpf.load.syscalls import map_shape
from tcptop_tui.bpf.maps import CounterArray, HashMap, write_array, write_hash
from tcptop_tui.bpf.ring import Ring
from tcptop_tui.bpf.slots import Slots
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host.socket_holders import OWNER
from tcptop_tui.host.socket_owners import is_first_pid_namespace, proc_holders
from tcptop_tui.records import ENDED, TRANSITION, Rows
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import MAX_CAPTURE_KEYS, Capture

# bcc rewrites only what stands in one file: the parts are joined, in this order.
_PARTS = (
    "records.c", "slots.c", "filter.c", "sockets.c", "owners.c", "ends.c", "events.c", "transitions.c", "gauges.c",
    "resets.c", "holders.c",
)  # fmt: skip

# (program in c/, raw tracepoint). Attached in this order, run by the kernel in this order:
# the guard must come after set_state.
_ATTACHMENTS = (
    ("set_state", "inet_sock_set_state"),
    ("set_state_guard", "inet_sock_set_state"),
    ("segment", "tcp_probe"),
    ("reader", "tcp_rcv_space_adjust"),
    ("retransmit", "tcp_retransmit_skb"),
    ("reset_sent", "tcp_send_reset"),
    ("reset_received", "tcp_receive_reset"),
    ("destroy", "tcp_destroy_sock"),
)

# Those of them that read sockets: where the kernel knows what their argument points at, without a helper.
_READ_TRACEPOINTS = ("set_state", "set_state_guard", "segment", "reader", "retransmit")

# The first of these whose tracepoint the kernel has tells who sends; without them who reads has to do.
_SEND_TRACEPOINTS = (("sender", "tcp_sendmsg_locked"), ("sendmsg_done", "sock_send_length"))

# Who has a descriptor of a socket; without it /proc is asked.
_ITERATORS = {"holder": "iter/task_file"}

# Who accepts; without it an accepted connection's owner is known when it reads or sends, or from the next survey.
_FUNCTIONS = {"accept": "fentry/security_sock_graft"}

# enum counter of c/records.c
RING_FULL, ENDED_RING_FULL, MAP_FULL, CAUGHT, EXCLUDED, UNSEEN = range(6)
_COUNTERS = 6

_MOST_PINNED = 1 << 20
"""Entries of somebody else's map: HashMap's buffers grow with what is in it."""

_CONNECT_PARTS = ("connects.c", "uring.c")
# their programs, while every connect() is asked for
_CONNECTS = (
    ("connect_announced", "inet_sock_set_state"),
    ("connect_failed", "sys_exit"),
    ("connect_forgotten", "tcp_destroy_sock"),
)

LISTENER = np.dtype([("owner", OWNER), ("file", "<u8")])
"""``struct listener`` of c/records.c, 40 bytes; its file is the kernel side's."""

_AF = {0: 0, 4: 2, 6: 10}


def source_text(capture: Capture | None = None) -> str:
    """The C source, with what ``capture`` needs besides."""
    return join_sources((*_PARTS, *_CONNECT_PARTS) if capture and _sees_failed_connects(capture) else _PARTS)


def _sees_failed_connects(capture: Capture) -> bool:
    return capture.connects and headers.has_syscall_layout()


def _require_pids(capture: Capture) -> None:
    if capture.pids and not is_first_pid_namespace():
        raise BackendUnavailable(
            "-p names a process of this PID namespace, and BPF knows the host's PIDs",
            hint="use --backend diag, or run it in the host's (docker run --pid=host)",
        )


def _attachments(capture: Capture) -> tuple[tuple[str, str], ...]:
    if not _sees_failed_connects(capture):
        return _ATTACHMENTS
    uring = zip(("uring_submitted", "uring_completed"), headers.uring_tracepoints(), strict=False)
    return (*_ATTACHMENTS, *_CONNECTS, *uring)


class Program:
    """The kernel programs of one tracer, loaded and attached while this object is open.

    Args:
        settings: sizes.
        capture: what they look at.
        request: the compiler at work on them already; else one is started and waited for.

    Raises:
        BackendUnavailable: this host cannot run them; the message says why.
    """

    def __init__(
        self, settings: Settings, capture: Capture | None = None, request: CompileRequest | None = None
    ) -> None:
        asked = capture or Capture()
        self._attachments = _attachments(asked)
        self._compiled = LoadedPrograms(request or self.start_compiler(settings, asked))
        self._open_maps(settings)
        self._iterator = self._compiled.iterator("holder")
        self.sees_accepts = False
        """Whether accept() tells who accepts, once it is attached: the kernel may have no hook for it."""

    @staticmethod
    def start_compiler(settings: Settings, capture: Capture, *, keeps: bool = True) -> CompileRequest:
        """Have it compiled while something else is done; the arguments must be those of the constructor.

        It may have been compiled before and be kept, unless not ``keeps``.

        Raises:
            BackendUnavailable: this host cannot run the programs.
        """
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        capacity = Capacity.from_settings(settings, HostSize.from_this_host())
        flags = [
            f"-DBLOCK={capacity.block_slots}",
            f"-DRING_PAGES={settings.ring_bytes // page_bytes}",
            f"-DENDED_RING_PAGES={settings.session_ring_bytes // page_bytes}",
            f"-DRTT_UNIT_US={capture.rtt_unit_us}",
            *(f"-D{name.upper()}" for name in pinned_maps.pinned_paths(capture)),
        ]
        functions = (*dict(_SEND_TRACEPOINTS), *dict(_attachments(capture)), *_FUNCTIONS, *_ITERATORS)
        typed = {name: dict(_ATTACHMENTS)[name] for name in _READ_TRACEPOINTS} | _FUNCTIONS | _ITERATORS
        _require_pids(capture)
        require_bpf()  # who may not use BPF may not open a map either
        with pinned_maps.open_pinned_maps(capture) as given:
            plan = MapPlan(
                _map_sizes(capacity),
                ["slot_numbers"] if capacity.allocates_on_demand else [],
                {"blocks": "first_block"},
                given,
            )
            return CompileRequest(source_text(capture), flags, functions, typed, plan, keeps=keeps)

    def _map_fd(self, name: str) -> int:
        return self._compiled.map_fd(name)

    def _open_maps(self, settings: Settings) -> None:
        names = ("slot_numbers", "blocks", "first_block", "opened_slots", "free_chunks", "free_slots")
        self.slots = Slots(SlotMaps(*map(self._map_fd, names)), count_sockets())
        self.counters = CounterArray(self._map_fd("counters"), _COUNTERS)
        self.transitions = Ring(self._map_fd("transitions"), settings.ring_bytes, TRANSITION)
        self.ended = Ring(self._map_fd("ended_connections"), settings.session_ring_bytes, ENDED)

    def attach(self, capture: Capture) -> None:
        """Set the capture filter and start tracing.

        Raises:
            BackendUnavailable: a raw tracepoint is missing on this kernel.
        """
        self.set_capture(capture)
        for name, tracepoint in self._attachments:
            self._compiled.attach(name, tracepoint)
        any(self._compiled.attach_if_possible(name, tracepoint) for name, tracepoint in _SEND_TRACEPOINTS)
        self.sees_accepts = all(self._compiled.attach_if_possible(*pair) for pair in _FUNCTIONS.items())

    def set_capture(self, capture: Capture) -> None:
        """Change what the kernel side looks at; takes effect with the next event."""
        write_array(self._map_fd("lports"), _port_bits(capture.lports))
        write_array(self._map_fd("rports"), _port_bits(capture.rports))
        self._write_set("pids", capture.pids, "<u4")
        self._write_set("cgroups", capture.cgroups, "<u8")
        wanted = [
            bool(capture.lports), bool(capture.rports), bool(capture.pids), _AF[capture.ip],
            bool(capture.cgroups), capture.context,
        ]  # fmt: skip
        write_array(self._map_fd("capture_filter"), np.array([wanted], "<u4"))

    def _write_set(self, name: str, members: frozenset[int], key: str) -> None:
        """Make the keys of hash map ``name`` (values: u32) exactly ``members``."""
        table = HashMap(self._map_fd(name), np.dtype("<u4"), MAX_CAPTURE_KEYS, key=key)
        chosen = np.array(sorted(members), key)
        old = table.read()[0].copy()
        table.delete(old[~np.isin(old, chosen)])
        write_hash(self._map_fd(name), chosen, np.ones(len(chosen), "<u4"))

    def read_pinned(self, name: str) -> NDArray[np.uint64]:
        """Keys of a map that somebody else pinned; ``name`` is its one in the program."""
        value_bytes = map_shape(self._map_fd(name)).value_size
        table = HashMap(self._map_fd(name), np.dtype(f"V{value_bytes}"), _MOST_PINNED)
        return table.read()[0].copy()

    @property
    def read_holders(self) -> Callable[[], Iterator[Rows]]:
        """A look at all descriptors of sockets, in parts of dtype HOLDER; by /proc where the kernel has no iterator."""
        return proc_holders if self._iterator is None else partial(read_holders, self._iterator)

    def remember_listeners(self, keys: NDArray[np.uint64], owners: Rows) -> None:
        """Tell the kernel side whose the listening sockets ``keys`` are; ``owners`` is of dtype OWNER, shape (n,).

        Until somebody is seen with it an accepted socket counts as its listener's.
        """
        listeners = np.zeros(len(keys), LISTENER)
        listeners["owner"] = owners
        write_hash(self._map_fd("listeners"), keys, listeners)

    def recursion_misses(self) -> int:
        """How often the kernel did not run ``set_state`` because it was running already."""
        return self.recursion_misses_of("set_state")

    def recursion_misses_of(self, function: str) -> int:
        """How often the kernel did not run one of the programs because it was running already."""
        return prog_recursion_misses(self._compiled.functions[function])

    def close(self) -> None:
        """Detach; the kernel frees programs and maps with their last descriptor."""
        self.transitions.close()
        self.ended.close()
        self.slots.close()
        self._compiled.close()


def _map_sizes(capacity: Capacity) -> dict[str, int]:
    """Entries of the maps that depend on how many connections there may be (``c/slots.c``)."""
    slots = most_slots(capacity.limit)
    return {
        "slot_numbers": capacity.limit, "free_chunks": slots // CHUNK, "free_slots": slots,
        "blocks": -(-slots // capacity.block_slots),
    }  # fmt: skip


def _port_bits(ports: frozenset[int]) -> NDArray[np.uint64]:
    """One bit a port, as 1,024 words."""
    bits = np.zeros(65536, np.uint8)
    bits[list(ports)] = 1
    return np.packbits(bits, bitorder="little").view("<u8")


def prog_recursion_misses(fd: int) -> int:
    """``recursion_misses`` of a program, from its fdinfo (kernel/bpf/syscall.c, 5.12 on)."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("recursion_misses:"):
            return int(line.split()[1])
    return 0
