"""A pytest plugin for emulated machines: the same C text with the same flags is compiled and verified once.

LLVM takes 15 s there and nearly every test has a program of its own. Here it gets the one that an earlier
test has closed, with its maps as the compiler left them: empty, zero.
"""

from __future__ import annotations

import ctypes as ct
import mmap
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import pytest

from tcptop_tui.bpf import packets, program
from tcptop_tui.bpf.load.compiled_code import NO_PLAN, MapPlan
from tcptop_tui.bpf.load.compiler_client import CompileRequest, LoadedPrograms
from tcptop_tui.bpf.load.libbpf import load_libbpf, load_libbpf_functions
from tcptop_tui.bpf.load.syscalls import MapShape, map_shape
from tcptop_tui.bpf.maps import possible_cpus
from tcptop_tui.host.c_functions import Signature

_Descriptors = tuple[dict[str, int], dict[str, int]]
_Key = tuple[str, tuple[str, ...], tuple[str, ...], frozenset[tuple[str, str]], str]

_closed: dict[_Key, list[tuple[_Descriptors, frozenset[str]]]] = defaultdict(list)
_misses_before: dict[int, int] = {}

# enum bpf_map_type, include/uapi/linux/bpf.h
_HASHES = {1, 9}  # plain, LRU
_ARRAY, _PERCPU_ARRAY, _ARRAY_OF_MAPS, _QUEUE, _STACK, _RINGBUF = 2, 6, 12, 22, 23, 27
_MMAPABLE = 1 << 10  # BPF_F_MMAPABLE


def _empty_hash(fd: int, shape: MapShape) -> None:
    key = ct.create_string_buffer(shape.key_size)
    lib = load_libbpf_functions({"bpf_map_get_next_key": Signature(ct.c_int, (ct.c_int, ct.c_void_p, ct.c_void_p))})
    while lib.bpf_map_get_next_key(fd, None, key) == 0:
        load_libbpf().bpf_map_delete_elem(fd, key)


def _zero_array(fd: int, shape: MapShape) -> None:
    copies = possible_cpus() if shape.type == _PERCPU_ARRAY else 1
    value = ct.create_string_buffer((shape.value_size + 7) // 8 * 8 * copies)
    for index in range(shape.max_entries):
        key = ct.c_uint32(index)
        assert load_libbpf().bpf_map_update_elem(fd, ct.byref(key), value, 0) == 0


def _zero_memory(fd: int, shape: MapShape) -> None:
    with mmap.mmap(fd, (shape.value_size + 7) // 8 * 8 * shape.max_entries) as memory:
        memory[:] = bytes(len(memory))


def _empty_queue(fd: int) -> None:
    number, takes = ct.c_uint32(), Signature(ct.c_int, (ct.c_int, ct.c_void_p, ct.c_void_p))
    lib = load_libbpf_functions({"bpf_map_lookup_and_delete_elem": takes})
    while lib.bpf_map_lookup_and_delete_elem(fd, None, ct.byref(number)) == 0:
        pass


def _empty_ring(fd: int) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    with mmap.mmap(fd, page) as consumer, mmap.mmap(fd, page, prot=mmap.PROT_READ, offset=page) as producer:
        consumer[:8] = producer[:8]


def _empty(name: str, fd: int) -> None:
    if name.startswith("pinned_"):
        return  # somebody else's
    shape = map_shape(fd)
    if shape.type in _HASHES:
        _empty_hash(fd, shape)
    elif shape.map_flags & _MMAPABLE:
        _zero_memory(fd, shape)
    elif shape.type == _ARRAY_OF_MAPS:
        for index in range(shape.max_entries):
            load_libbpf().bpf_map_delete_elem(fd, ct.byref(ct.c_uint32(index)))
    elif shape.type in {_QUEUE, _STACK}:
        _empty_queue(fd)
    elif shape.type in {_ARRAY, _PERCPU_ARRAY}:
        _zero_array(fd, shape)
    elif shape.type == _RINGBUF:
        _empty_ring(fd)


class OnceRequest(CompileRequest):
    """Compiles only where no closed program of the same text, flags and functions is at hand."""

    def __init__(
        self, text: str, flags: Sequence[str], functions: Iterable[str],
        typed: Mapping[str, str] = MappingProxyType({}), plan: MapPlan = NO_PLAN, *, keeps: bool = True,
    ) -> None:  # fmt: skip
        self.key = (text, tuple(flags), tuple(functions), frozenset(typed.items()), repr((plan.sizes, plan.on_demand)))
        self._kept = _closed[self.key].pop() if _closed[self.key] and not plan.external else None
        if self._kept is None:
            super().__init__(*self.key[:3], typed, plan, keeps=keeps)

    def answer(self) -> _Descriptors:
        if self._kept is None:
            made = super().result()
        else:
            made, self.typed = self._kept
        for name, fd in made[1].items():
            _empty(name, fd)
        for fd in made[0].values():
            _misses_before[fd] = _count_misses(fd)
        return made

    def cancel(self) -> None:
        if self._kept is None:
            super().cancel()
        else:
            _closed[self.key].append(self._kept)


class OnceCompiled(LoadedPrograms):
    """Detaches when it is closed, and keeps the rest for the next test."""

    def __init__(self, request: CompileRequest) -> None:
        super().__init__(request)
        assert isinstance(request, OnceRequest)
        self._key = request.key

    def close(self) -> None:
        if self.functions:
            _closed[self._key].append(((self.functions, self._maps), self.typed))
        self.functions, self._maps = {}, {}
        super().close()


_count_misses = program.prog_recursion_misses


def _misses(fd: int) -> int:
    """Since the program was handed out: the kernel's count is never reset."""
    return _count_misses(fd) - _misses_before[fd]


def pytest_configure() -> None:
    for module in (program, packets):
        vars(module).update(Request=OnceRequest, Compiled=OnceCompiled)
    program.prog_recursion_misses = _misses


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name == "test_nothing_remains_after_close":
            item.add_marker(pytest.mark.skip(reason="emulated: programs are kept from test to test"))
