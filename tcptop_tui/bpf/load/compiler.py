"""Compile C with bcc against a generated header tree, and load it: in a process of its own, which ends then.

LLVM takes 80 MB and never gives all of it back; a compiler that crashes takes nothing with it. What
is loaded comes over a Unix socket as descriptors (unix(7), SCM_RIGHTS) and lives as long as these.
The child runs ``build``; ``LoadedPrograms`` is the parent's side, in ``compiler_client.py``.
"""

from __future__ import annotations

import ctypes as ct
import json
import os
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tcptop_tui.bpf.load import bcc_library, header_folder, headers, program_cache, syscalls
from tcptop_tui.bpf.load.compiled_code import Bytecode, LoadedObjects, MapPlan
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import capabilities
from tcptop_tui.host.capabilities import Cap
from tcptop_tui.host.privileges import lift_memlock_limit

_MAX_REQUEST_BYTES = 1 << 20


def _reason_line(lines: list[str], error: Exception) -> str:
    """The one line of a compiler's or verifier's output that says the most."""
    telling = [line.strip() for line in lines if "error:" in line or "Failed" in line]
    return telling[0] if telling else str(error)


def _compile(bcc: Any, text: str, flags: Sequence[str]) -> Any:
    with header_folder.locked_folder() as tree:
        headers.write_tree(tree)
        os.environ["BCC_KERNEL_SOURCE"] = str(tree)
        return bcc.BPF(text=text.encode(), cflags=[f"-I{tree}/include", *flags])  # bcc wants bytes


def compile_and_load(
    text: str, flags: Sequence[str], functions: Sequence[str], known: Mapping[str, str], plan: MapPlan
) -> tuple[LoadedObjects, Bytecode]:
    """Programs and maps, and what the programs were compiled to.

    A program for a raw tracepoint has to ask a helper for each member of a socket that it reads; one that is verified
    against the types of its tracepoint's arguments loads it, at a tenth of the cost (``BPF_TRACE_RAW_TP``, 5.5 on; the
    cast to a TCP socket needs 5.9). bcc compiles such programs and cannot load them.

    Args:
        text: the C source.
        flags: for the compiler.
        functions: the programs.
        known: those that shall be loaded with the types of their arguments, and what they are for
            (``syscalls.load_programs``); -DTYPED says so to the source. Where that is refused, all are for raw
            tracepoints, dearer and the same otherwise, and those that only know types are left out.
        plan: how the maps are to be made.

    Raises:
        BackendUnavailable: this host cannot run them; the message says why.
    """
    if known:
        with suppress(BackendUnavailable):
            code = compile_bytecode(text, [*flags, "-DTYPED"], functions, known)
            return code.load(plan), code
    others = [name for name in functions if not syscalls.is_optional(known.get(name, ""))]
    code = compile_bytecode(text, flags, others, {})
    return code.load(plan), code


def _bytecode_by_program(bpf: Any, functions: Sequence[str]) -> dict[str, bytes]:
    """Instructions by program, with the descriptors of bcc's maps in them."""
    lib, codes = bcc_library.load_libbcc(), {}
    for name in functions:
        begins = lib.bpf_function_start(bpf.module, name.encode())
        codes[name] = ct.string_at(begins, lib.bpf_function_size(bpf.module, name.encode()))
    return codes


def _maps(bpf: Any) -> dict[str, int]:
    """Descriptors of the maps by name."""
    lib = bcc_library.load_libbcc()
    names = [lib.bpf_table_name(bpf.module, index) for index in range(lib.bpf_num_tables(bpf.module))]
    return {name.decode(): int(lib.bpf_table_fd(bpf.module, name)) for name in names}


def compile_bytecode(text: str, flags: Sequence[str], functions: Sequence[str], known: Mapping[str, str]) -> Bytecode:
    """What ``functions`` of a C source become, with nothing loaded; arguments as for ``build``.

    bcc makes maps as the source declares them; they go with it.

    Raises:
        BackendUnavailable: it does not compile here; the message says why.
    """
    bcc = bcc_library.load_bcc()
    failed: Exception | None = None
    with bcc_library.captured_stderr() as lines:
        try:
            bpf = _compile(bcc, text, flags)
            return Bytecode.from_compiler(_bytecode_by_program(bpf, functions), _maps(bpf), known)
        except BackendUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  bcc raises bare Exception
            failed = error
    raise BackendUnavailable(
        f"the kernel program does not load: {_reason_line(lines, failed)}",
        hint="tcptop-tui doctor tells more",
    ) from failed


def serve_request(link: socket.socket) -> None:
    """Read one request, load or build, send what came of it."""
    header_folder.remove_abandoned(tempfile.gettempdir())
    asked = json.loads(_read_all(link))
    try:
        built = _cached_or_built(
            asked["text"], asked["flags"], asked["functions"], asked["typed"], MapPlan(**asked["plan"]),
            keeps=asked["keeps"],
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001  its last words must reach the parent
        known = (
            error if isinstance(error, BackendUnavailable) else BackendUnavailable(f"{type(error).__name__}: {error}")
        )
        os.write(2, "\n".join(["", *known.details]).encode(errors="replace"))  # the parent reads it: loaded.py
        link.sendall(json.dumps({"error": known.message, "hint": known.hint}).encode())
        return
    told = json.dumps({"programs": list(built.programs), "maps": list(built.maps), "typed": list(built.typed)}).encode()
    socket.send_fds(link, [told], [*built.programs.values(), *built.maps.values()])


def _cached_or_built(
    text: str, flags: Sequence[str], functions: Sequence[str], known: Mapping[str, str], plan: MapPlan, *, keeps: bool
) -> LoadedObjects:
    if not keeps:
        return compile_and_load(text, flags, functions, known, plan)[0]
    place = program_cache.cache_path([text, flags, functions, known])
    found = program_cache.load_cached(place, plan)
    if found is None:
        found, code = compile_and_load(text, flags, functions, known, plan)
        program_cache.store(place, code)
    return found


def _read_all(link: socket.socket) -> bytes:
    """Until the other end says that this is all."""
    parts = []
    while part := link.recv(_MAX_REQUEST_BYTES):
        parts.append(part)
    return b"".join(parts)


def _drop_inheritable_capabilities() -> None:
    """What this process was lent goes to no program that a library here may start."""
    lift_memlock_limit()
    had = capabilities.thread_capabilities()
    caps = [cap for cap in Cap if had.has(cap)]
    capabilities.keep(caps, caps)


if __name__ == "__main__":
    _drop_inheritable_capabilities()
    with socket.socket(fileno=int(sys.argv[1])) as connected:
        serve_request(connected)
