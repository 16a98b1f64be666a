"""Load a program for a tracepoint with the types of its arguments, so that it may follow their pointers itself.

A program for a raw tracepoint has to ask a helper for each member of a socket that it reads; one that is verified
against the tracepoint's BTF loads it, at a tenth of the cost (``BPF_TRACE_RAW_TP``, 5.5 on; the cast to a TCP socket
needs 5.9). bcc compiles such programs and cannot load them: that is one system call.
"""

from __future__ import annotations

import ctypes as ct
import os
import platform

from tcptop_tui.bpf.btf import KernelTypes
from tcptop_tui.errors import BackendUnavailable

# bpf(2) has no wrapper in the C library, and libbpf's changed its arguments with 0.6.
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}

# include/uapi/linux/bpf.h
_PROG_LOAD = 5
_TYPE_TRACING = 26
_TRACE_RAW_TP = 23
_INSTRUCTION_BYTES = 8
_LOG_BYTES = 1 << 20


class _LoadAttr(ct.Structure):
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


def is_possible() -> bool:
    """Whether this machine's number of bpf(2) is known."""
    return platform.machine() in _BPF_SYSCALL


def load(name: str, instructions: int, size_bytes: int, tracepoint: str, types: KernelTypes) -> int:
    """Have the kernel verify a compiled program against the types of a tracepoint's arguments.

    Args:
        name: for whoever lists programs.
        instructions: address of the first one.
        size_bytes: of all of them.
        tracepoint: what it can be attached to.
        types: of the kernel that runs.

    Returns:
        The program's descriptor, the caller's.

    Raises:
        BackendUnavailable: no such tracepoint, or the verifier refuses; the message has its last words.
    """
    license_ = ct.create_string_buffer(b"GPL")
    attr = _LoadAttr(
        prog_type=_TYPE_TRACING, insn_cnt=size_bytes // _INSTRUCTION_BYTES, insns=instructions,
        license=ct.addressof(license_), prog_name=name.encode()[:15], expected_attach_type=_TRACE_RAW_TP,
        attach_btf_id=types.tracepoint(tracepoint),
    )  # fmt: skip
    fd = _bpf(attr)
    if fd >= 0:
        return fd
    log = ct.create_string_buffer(_LOG_BYTES)
    attr.log_level, attr.log_size, attr.log_buf = 1, _LOG_BYTES, ct.addressof(log)
    _bpf(attr)
    said = [line for line in log.value.decode(errors="replace").splitlines() if not line.startswith("processed")]
    raise BackendUnavailable(f"{name} is refused: {said[-1] if said else os.strerror(ct.get_errno())}")


def _bpf(attr: _LoadAttr) -> int:
    """A descriptor with close-on-exec, or -1 and ``errno``."""
    libc = ct.CDLL(None, use_errno=True)
    number = _BPF_SYSCALL[platform.machine()]
    return int(libc.syscall(ct.c_long(number), ct.c_long(_PROG_LOAD), ct.byref(attr), ct.c_size_t(ct.sizeof(attr))))
