"""Compile the program in ``c/`` with bcc against a generated header tree, load it, and attach it."""

from __future__ import annotations

import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.bpf import headers, library
from tcptop_tui.bpf.btf import VMLINUX_BTF
from tcptop_tui.bpf.maps import CounterArray, HashMap, write_array, write_hash
from tcptop_tui.bpf.ring import Ring
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.records import CONN, SESSION, TRANSITION, Rows
from tcptop_tui.settings import Settings
from tcptop_tui.source.batches import Capture

# bcc rewrites only what stands in one file: the parts are joined, in this order.
_PARTS = ("records.c", "filter.c", "sockets.c", "ends.c", "transitions.c", "gauges.c")

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

# The first of these that the kernel has tells who sends; without them who reads has to do.
_SENDERS = ("tcp_sendmsg_locked", "sock_send_length")

# enum counter of c/records.c
TRANSITIONS, RING_FULL, SESSION_RING_FULL, MAP_FULL, CAUGHT, EXCLUDED = range(6)
_COUNTERS = 6

LISTENER_KEY = np.dtype([("netns", "<u4"), ("lport", "<u4")])
_MOST_PINNED = 1 << 20
"""Entries of somebody else's map: HashMap's buffers grow with what is in it."""

OWNER = np.dtype([("pid", "<u4"), ("uid", "<u4"), ("mntns", "<u4"), ("comm", "S16")])

# connects.c, while every connect() is asked for
_CONNECTS = (
    ("connect_announced", "inet_sock_set_state"),
    ("connect_failed", "sys_exit"),
    ("connect_forgotten", "tcp_destroy_sock"),
)

_AF = {0: 0, 4: 2, 6: 10}


def source_text(capture: Capture | None = None) -> str:
    """The C source, with what ``capture`` needs besides; complaints of the compiler name the parts."""
    parts = (*_PARTS, "connects.c") if capture and _sees_failed_connects(capture) else _PARTS
    folder = resources.files("tcptop_tui.bpf") / "c"
    return "".join(f'#line 1 "{name}"\n{folder.joinpath(name).read_text()}' for name in parts)


def _sees_failed_connects(capture: Capture) -> bool:
    return capture.connects and headers.knows_syscalls()


def _require_kernel() -> None:
    if not VMLINUX_BTF.exists():
        raise BackendUnavailable(
            f"the kernel has no type information ({VMLINUX_BTF} is missing)",
            mend="use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        )
    missing = missing_capabilities()
    if missing:
        raise BackendUnavailable(f"BPF needs more privileges ({' and '.join(missing)})", mend="run with sudo")


def missing_capabilities() -> list[str]:
    """What this process lacks of CAP_BPF and CAP_PERFMON; CAP_SYS_ADMIN stands for both.

    The numbers are those of include/uapi/linux/capability.h.
    """
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split(maxsplit=1)[0], 16)
    if effective >> 21 & 1:
        return []
    return [name for name, number in (("CAP_BPF", 39), ("CAP_PERFMON", 38)) if not effective >> number & 1]


def _pins(capture: Capture) -> list[str]:
    """Compiler flags for the maps of somebody else that are to be asked.

    Raises:
        BackendUnavailable: bcc would make and pin a new map where there is none.
    """
    given = {"CGROUP_PIN": capture.cgroup_pin, "MNTNS_PIN": capture.mntns_pin}
    for path in filter(None, given.values()):
        if not Path(path).exists() or '"' in path:
            raise BackendUnavailable(f"no pinned map {path}", mend="pin one with bpftool map pin, below /sys/fs/bpf")
    return [f'-D{name}="{path}"' for name, path in given.items() if path]


def _why(lines: list[str], error: Exception) -> str:
    """The one line of a compiler's or verifier's output that says the most."""
    telling = [line.strip() for line in lines if "error:" in line or "Failed" in line]
    return telling[0] if telling else str(error)


class Program:
    """The kernel programs of one tracer, loaded and attached while this object is open.

    Raises:
        BackendUnavailable: this host cannot run them; the message says why.
    """

    def __init__(self, settings: Settings, capture: Capture | None = None) -> None:
        _require_kernel()
        self._links: list[int] = []
        extra = _CONNECTS if capture and _sees_failed_connects(capture) else ()
        self._attachments = (*_ATTACHMENTS, *extra)
        self._bcc = library.load_bcc()
        failed: Exception | None = None
        with library.stderr_captured() as lines:
            try:
                self._bpf = self._compile(settings, capture or Capture())
                self._functions = {name: self._load(name) for name in ("sender", *dict(self._attachments))}
            except BackendUnavailable:
                raise
            except Exception as error:  # noqa: BLE001  bcc raises bare Exception
                failed = error
        if failed is not None:
            raise BackendUnavailable(
                f"the kernel program does not load: {_why(lines, failed)}",
                mend="tcptop-tui doctor tells more",
            ) from failed
        self._bpf.free_bcc_memory()
        self._open_maps(settings)

    def _compile(self, settings: Settings, capture: Capture) -> Any:
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        with tempfile.TemporaryDirectory(prefix="tcptop-") as tree:
            headers.write_tree(Path(tree))
            before = os.environ.get("BCC_KERNEL_SOURCE")
            os.environ["BCC_KERNEL_SOURCE"] = tree
            try:
                return self._bcc.BPF(
                    text=source_text(capture).encode(),  # bcc wants bytes
                    cflags=[
                        f"-I{tree}/include",
                        f"-DMAX_CONNECTIONS={settings.max_connections}",
                        f"-DRING_PAGES={settings.ring_bytes // page_bytes}",
                        f"-DSESSION_RING_PAGES={settings.session_ring_bytes // page_bytes}",
                        f"-DRTT_UNIT_US={capture.rtt_unit_us}",
                        *_pins(capture),
                    ],
                )
            finally:
                if before is None:
                    del os.environ["BCC_KERNEL_SOURCE"]
                else:
                    os.environ["BCC_KERNEL_SOURCE"] = before

    def _load(self, name: str) -> int:
        return int(self._bpf.load_func(name.encode(), self._bcc.BPF.RAW_TRACEPOINT).fd)

    def _map_fd(self, name: str) -> int:
        return int(self._bcc.lib.bpf_table_fd(self._bpf.module, name.encode()))

    def _open_maps(self, settings: Settings) -> None:
        lib = self._bcc.lib
        self.conns = HashMap(lib, self._map_fd("conns"), CONN, settings.max_connections)
        self.counters = CounterArray(lib, self._map_fd("counters"), _COUNTERS)
        self.transitions = Ring(self._map_fd("transitions"), settings.ring_bytes, TRANSITION)
        self.sessions = Ring(self._map_fd("sessions"), settings.session_ring_bytes, SESSION)

    def attach(self, capture: Capture) -> None:
        """Set the capture filter and start tracing.

        Raises:
            BackendUnavailable: a raw tracepoint is missing on this kernel.
        """
        self.set_capture(capture)
        for name, tracepoint in self._attachments:
            # not bpf.attach_raw_tracepoint: that refuses a second program on one tracepoint
            link = self._bcc.lib.bpf_attach_raw_tracepoint(self._functions[name], tracepoint.encode())
            if link < 0:
                raise BackendUnavailable(
                    f"raw tracepoint {tracepoint} cannot be attached",
                    mend="it needs Linux 5.8 or newer with CONFIG_BPF_EVENTS=y",
                )
            self._links.append(link)
        for tracepoint in _SENDERS:
            with library.stderr_captured():
                link = self._bcc.lib.bpf_attach_raw_tracepoint(self._functions["sender"], tracepoint.encode())
            if link >= 0:
                self._links.append(link)
                break

    def set_capture(self, capture: Capture) -> None:
        """Change what the kernel side looks at; takes effect with the next event."""
        lib = self._bcc.lib
        write_array(lib, self._map_fd("lports"), _port_bits(capture.lports))
        write_array(lib, self._map_fd("rports"), _port_bits(capture.rports))
        self._write_set("pids", capture.pids, "<u4")
        self._write_set("cgroups", capture.cgroups, "<u8")
        wanted = [
            bool(capture.lports), bool(capture.rports), bool(capture.pids), _AF[capture.ip],
            bool(capture.cgroups), capture.context,
        ]  # fmt: skip
        write_array(lib, self._map_fd("capture"), np.array([wanted], "<u4"))

    def _write_set(self, name: str, members: frozenset[int], key: str) -> None:
        """Make the keys of hash map ``name`` (values: u32) exactly ``members``."""
        lib = self._bcc.lib
        table = HashMap(lib, self._map_fd(name), np.dtype("<u4"), 1024, key=key)
        chosen = np.array(sorted(members), key)
        old = table.read()[0].copy()
        table.delete(old[~np.isin(old, chosen)])
        write_hash(lib, self._map_fd(name), chosen, np.ones(len(chosen), "<u4"))

    def pinned(self, name: str, value: str) -> NDArray[np.uint64]:
        """Keys of a map that somebody else pinned; ``name`` is its one in the program, ``value`` a value's dtype."""
        table = HashMap(self._bcc.lib, self._map_fd(name), np.dtype(value), _MOST_PINNED)
        return table.read()[0].copy()

    def remember_listeners(self, rows: Rows) -> None:
        """Tell the kernel side who listens; ``rows`` (dtype ROW) are LISTEN sockets.

        Until somebody reads from it, an accepted socket counts as its listener's.
        """
        known = rows[rows["pid"] != 0]
        keys = np.zeros(len(known), LISTENER_KEY)
        owners = np.zeros(len(known), OWNER)
        keys["netns"], keys["lport"] = known["netns"], known["lport"]
        for name in ("pid", "uid", "mntns", "comm"):
            owners[name] = known[name]
        write_hash(self._bcc.lib, self._map_fd("listeners"), keys, owners)

    def recursion_misses(self) -> int:
        """How often the kernel did not run ``set_state`` because it was running already."""
        return prog_recursion_misses(self._functions["set_state"])

    def close(self) -> None:
        """Detach; the kernel frees programs and maps with their last descriptor."""
        for link in self._links:
            os.close(link)
        self._links.clear()
        self.transitions.close()
        self.sessions.close()
        self._bpf.cleanup()


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
