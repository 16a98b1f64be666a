"""Where the running kernel keeps its struct members, read from its own BTF through libbpf."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tcptop_tui.bpf.load.libbpf import load_libbpf
from tcptop_tui.errors import BackendUnavailable

VMLINUX_BTF = Path("/sys/kernel/btf/vmlinux")

# include/uapi/linux/btf.h
_KIND_STRUCT, _KIND_UNION, _KIND_TYPEDEF, _KIND_FUNC = 4, 5, 8, 12
_KIND_FLAG_BIT = 31


class _BtfType(ct.Structure):
    """``struct btf_type`` (include/uapi/linux/btf.h); ``size`` is the type that a pointer or typedef is of.

    Its members follow it in memory.
    """

    _fields_ = (("name_off", ct.c_uint32), ("info", ct.c_uint32), ("size", ct.c_uint32))


class _BtfMember(ct.Structure):
    """``struct btf_member``: ``offset`` is in bits, with the bitfield size above bit 24."""

    _fields_ = (("name_off", ct.c_uint32), ("type", ct.c_uint32), ("offset", ct.c_uint32))


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a kernel struct."""

    offset_bytes: int
    size_bytes: int
    bit: int = 0
    """Of a bit field: where it begins in its first byte."""


class KernelTypes:
    """The BTF of the running kernel.

    Raises:
        BackendUnavailable: no libbpf, or a kernel without BTF.
    """

    def __init__(self) -> None:
        self._lib = load_libbpf()
        handle = self._lib.btf__load_vmlinux_btf()
        # libbpf.so.0 gives ERR_PTR values: the last page of the address space
        if not handle or handle > 2**64 - 4096:
            raise BackendUnavailable(
                f"the kernel has no type information ({VMLINUX_BTF})",
                hint="use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            )
        self._btf = ct.c_void_p(handle)

    def close(self) -> None:
        """Give libbpf's copy of the BTF (some 5 MB) back."""
        self._lib.btf__free(self._btf)

    def member(self, struct: str, path: str) -> Member:
        """Offset and size of ``path`` in ``struct``; ``ns.inum`` goes into a nested struct.

        Members of anonymous structs and unions count as the outer struct's own.

        Raises:
            BackendUnavailable: no such struct or member in this kernel.
        """
        type_id = self._lib.btf__find_by_name_kind(self._btf, struct.encode(), _KIND_STRUCT)
        offset_bits = 0
        for name in path.split("."):
            found = self._find_member(type_id, name) if type_id > 0 else None
            if found is None:
                raise BackendUnavailable(
                    f"this kernel's BTF has no struct {struct} with a member {path}",
                    hint="report the kernel version; the sock_diag backend works meanwhile",
                )
            type_id, offset_bits = found[0], offset_bits + found[1]
        size = int(self._lib.btf__resolve_size(self._btf, type_id))
        return Member(offset_bits // 8, size, offset_bits % 8)

    def tracepoint(self, name: str) -> int:
        """Id of the type of a tracepoint's probes, which tells what its arguments are.

        Raises:
            BackendUnavailable: no such tracepoint in this kernel.
        """
        type_id = int(self._lib.btf__find_by_name_kind(self._btf, b"btf_trace_" + name.encode(), _KIND_TYPEDEF))
        if type_id <= 0:
            raise BackendUnavailable(f"this kernel's BTF has no tracepoint {name}")
        return type_id

    def arguments(self, name: str) -> int:
        """How many arguments a tracepoint has.

        Raises:
            BackendUnavailable: no such tracepoint in this kernel.
        """
        type_id = self.tracepoint(name)
        for _ in ("typedef", "pointer"):  # to the prototype of its probes, whose first argument is not the tracepoint's
            type_id = self._type(type_id).size
        info: int = self._type(type_id).info
        return (info & 0xFFFF) - 1

    def _type(self, type_id: int) -> _BtfType:
        return _BtfType.from_address(self._lib.btf__type_by_id(self._btf, type_id))

    def function(self, name: str) -> int:
        """Id of the type of one of the kernel's functions.

        Raises:
            BackendUnavailable: no such function in this kernel.
        """
        type_id = int(self._lib.btf__find_by_name_kind(self._btf, name.encode(), _KIND_FUNC))
        if type_id <= 0:
            raise BackendUnavailable(f"this kernel's BTF has no function {name}")
        return type_id

    def has_function(self, name: str) -> bool:
        """Whether this kernel has a function of that name."""
        return int(self._lib.btf__find_by_name_kind(self._btf, name.encode(), _KIND_FUNC)) > 0

    def _find_member(self, type_id: int, wanted: str) -> tuple[int, int] | None:
        """(type id, offset in bits) of member ``wanted``, anonymous members searched too."""
        for name, member_type, offset in self._members(type_id):
            if name == wanted:
                return member_type, offset
            if not name:
                inner = self._find_member(member_type, wanted)
                if inner is not None:
                    return inner[0], offset + inner[1]
        return None

    def _members(self, type_id: int) -> Iterator[tuple[str, int, int]]:
        """(name, type id, offset in bits) of each member of a struct or union."""
        resolved = self._lib.btf__resolve_type(self._btf, type_id)
        address = self._lib.btf__type_by_id(self._btf, resolved)
        if not address:
            return
        info = _BtfType.from_address(address).info
        if info >> 24 & 0x1F not in {_KIND_STRUCT, _KIND_UNION}:
            return
        members = (_BtfMember * (info & 0xFFFF)).from_address(address + ct.sizeof(_BtfType))
        has_bitfields = info >> _KIND_FLAG_BIT
        for member in members:
            name = self._lib.btf__name_by_offset(self._btf, member.name_off) or b""
            offset = member.offset & 0xFFFFFF if has_bitfields else member.offset
            yield name.decode(), member.type, offset
