"""bpf(2) itself, where neither bcc nor every libbpf does what is needed: making maps, loading compiled programs."""

from __future__ import annotations

import ctypes as ct
import os
import platform
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tcptop_tui.bpf.load.btf import KernelTypes
from tcptop_tui.bpf.load.libbpf import load_libbpf
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import c_functions
from tcptop_tui.host.c_functions import Signature

# bpf(2) has no wrapper in the C library, and libbpf's changed its arguments with 0.6.
_BPF_SYSCALL = {
    "x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "s390x": 351, "ppc64le": 361, "ppc64": 361,
    "armv7l": 386, "armv6l": 386, "i686": 357, "i586": 357, "i386": 357,
}  # fmt: skip

# include/uapi/linux/bpf.h
_MAP_CREATE, _PROG_LOAD, _OBJ_GET = 0, 5, 7
_RDONLY = 1 << 3  # BPF_F_RDONLY
_TYPE_RAW_TRACEPOINT, _TYPE_TRACING = 17, 26
_TRACE_RAW_TP, _TRACE_FENTRY, TRACE_ITER = 23, 24, 28
_NAME_BYTES = 15
_LOG_BYTES = 1 << 20
_MOST_LINES = 20
_INSTRUCTION_BYTES = 8


class _MapAttr(ct.Structure):
    """``union bpf_attr`` of BPF_MAP_CREATE, as far as it is needed."""

    _fields_ = (
        ("map_type", ct.c_uint32), ("key_size", ct.c_uint32), ("value_size", ct.c_uint32),
        ("max_entries", ct.c_uint32), ("map_flags", ct.c_uint32), ("inner_map_fd", ct.c_uint32),
        ("numa_node", ct.c_uint32), ("map_name", ct.c_char * 16),
    )  # fmt: skip


class _ProgramAttr(ct.Structure):
    """``union bpf_attr`` of BPF_PROG_LOAD, as of 5.10."""

    _fields_ = (
        ("prog_type", ct.c_uint32), ("insn_cnt", ct.c_uint32), ("insns", ct.c_uint64), ("license", ct.c_uint64),
        ("log_level", ct.c_uint32), ("log_size", ct.c_uint32), ("log_buf", ct.c_uint64),
        ("kern_version", ct.c_uint32), ("prog_flags", ct.c_uint32), ("prog_name", ct.c_char * 16),
        ("prog_ifindex", ct.c_uint32), ("expected_attach_type", ct.c_uint32), ("prog_btf_fd", ct.c_uint32),
        ("func_info_rec_size", ct.c_uint32), ("func_info", ct.c_uint64), ("func_info_cnt", ct.c_uint32),
        ("line_info_rec_size", ct.c_uint32), ("line_info", ct.c_uint64), ("line_info_cnt", ct.c_uint32),
        ("attach_btf_id", ct.c_uint32), ("attach_prog_fd", ct.c_uint32),
    )  # fmt: skip


class _ObjectAttr(ct.Structure):
    """``union bpf_attr`` of BPF_OBJ_GET."""

    _fields_ = (("pathname", ct.c_uint64), ("bpf_fd", ct.c_uint32), ("file_flags", ct.c_uint32))


class _MapInfo(ct.Structure):
    """``struct bpf_map_info``; the kernel fills in no more than there is room for."""

    _fields_ = (
        ("type", ct.c_uint32), ("id", ct.c_uint32), ("key_size", ct.c_uint32), ("value_size", ct.c_uint32),
        ("max_entries", ct.c_uint32), ("map_flags", ct.c_uint32),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MapShape:
    """What a map is made by, in the kernel's words."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int


def map_shape(fd: int) -> MapShape:
    """Of a map that is there.

    Raises:
        OSError: the kernel refuses.
    """
    info, size = _MapInfo(), ct.c_uint32(ct.sizeof(_MapInfo))
    if load_libbpf().bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size)) != 0:
        raise OSError(ct.get_errno(), "bpf_obj_get_info_by_fd")
    return MapShape(info.type, info.key_size, info.value_size, info.max_entries, info.map_flags)


def create_map(name: str, shape: MapShape, inner: int = 0) -> int:
    """A new map; its descriptor is the caller's.

    Args:
        name: for whoever lists maps.
        shape: what it is made by.
        inner: descriptor of a map that all are like which a map of maps is made of.

    Raises:
        BackendUnavailable: the kernel refuses.
    """
    attr = _MapAttr(
        map_type=shape.type, key_size=shape.key_size, value_size=shape.value_size, max_entries=shape.max_entries,
        map_flags=shape.map_flags, inner_map_fd=inner, map_name=name.encode()[:_NAME_BYTES],
    )  # fmt: skip
    fd = _bpf(_MAP_CREATE, attr)
    if fd < 0:
        raise BackendUnavailable(f"map {name} is refused: {os.strerror(ct.get_errno())}")
    return fd


def open_pinned_map(path: str) -> int:
    """A map that lies in a BPF file system, to be read; its descriptor is the caller's.

    Raises:
        OSError: there is none, or the kernel refuses.
    """
    name = ct.create_string_buffer(os.fsencode(path))
    fd = _bpf(_OBJ_GET, _ObjectAttr(pathname=ct.addressof(name), file_flags=_RDONLY))
    if fd < 0:
        number = ct.get_errno()
        raise OSError(number, os.strerror(number), path)
    return fd


@dataclass(frozen=True, slots=True)
class AttachTarget:
    """What a program can be attached to, whose arguments' types it knows."""

    type_id: int
    """Of the kernel's BTF; 0: it knows none, and can be attached to any raw tracepoint."""
    attach_type: int
    """``enum bpf_attach_type`` (include/uapi/linux/bpf.h)."""


def load_program(name: str, code: bytes, target: AttachTarget = AttachTarget(0, 0)) -> int:
    """Have the kernel verify a compiled program.

    Args:
        name: for whoever lists programs.
        code: its instructions, with descriptors of maps in them.
        target: what it is for.

    Returns:
        The program's descriptor, the caller's.

    Raises:
        BackendUnavailable: the verifier refuses; the message has its last words.
    """
    license_, instructions = ct.create_string_buffer(b"GPL"), ct.create_string_buffer(code, len(code))
    attr = _ProgramAttr(
        prog_type=_TYPE_TRACING if target.type_id else _TYPE_RAW_TRACEPOINT,
        insn_cnt=len(code) // _INSTRUCTION_BYTES, insns=ct.addressof(instructions), license=ct.addressof(license_),
        prog_name=name.encode()[:_NAME_BYTES], expected_attach_type=target.attach_type,
        attach_btf_id=target.type_id,
    )  # fmt: skip
    fd = _bpf(_PROG_LOAD, attr)
    if fd >= 0:
        return fd
    log = ct.create_string_buffer(_LOG_BYTES)
    attr.log_level, attr.log_size, attr.log_buf = 1, _LOG_BYTES, ct.addressof(log)
    _bpf(_PROG_LOAD, attr)
    said = [line for line in log.value.decode(errors="replace").splitlines() if not line.startswith("processed")]
    raise BackendUnavailable(
        f"{name} is refused: {said[-1] if said else os.strerror(ct.get_errno())}", details=said[-_MOST_LINES:]
    )


def load_programs(codes: Mapping[str, bytes], typed: Mapping[str, str]) -> dict[str, int]:
    """Descriptors of ``codes`` by name; all or none, but for those that the tracer can do without.

    Args:
        codes: as for ``load_program``.
        typed: those that know the types of their arguments, and what they are for: the name of a tracepoint, or
            ``iter/NAME`` of an iterator or ``fentry/NAME`` of a function of the kernel, which may be refused.

    Raises:
        BackendUnavailable: no such tracepoint, or the verifier refuses one of them.
    """
    types = KernelTypes() if typed else None
    loaded: dict[str, int] = {}
    try:
        for name, code in codes.items():
            target = typed.get(name, "")
            with suppress(BackendUnavailable) if is_optional(target) else nullcontext():
                loaded[name] = load_program(name, code, _target(types, target))
    except BaseException:
        for fd in loaded.values():
            os.close(fd)
        raise
    finally:
        if types:
            types.close()
    return loaded


def is_optional(target: str) -> bool:
    """Whether the tracer can do without a program for ``target``, as ``load_programs`` takes it."""
    return "/" in target


def _target(types: KernelTypes | None, name: str) -> AttachTarget:
    if types is None or not name:
        return AttachTarget(0, 0)
    kind, _, function = name.rpartition("/")
    if kind == "iter":
        return AttachTarget(types.function(f"bpf_iter_{function}"), TRACE_ITER)
    if kind == "fentry":
        return AttachTarget(types.function(function), _TRACE_FENTRY)
    return AttachTarget(types.tracepoint(name), _TRACE_RAW_TP)


def _bpf(command: int, attr: ct.Structure) -> int:
    """A descriptor with close-on-exec, or -1 and ``errno``.

    Raises:
        BackendUnavailable: the number of bpf(2) is not known here.
    """
    if platform.machine() not in _BPF_SYSCALL:
        raise BackendUnavailable(f"bpf(2) has no number that is known on {platform.machine()}")
    return int(_libc().syscall(_BPF_SYSCALL[platform.machine()], command, ct.byref(attr), ct.sizeof(attr)))


@lru_cache(maxsize=1)
def _libc() -> Any:
    """syscall(2), which takes what the call takes: of bpf(2) a command, the attributes and their size."""
    return c_functions.load_library(
        None, {"syscall": Signature(ct.c_long, (ct.c_long, ct.c_long, ct.c_void_p, ct.c_size_t))}
    )
