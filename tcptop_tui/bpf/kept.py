"""Compiled programs, kept from start to start: LLVM takes half a second, and loading them a tenth of that.

What is kept is code for the kernel, in the platform's cache folder: it is read only where nobody else has a hand in it
(``config/own_files.py``), and the kernel verifies it as it does what has just been compiled. It is for one source
text on one kernel; whatever is wrong with it, the programs are compiled.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from tcptop_tui.bpf import headers, syscalls
from tcptop_tui.bpf.btf import VMLINUX_BTF
from tcptop_tui.bpf.syscalls import MapShape
from tcptop_tui.config.own_files import read_own, write_own
from tcptop_tui.errors import BackendUnavailable

_MOST_FILES = 16
"""Each is some 50 KB: one for a source text, a set of sizes and a kernel."""

# One instruction (include/uapi/linux/bpf.h): opcode, registers, offset, immediate. A map is named by two of
# them, of which the first has its descriptor.
_INSTRUCTION = struct.Struct("<BBhi")
_LOAD_64, _SOURCE_MAP = 0x18, 1


@dataclass(frozen=True)
class Built:
    """Descriptors by name."""

    programs: dict[str, int]
    maps: dict[str, int]
    typed: dict[str, str]
    """Programs that know the types of their tracepoint's arguments, and which: they are attached without naming it."""

    def close(self) -> None:
        """Give everything back."""
        for fd in (*self.programs.values(), *self.maps.values()):
            os.close(fd)


def place_of(asked: Any) -> Path:
    """Where the programs for one request are kept, if they are: named by all that decides what they are."""
    known = hashlib.blake2b(digest_size=20)
    generator = Path(headers.__file__).read_bytes()
    for part in (json.dumps(asked, sort_keys=True).encode(), generator, VMLINUX_BTF.read_bytes()):
        known.update(hashlib.blake2b(part).digest())
    known.update(" ".join(os.uname()[2:]).encode())
    return platformdirs.user_cache_path("tcptop-tui", appauthor=False) / "programs" / known.hexdigest()


def load(place: Path) -> Built | None:
    """Make the maps and load the programs that are kept there; None where that cannot be done."""
    try:
        kept = json.loads(read_own(place))
        return _loaded(kept)
    except (OSError, ValueError, KeyError, TypeError, struct.error, BackendUnavailable):
        return None


def _loaded(kept: Any) -> Built:
    with suppress(OSError, ValueError):  # up to 5.10 maps count as locked memory
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    built = Built({}, {}, dict(kept["typed"]))
    try:
        for name, shape in kept["maps"].items():
            built.maps[name] = syscalls.create_map(name, MapShape(**shape))
        codes = {
            name: _with_maps(base64.b64decode(program["code"]), program["maps"], built.maps)
            for name, program in kept["programs"].items()
        }
        built.programs.update(syscalls.load_programs(codes, built.typed))
    except BaseException:
        built.close()
        raise
    return built


def _with_maps(code: bytes, places: Mapping[str, str], maps: Mapping[str, int]) -> bytes:
    """``code`` with the descriptors of ``maps`` where ``places`` (offset in bytes, name) says."""
    changed = bytearray(code)
    for offset, name in places.items():
        opcode, registers, skip, _ = _INSTRUCTION.unpack_from(code, int(offset))
        _INSTRUCTION.pack_into(changed, int(offset), opcode, registers, skip, maps[name])
    return bytes(changed)


def keep(place: Path, built: Built, codes: Mapping[str, bytes]) -> None:
    """For the next start; where it cannot be written that one compiles, too.

    Args:
        place: of this request.
        built: what was made.
        codes: the programs' instructions, with descriptors of ``built.maps`` in them.
    """
    names = {fd: name for name, fd in built.maps.items()}
    programs = {
        name: {
            "code": base64.b64encode(code).decode(),
            "maps": {str(offset): names[fd] for offset, fd in _map_places(code)},
        }
        for name, code in codes.items()
    }
    maps = {name: asdict(syscalls.shape_of(fd)) for name, fd in built.maps.items()}
    with suppress(OSError):
        write_own(place, json.dumps({"maps": maps, "programs": programs, "typed": built.typed}).encode())
        _forget_oldest(place.parent)


def _map_places(code: bytes) -> Iterator[tuple[int, int]]:
    """Offsets of instructions that name a map, and its descriptor."""
    for number, (opcode, registers, _, immediate) in enumerate(_INSTRUCTION.iter_unpack(code)):
        if opcode == _LOAD_64 and registers >> 4 == _SOURCE_MAP:
            yield number * _INSTRUCTION.size, immediate


def _forget_oldest(folder: Path) -> None:
    for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns, reverse=True)[_MOST_FILES:]:
        file.unlink(missing_ok=True)
