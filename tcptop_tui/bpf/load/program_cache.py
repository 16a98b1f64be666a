"""Compiled programs, kept from start to start: LLVM takes half a second, and loading them a tenth of that.

What is kept is code for the kernel, in the platform's cache folder: it is read only where nobody else has a hand in it
(``host/private_files.py``), and the kernel verifies it as it does what has just been compiled. It is for one source
text on one kernel; whatever is wrong with it, the programs are compiled.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import platformdirs

from tcptop_tui.bpf.load import headers
from tcptop_tui.bpf.load.btf import VMLINUX_BTF
from tcptop_tui.bpf.load.compiled_code import Bytecode, LoadedObjects, MapPlan
from tcptop_tui.bpf.load.syscalls import MapShape
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host.private_files import read_private, write_private

_MAX_FILES = 16
"""Each is some 50 KB: one for a source text, a set of flags and a kernel."""


def cache_path(asked: Any) -> Path:
    """Where the programs for one request are kept, if they are: named by all that decides what they are."""
    known = hashlib.blake2b(digest_size=20)
    generator = Path(headers.__file__).read_bytes()
    for part in (json.dumps(asked, sort_keys=True).encode(), generator, VMLINUX_BTF.read_bytes()):
        known.update(hashlib.blake2b(part).digest())
    known.update(" ".join(os.uname()[2:]).encode())
    return platformdirs.user_cache_path("tcptop-tui", appauthor=False) / "programs" / known.hexdigest()


def load_cached(place: Path, plan: MapPlan) -> LoadedObjects | None:
    """Make the maps and load the programs that are kept there; None where that cannot be done."""
    try:
        return _read_bytecode(json.loads(read_private(place))).load(plan)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BackendUnavailable):
        return None


def _read_bytecode(kept: Any) -> Bytecode:
    programs = kept["programs"].items()
    return Bytecode(
        {name: base64.b64decode(program["code"]) for name, program in programs},
        {name: {int(offset): named for offset, named in program["maps"].items()} for name, program in programs},
        {name: MapShape(**shape) for name, shape in kept["maps"].items()},
        dict(kept["typed"]),
    )


def store(place: Path, code: Bytecode) -> None:
    """For the next start; where it cannot be written that one compiles, too."""
    programs = {
        name: {
            "code": base64.b64encode(instructions).decode(),
            "maps": {str(offset): named for offset, named in code.map_references[name].items()},
        }
        for name, instructions in code.programs.items()
    }
    maps = {name: asdict(shape) for name, shape in code.maps.items()}
    with suppress(OSError):
        write_private(place, json.dumps({"maps": maps, "programs": programs, "typed": code.typed}).encode())
        _remove_oldest(place.parent)


def _remove_oldest(folder: Path) -> None:
    for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns, reverse=True)[_MAX_FILES:]:
        file.unlink(missing_ok=True)
