"""What this host has and lacks for the BPF backend, and what would repair it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tcptop_tui import __version__
from tcptop_tui.bpf.capacity import Capacity, HostSize
from tcptop_tui.bpf.load import bcc_library
from tcptop_tui.bpf.load.btf import VMLINUX_BTF, KernelTypes
from tcptop_tui.bpf.load.compiler_client import missing_capabilities
from tcptop_tui.bpf.load.headers import kernel_header
from tcptop_tui.bpf.load.libbpf import libbpf_version, load_libbpf
from tcptop_tui.bpf.program import Program
from tcptop_tui.config.file import ConfigFile, load_config
from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.errors import TcptopError
from tcptop_tui.host import capabilities
from tcptop_tui.host.capabilities import CapabilitySets
from tcptop_tui.host.kernel import kernel_version
from tcptop_tui.host.privileges import CAPABILITY_REASONS, DASHBOARD, STREAM
from tcptop_tui.safe_text import clean
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture

_LEAST_COLUMNS = 40
"""Width of the tables if the terminal does not know its size, or COLUMNS is 0."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the host has of one requirement."""

    name: str
    is_ok: bool
    result: str
    hint: str = ""
    is_required: bool = True
    """Whether the BPF backend fails without it."""
    details: tuple[str, ...] = ()
    """The last lines of the compiler or of the verifier, if one of them refused it."""


def _finding(name: str, check: Callable[[], str], *, needed: bool = True) -> Finding:
    """The finding of ``check``, which returns what the host has, or raises what is wrong."""
    try:
        return Finding(name, is_ok=True, result=check(), is_required=needed)
    except TcptopError as error:
        details = getattr(error, "details", ())
        return Finding(name, is_ok=False, result=error.message, hint=error.hint, is_required=needed, details=details)
    except OSError as error:
        return Finding(name, is_ok=False, result=str(error), is_required=needed)


def _kernel() -> str:
    release = platform.release()
    if kernel_version() < (5, 8):
        raise TcptopError(f"Linux {release} has no BPF ring buffer", hint="use Linux 5.8 or newer")
    return f"Linux {release} {platform.machine()}"


def _privileges() -> str:
    missing = missing_capabilities()
    if missing:
        raise TcptopError(f"{' and '.join(missing)} missing", hint="run with sudo")
    return "root" if os.geteuid() == 0 else "capabilities"


def _types() -> str:
    types = KernelTypes()
    try:
        kernel_header(types)
    finally:
        types.close()
    return f"{VMLINUX_BTF}, every member found"


def _bcc() -> str:
    module = bcc_library.load_bcc()
    return f"bcc {getattr(module, '__version__', '')} in {Path(module.__file__).parent}"


def _libbcc() -> str:
    bcc_library.load_bcc()
    bcc_library.load_libbcc()
    return f"libbcc.so.0 with {bcc_library.llvm_version() or 'an LLVM of its own'}"


def _libbpf() -> str:
    load_libbpf()
    return f"libbpf {libbpf_version() or 'older than 0.6'}"


def _python() -> str:
    packages = " ".join(f"{name} {version(name)}" for name in ("textual", "rich", "numpy"))
    return f"Python {platform.python_version()} ({sys.executable}), {packages}"


def _program() -> str:
    """Compile, load, attach and detach the kernel programs, which needs all of the requirements before."""
    settings, capture = Settings(max_connections=16), Capture()
    program = Program(settings, capture, Program.start_compiler(settings, capture, keeps=False))
    try:
        program.attach(Capture(pids=frozenset({os.getpid()})))
        accepts = "tells its process" if program.sees_accepts else "has no hook here"
    finally:
        program.close()
    return f"compiles, loads and attaches; accept() {accepts}"


def _connections() -> str:
    """How many connections the kernel side can follow, and how much memory that takes."""
    host = HostSize.from_this_host()
    capacity = Capacity.from_settings(Settings(), host)
    now_mb, most_mb = (capacity.memory_bytes(count) / 1e6 for count in (host.sockets, capacity.limit))
    more = (
        "the memory grows with them" if host.allocates_on_demand else "all of the hash's memory is taken at the start"
    )
    return (
        f"{now_mb:.0f} MB for the {host.sockets:,} sockets that there are and the next ones, at most {most_mb:.0f} MB "
        f"for {capacity.limit:,}: {more}"
    )


def _sock_diag() -> str:
    diag = SockDiag()
    try:
        return f"{len(diag.dump().rows)} sockets"
    finally:
        diag.close()


def _settings(config_file: ConfigFile) -> str:
    path, config_note = config_file.path, load_config(config_file.path)[1]
    if config_note:
        raise TcptopError(clean(config_note))
    return f"{clean(str(path))}: {'valid' if path.exists() else 'no such file, so the defaults hold'}"


def run_checks(config_file: ConfigFile) -> list[Finding]:
    """Check each requirement on its own, and the settings."""
    return [
        _finding("tcptop-tui", lambda: __version__, needed=False),
        _finding("Python", _python, needed=False),
        _finding("kernel", _kernel),
        _finding("type information (BTF)", _types),
        _finding("bcc for Python", _bcc),
        _finding("bcc library", _libbcc),
        _finding("libbpf", _libbpf),
        _finding("privileges", _privileges),
        _finding("kernel program", _program),
        _finding("room for connections", _connections, needed=False),
        _finding("sock_diag (fallback)", _sock_diag, needed=False),
        _finding("settings", lambda: _settings(config_file), needed=False),
    ]


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title == "capability")
    return table


def _kept_capabilities(had: CapabilitySets) -> Table:
    """The capabilities that the dashboard keeps, each with its reason; what does not work without a missing one."""
    table = _table("capability", "", "what it is for, or what does not work without it")
    for need in CAPABILITY_REASONS:
        if need.is_needed(DASHBOARD):
            is_kept = had.has(need.cap)
            mark = Text("kept", "green") if is_kept else Text("missing", "yellow")
            table.add_row(Text(str(need.cap)), mark, Text(need.why if is_kept else need.without))
    return table


def _streams_keep(had: CapabilitySets) -> str:
    names = " ".join(str(need.cap) for need in CAPABILITY_REASONS if need.is_needed(STREAM) and had.has(need.cap))
    return f"trace and snapshot keep, once attached: {names or 'none'}"


def _children_get(had: CapabilitySets) -> str:
    gains = (
        "no capability, except the compiler" if capabilities.has_no_new_privs() else "all capabilities, as root does"
    )
    bounds = "the same" if capabilities.bounding_set() == had.permitted else "unchanged, because CAP_SETPCAP is missing"
    return f"Programs that it starts get {gains} (no_new_privs). The bounding set is {bounds}."


def report(findings: list[Finding]) -> None:
    """Print the tables, and whether the BPF backend works."""
    table = _table("requirement", "", "found", "how to fix it")
    for finding in findings:
        mark = Text("ok", "green") if finding.is_ok else Text("not ok", "bold red" if finding.is_required else "yellow")
        table.add_row(finding.name, mark, Text(clean(finding.result)), Text(clean(finding.hint)))
    console = Console(width=max(_LEAST_COLUMNS, shutil.get_terminal_size().columns))
    console.print(table)
    had = capabilities.thread_capabilities()
    console.print(_kept_capabilities(had))
    console.print(_streams_keep(had), soft_wrap=True)
    console.print(_children_get(had), soft_wrap=True)
    for finding in findings:
        _print_details(console, finding)
    console.print(_summary(findings), soft_wrap=True)


def _print_details(console: Console, finding: Finding) -> None:
    if finding.details:
        console.print(Text(f"{finding.name}, last lines:", "bold"))
        for line in finding.details:
            console.print(Text(f"  {clean(line)}"), soft_wrap=True)


def _summary(findings: list[Finding]) -> Text:
    """Whether the BPF backend works, or why ``--backend auto`` polls sock_diag instead."""
    wrong = next((finding for finding in findings if finding.is_required and not finding.is_ok), None)
    if wrong is None:
        return Text("The BPF backend works here.")
    return Text(f"--backend auto polls sock_diag here, because of {wrong.name}: {clean(wrong.result)}")
