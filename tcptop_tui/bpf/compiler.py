"""Compile C with bcc against a generated header tree, and load it: in a process of its own, which ends then.

LLVM takes 80 MB and never gives all of it back; a compiler that crashes takes nothing with it. What
is loaded comes over a Unix socket as descriptors (unix(7), SCM_RIGHTS) and lives as long as these.
The child runs ``build``; ``Compiled`` is the parent's side, in ``loaded.py``.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcptop_tui.bpf import headers, library, typed
from tcptop_tui.bpf.btf import KernelTypes
from tcptop_tui.errors import BackendUnavailable

_MAX_REQUEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Built:
    """Descriptors by name."""

    programs: dict[str, int]
    maps: dict[str, int]
    typed: list[str]
    """Programs that know the types of their tracepoint's arguments: they are attached without naming it."""


def _why(lines: list[str], error: Exception) -> str:
    """The one line of a compiler's or verifier's output that says the most."""
    telling = [line.strip() for line in lines if "error:" in line or "Failed" in line]
    return telling[0] if telling else str(error)


def _compile(bcc: Any, text: str, flags: Sequence[str]) -> Any:
    with tempfile.TemporaryDirectory(prefix="tcptop-") as tree:
        headers.write_tree(Path(tree))
        os.environ["BCC_KERNEL_SOURCE"] = tree
        return bcc.BPF(text=text.encode(), cflags=[f"-I{tree}/include", *flags])  # bcc wants bytes


def build(text: str, flags: Sequence[str], functions: Sequence[str], known: Mapping[str, str]) -> Built:
    """Programs and maps.

    Args:
        text: the C source.
        flags: for the compiler.
        functions: the programs.
        known: those that shall be loaded with the types of a tracepoint's arguments, and which one; -DTYPED says so to
            the source. Where that is refused, all are for raw tracepoints: dearer, and the same otherwise.

    Raises:
        BackendUnavailable: this host cannot run them; the message says why.
    """
    if known and typed.is_possible():
        with suppress(BackendUnavailable):
            return _built(text, [*flags, "-DTYPED"], functions, known)
    return _built(text, flags, functions, {})


def _load(bcc: Any, bpf: Any, functions: Sequence[str], known: Mapping[str, str]) -> dict[str, int]:
    """Descriptors of the programs by name."""
    raw = [name for name in functions if name not in known]
    loaded = {name: int(bpf.load_func(name.encode(), bcc.BPF.RAW_TRACEPOINT).fd) for name in raw}
    if not known:
        return loaded
    types = KernelTypes()
    try:
        for name, tracepoint in known.items():
            begins = bcc.lib.bpf_function_start(bpf.module, name.encode())
            size_bytes = bcc.lib.bpf_function_size(bpf.module, name.encode())
            loaded[name] = typed.load(name, begins, size_bytes, tracepoint, types)
    finally:
        types.close()
    return loaded


def _built(text: str, flags: Sequence[str], functions: Sequence[str], known: Mapping[str, str]) -> Built:
    bcc = library.load_bcc()
    failed: Exception | None = None
    with library.stderr_captured() as lines:
        try:
            bpf = _compile(bcc, text, flags)
            programs = _load(bcc, bpf, functions, known)
        except BackendUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  bcc raises bare Exception
            failed = error
    if failed is not None:
        raise BackendUnavailable(
            f"the kernel program does not load: {_why(lines, failed)}",
            mend="tcptop-tui doctor tells more",
        ) from failed
    bcc.lib.bpf_table_name.restype = ct.c_char_p  # bcc does not use it, and so does not declare it
    names = [bcc.lib.bpf_table_name(bpf.module, index) for index in range(bcc.lib.bpf_num_tables(bpf.module))]
    maps = {name.decode(): int(bcc.lib.bpf_table_fd(bpf.module, name)) for name in names}
    return Built(programs, maps, list(known))


def answer(link: socket.socket) -> None:
    """Read one request, build, send what came of it."""
    asked = json.loads(_read_all(link))
    try:
        built = build(asked["text"], asked["flags"], asked["functions"], asked["typed"])
    except Exception as error:  # noqa: BLE001  its last words must reach the parent
        known = (
            error if isinstance(error, BackendUnavailable) else BackendUnavailable(f"{type(error).__name__}: {error}")
        )
        link.sendall(json.dumps({"error": known.message, "mend": known.mend}).encode())
        return
    told = json.dumps({"programs": list(built.programs), "maps": list(built.maps), "typed": built.typed}).encode()
    socket.send_fds(link, [told], [*built.programs.values(), *built.maps.values()])


def _read_all(link: socket.socket) -> bytes:
    """Until the other end says that this is all."""
    parts = []
    while part := link.recv(_MAX_REQUEST_BYTES):
        parts.append(part)
    return b"".join(parts)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connected:
        answer(connected)
