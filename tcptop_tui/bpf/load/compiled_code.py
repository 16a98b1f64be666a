"""What a source text was compiled to: instructions and the maps that they name; and how it gets into the kernel."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tcptop_tui.bpf.load import syscalls
from tcptop_tui.bpf.load.syscalls import MapShape

# One instruction (include/uapi/linux/bpf.h): opcode, registers, offset, immediate. A map is named by two of
# them, of which the first has its descriptor.
_INSTRUCTION = struct.Struct("<BBhi")
_LOAD_64, _SOURCE_MAP = 0x18, 1

_NO_PREALLOC = 1
"""BPF_F_NO_PREALLOC: a hash takes memory when an entry is made."""


@dataclass(frozen=True, slots=True)
class MapPlan:
    """How maps are to be made, where that is not as the C source says; all by name of the map."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """Entries."""
    on_demand: Sequence[str] = ()
    """Hashes that take memory entry by entry."""
    inner: Mapping[str, str] = field(default_factory=dict)
    """Of a map of maps the one that all of its maps are like."""
    external: Mapping[str, int] = field(default_factory=dict)
    """Descriptors of maps that there are already."""

    def shape_for(self, name: str, declared: MapShape) -> MapShape:
        """What a map is made by that the source declares so."""
        flags = declared.map_flags | (_NO_PREALLOC if name in self.on_demand else 0)
        return replace(declared, max_entries=self.sizes.get(name, declared.max_entries), map_flags=flags)


NO_PLAN = MapPlan()
"""All as the source says."""


@dataclass(frozen=True)
class LoadedObjects:
    """Descriptors by name."""

    programs: dict[str, int]
    maps: dict[str, int]
    typed: dict[str, str]
    """Programs that know the types of their tracepoint's arguments, and which: they are attached without naming it."""

    def close(self) -> None:
        """Give everything back."""
        for fd in (*self.programs.values(), *self.maps.values()):
            os.close(fd)


@dataclass(frozen=True)
class Bytecode:
    """What a compiler has made; by name."""

    programs: dict[str, bytes]
    """Instructions; where they name a map anything stands."""
    map_references: dict[str, dict[int, str]]
    """Of each program where it names a map (offset in bytes), and which."""
    maps: dict[str, MapShape]
    typed: dict[str, str]
    """As ``LoadedObjects`` has them."""

    @classmethod
    def from_compiler(
        cls, programs: Mapping[str, bytes], maps: Mapping[str, int], typed: Mapping[str, str]
    ) -> Bytecode:
        """Of programs with descriptors of ``maps`` in them.

        Raises:
            OSError: the kernel does not tell what the maps are.
        """
        names = {fd: name for name, fd in maps.items()}
        places = {name: {offset: names[fd] for offset, fd in _map_references(code)} for name, code in programs.items()}
        shapes = {name: syscalls.map_shape(fd) for name, fd in maps.items()}
        return cls(dict(programs), places, shapes, dict(typed))

    def load(self, plan: MapPlan) -> LoadedObjects:
        """Make the maps, and have the kernel verify the programs.

        Raises:
            BackendUnavailable: the kernel refuses one of them.
        """
        built = LoadedObjects({}, {}, dict(self.typed))
        try:
            self._make_maps(built.maps, plan)
            codes = {name: self._with_maps(name, built.maps) for name in self.programs}
            built.programs.update(syscalls.load_programs(codes, built.typed))
        except BaseException:
            built.close()
            raise
        return built

    def _make_maps(self, made: dict[str, int], plan: MapPlan) -> None:
        """Maps of maps last: the kernel wants to see one of those that they are made of."""
        for name, declared in sorted(self.maps.items(), key=lambda each: each[0] in plan.inner):
            if name in plan.external:
                made[name] = os.dup(plan.external[name])
            else:
                inner = made[plan.inner[name]] if name in plan.inner else 0
                made[name] = syscalls.create_map(name, plan.shape_for(name, declared), inner)

    def _with_maps(self, name: str, maps: Mapping[str, int]) -> bytes:
        code = self.programs[name]
        changed = bytearray(code)
        for offset, named in self.map_references[name].items():
            opcode, registers, skip, _ = _INSTRUCTION.unpack_from(code, offset)
            _INSTRUCTION.pack_into(changed, offset, opcode, registers, skip, maps[named])
        return bytes(changed)


def _map_references(code: bytes) -> Iterator[tuple[int, int]]:
    """Offsets of instructions that name a map, and its descriptor."""
    for number, (opcode, registers, _, immediate) in enumerate(_INSTRUCTION.iter_unpack(code)):
        if opcode == _LOAD_64 and registers >> 4 == _SOURCE_MAP:
            yield number * _INSTRUCTION.size, immediate
