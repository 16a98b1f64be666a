"""Programs and maps that the compiler's process has made: ask for them, attach them, let them go."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import resources
from types import MappingProxyType

import tcptop_tui
from tcptop_tui.bpf.load import header_folder
from tcptop_tui.bpf.load.btf import VMLINUX_BTF
from tcptop_tui.bpf.load.compiled_code import NO_PLAN, MapPlan
from tcptop_tui.bpf.load.libbpf import load_libbpf
from tcptop_tui.bpf.load.syscalls import TRACE_ITER
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import capabilities, startup
from tcptop_tui.host.capabilities import Cap
from tcptop_tui.host.privileges import COMPILER

_MOST_DESCRIPTORS = 64
_MAX_ANSWER_BYTES = 1 << 16
_MOST_PRINTED_BYTES = 1 << 14
_MOST_LINES = 20

_CHILD = """
import importlib.util, json, runpy, sys
init, sys.path[:] = sys.argv[2], json.loads(sys.argv[3])
spec = importlib.util.spec_from_file_location("tcptop_tui", init)
package = sys.modules["tcptop_tui"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
runpy.run_module("tcptop_tui.bpf.load.compiler", run_name="__main__")
"""
"""Runs exactly the code that runs here, wherever that was found: a checkout, a user's site-packages."""
_PASSED_VARIABLES = ("HOME", "XDG_CACHE_HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "SUDO_UID", "SUDO_GID")
"""Of the environment. Others say where Python, clang or bcc find modules and headers."""


def _command(link: int) -> list[str]:
    """The compiler's process; -I: nothing comes from the present folder, PYTHONPATH or other PYTHON variables."""
    flags = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
    return [sys.executable, *flags, "-c", _CHILD, str(link), tcptop_tui.__file__, json.dumps(startup.isolated_path())]


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    scratch = os.environ.get("TMPDIR", "")
    return kept | ({"TMPDIR": scratch} if scratch and startup.is_trusted(scratch, shared=True) else {})


def _remove_headers() -> None:
    """Those of a compiler that could not remove them itself."""
    header_folder.remove_abandoned(_environment().get("TMPDIR", "/tmp"))  # noqa: S108  tempfile's place for them


def join_sources(names: Iterable[str]) -> str:
    """The parts in ``c/`` as one text: bcc rewrites only what stands in one file. Complaints name the part."""
    folder = resources.files("tcptop_tui.bpf") / "c"
    return "".join(f'#line 1 "{name}"\n{folder.joinpath(name).read_text()}' for name in names)


def missing_capabilities() -> list[str]:
    """What this thread lacks of CAP_BPF and CAP_PERFMON."""
    had = capabilities.thread_capabilities()
    return [str(cap) for cap in (Cap.BPF, Cap.PERFMON) if not had.has(cap)]


def require_bpf() -> None:
    """See that BPF is possible here at all.

    Raises:
        BackendUnavailable: it is not; the message says why.
    """
    if not VMLINUX_BTF.exists():
        raise BackendUnavailable(
            f"the kernel has no type information ({VMLINUX_BTF} is missing)",
            hint="use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        )
    missing = missing_capabilities()
    if missing:
        raise BackendUnavailable(f"BPF needs more privileges ({' and '.join(missing)})", hint="run with sudo")


class CompileRequest:
    """A compiler at work, in a process of its own.

    Args:
        text: the C source.
        flags: for the compiler.
        functions: the programs in it.
        typed: programs that know the types of their arguments, and what they are for (``syscalls.load_programs``).
        plan: how their maps are made; descriptors that it gives are lent until the compiler runs.
        keeps: it may take what it has compiled before (``program_cache.py``), and keeps it for later.

    Raises:
        BackendUnavailable: this host cannot run them; the message says why.
    """

    typed: frozenset[str] = frozenset()
    """Programs that have been loaded for the one tracepoint that was said, once there is an answer."""

    def __init__(
        self, text: str, flags: Sequence[str], functions: Iterable[str],
        typed: Mapping[str, str] = MappingProxyType({}), plan: MapPlan = NO_PLAN, *, keeps: bool = True,
    ) -> None:  # fmt: skip
        require_bpf()
        self._link, theirs = socket.socketpair()
        self._stderr = os.memfd_create("tcptop-compiler")
        with theirs, capabilities.lend(*COMPILER):
            self._process = subprocess.Popen(
                _command(theirs.fileno()), env=_environment(), cwd="/",  # clang looks for headers in the present folder
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._stderr,
                pass_fds=[theirs.fileno(), *plan.external.values()], process_group=0,  # Ctrl-C is not meant for it
            )  # fmt: skip
        asked = {
            "text": text, "flags": list(flags), "functions": list(functions), "typed": dict(typed), "keeps": keeps,
            "plan": asdict(plan),
        }  # fmt: skip
        with suppress(BrokenPipeError):  # it has ended; the answer says so
            self._link.sendall(json.dumps(asked).encode())
            self._link.shutdown(socket.SHUT_WR)

    def result(self) -> tuple[dict[str, int], dict[str, int]]:
        """Wait for descriptors of programs and of maps, by name; they are the caller's.

        Raises:
            BackendUnavailable: it does not compile or load; the message says why.
        """
        told = b""
        descriptors: list[int] = []
        with self._link, suppress(ConnectionResetError):  # it died with the question unread
            told, descriptors, *_ = socket.recv_fds(self._link, _MAX_ANSWER_BYTES, _MOST_DESCRIPTORS)
        for descriptor in descriptors:  # Python 3.11 takes the flag for that and forgets it
            os.set_inheritable(descriptor, False)
        ended, said = self._process.wait(), self._last_lines()
        if ended:
            _remove_headers()
        if not told:
            raise BackendUnavailable(
                f"the compiler ended {_exit_text(ended)}", hint="tcptop-tui doctor tells more", details=said
            )
        answer = json.loads(told)
        if "error" in answer:
            raise BackendUnavailable(answer["error"], hint=answer["hint"], details=said)
        self.typed = frozenset(answer["typed"])
        by_name = iter(descriptors)
        programs = {name: next(by_name) for name in answer["programs"]}
        return programs, {name: next(by_name) for name in answer["maps"]}

    def _last_lines(self) -> list[str]:
        """What it has printed, at its end."""
        with os.fdopen(self._stderr, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            printed = os.pread(file.fileno(), _MOST_PRINTED_BYTES, max(0, size - _MOST_PRINTED_BYTES))
        return [line for line in printed.decode(errors="replace").splitlines() if line.strip()][-_MOST_LINES:]

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._process.kill()
        self._process.wait()
        _remove_headers()
        self._link.close()
        os.close(self._stderr)


def _exit_text(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code} and no word"


class LoadedPrograms:
    """Loaded programs and their maps, as long as this object is open.

    Args:
        request: what to wait for.

    Raises:
        BackendUnavailable: this host cannot run them; the message says why.
    """

    def __init__(self, request: CompileRequest) -> None:
        self._links: list[int] = []
        """Of what is attached, in this order."""
        self._iterators: list[int] = []
        self.functions, self._maps = request.result()
        self.typed = request.typed

    def map_fd(self, name: str) -> int:
        """Descriptor of a map; stays this object's."""
        return self._maps[name]

    def attach(self, function: str, tracepoint: str) -> None:
        """Run ``function`` at each ``tracepoint`` from now on.

        Raises:
            BackendUnavailable: this kernel has no such raw tracepoint.
        """
        if not self.attach_if_possible(function, tracepoint):
            raise BackendUnavailable(
                f"raw tracepoint {tracepoint} cannot be attached",
                hint="it needs Linux 5.8 or newer with CONFIG_BPF_EVENTS=y",
            )

    def attach_if_possible(self, function: str, tracepoint: str) -> bool:
        """The same; False when this kernel has no such tracepoint, or function, or has refused the program."""
        if function not in self.functions:
            return False
        named = None if function in self.typed else tracepoint.encode()
        link = int(load_libbpf().bpf_raw_tracepoint_open(named, self.functions[function]))
        if link >= 0:
            self._links.append(link)
        return link >= 0

    def iterator(self, function: str) -> int | None:
        """Descriptor of the link of an iterator, which stays this object's; None where the kernel refuses it."""
        if function not in self.functions:
            return None
        link = int(load_libbpf().bpf_link_create(self.functions[function], 0, TRACE_ITER, None))
        if link < 0:
            return None
        self._iterators.append(link)
        return link

    def close(self) -> None:
        """Detach; the kernel frees programs and maps with their last descriptor. May be called twice."""
        for descriptor in (*self._links, *self._iterators, *self.functions.values(), *self._maps.values()):
            os.close(descriptor)
        self._links, self._iterators, self.functions, self._maps = [], [], {}, {}
