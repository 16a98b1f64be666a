"""libbpf's calls on maps and tracepoints; what they take is a descriptor, whoever made it."""

from __future__ import annotations

import ctypes as ct
import os
from functools import lru_cache

from tcptop_tui.errors import BackendUnavailable


@lru_cache(maxsize=1)
def load_libbpf() -> ct.CDLL:
    """The system's libbpf, which bcc needs too.

    Raises:
        BackendUnavailable: it is not installed.
    """
    for name in ("libbpf.so.1", "libbpf.so.0", "libbpf.so"):
        try:
            lib = ct.CDLL(name, use_errno=True)
        except OSError:
            continue
        _declare(lib)
        return lib
    raise BackendUnavailable("libbpf is not installed", mend="apt install libbpf1  (Fedora, Arch: libbpf)")


def refusal(call: str) -> OSError:
    """To raise for a call that has just failed, with its ``errno``."""
    number = ct.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")


def _declare(lib: ct.CDLL) -> None:
    """As tools/lib/bpf/bpf.h has them. All fail with a negative result and ``errno``."""
    number, pointer = ct.c_int, ct.c_void_p
    lib.bpf_map_lookup_elem.argtypes = [number, pointer, pointer]
    lib.bpf_map_update_elem.argtypes = [number, pointer, pointer, ct.c_uint64]
    lib.bpf_map_delete_elem.argtypes = [number, pointer]
    lib.bpf_map_lookup_batch.argtypes = [number, *[pointer] * 4, ct.POINTER(ct.c_uint32), pointer]
    lib.bpf_raw_tracepoint_open.argtypes = [ct.c_char_p, number]
