"""The functions of libbpf: those on maps and tracepoints, which take a descriptor, and those that read BTF."""

from __future__ import annotations

import ctypes as ct
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import c_functions
from tcptop_tui.host.c_functions import Signature

_NUMBER, _POINTER, _NAME = ct.c_int, ct.c_void_p, ct.c_char_p
_SIZE = ct.POINTER(ct.c_uint32)

_FUNCTIONS = {
    # tools/lib/bpf/bpf.h: all fail with a negative result and errno
    "bpf_map_lookup_elem": Signature(_NUMBER, (_NUMBER, _POINTER, _POINTER)),
    "bpf_map_update_elem": Signature(_NUMBER, (_NUMBER, _POINTER, _POINTER, ct.c_uint64)),
    "bpf_map_delete_elem": Signature(_NUMBER, (_NUMBER, _POINTER)),
    "bpf_map_lookup_batch": Signature(_NUMBER, (_NUMBER, *[_POINTER] * 4, _SIZE, _POINTER)),
    "bpf_obj_get_info_by_fd": Signature(_NUMBER, (_NUMBER, _POINTER, _SIZE)),
    "bpf_raw_tracepoint_open": Signature(_NUMBER, (_NAME, _NUMBER)),
    "bpf_link_create": Signature(_NUMBER, (_NUMBER, _NUMBER, _NUMBER, _POINTER)),
    "bpf_iter_create": Signature(_NUMBER, (_NUMBER,)),
    # tools/lib/bpf/btf.h
    "btf__load_vmlinux_btf": Signature(_POINTER, ()),
    "btf__find_by_name_kind": Signature(ct.c_int32, (_POINTER, _NAME, ct.c_uint32)),
    "btf__type_by_id": Signature(_POINTER, (_POINTER, ct.c_uint32)),
    "btf__name_by_offset": Signature(_NAME, (_POINTER, ct.c_uint32)),
    "btf__resolve_size": Signature(ct.c_int64, (_POINTER, ct.c_uint32)),
    "btf__resolve_type": Signature(_NUMBER, (_POINTER, ct.c_uint32)),
    "btf__free": Signature(None, (_POINTER,)),
}


@lru_cache(maxsize=1)
def load_libbpf() -> Any:
    """The system's libbpf, which bcc needs too, with the functions that are used here.

    Raises:
        BackendUnavailable: it is not installed, or too old.
    """
    return load_libbpf_functions(_FUNCTIONS)


def load_libbpf_functions(signatures: Mapping[str, Signature]) -> Any:
    """The same with other functions.

    Raises:
        BackendUnavailable: it is not installed, or too old.
    """
    for name in ("libbpf.so.1", "libbpf.so.0", "libbpf.so"):
        try:
            return c_functions.load_library(name, signatures)
        except OSError:
            continue
        except AttributeError as error:
            raise BackendUnavailable(f"{name} is too old ({error})", hint="install libbpf 0.5 or newer") from error
    raise BackendUnavailable("libbpf is not installed", hint="apt install libbpf1  (Fedora, Arch: libbpf)")


def libbpf_version() -> str:
    """As it says itself, e.g. ``v1.1``; empty where it does not (before 0.6)."""
    try:
        told = load_libbpf_functions({"libbpf_version_string": Signature(_NAME, ())}).libbpf_version_string()
    except BackendUnavailable:
        return ""
    return str(told.decode())


def last_error(call: str) -> OSError:
    """To raise for a call that has just failed, with its ``errno``."""
    number = ct.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
