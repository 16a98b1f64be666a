"""Calls functions of C libraries through ctypes, always with the types that their headers declare.

Without a declaration ctypes takes every argument and result for a C ``int``, and a pointer loses its upper half. The
heap of a position-independent interpreter lies above 4 GiB, so such a call crashes there, and only there. All other
modules therefore load libraries through this one, which gives no function that is not declared; a test checks it.
"""

from __future__ import annotations

import ctypes as ct
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple


class Signature(NamedTuple):
    """What a C function returns and takes: ctypes types; None as a result is ``void``."""

    result: Any
    arguments: tuple[Any, ...]


def declare(lib: ct.CDLL, signatures: Mapping[str, Signature]) -> Any:
    """An object whose attributes are the functions of ``signatures``, and no others.

    The declarations hold for this object only; other callers of the same library keep theirs.

    Raises:
        AttributeError: the library has no such function.
    """
    functions = SimpleNamespace()
    for name, signature in signatures.items():
        function = lib[name]
        function.restype, function.argtypes = signature.result, list(signature.arguments)
        setattr(functions, name, function)
    return functions


def load_library(name: str | None, signatures: Mapping[str, Signature]) -> Any:
    """As ``declare``, for the shared library ``name``; None is the C library, which is always loaded.

    After a call that failed, ``ctypes.get_errno`` has its ``errno``.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it has no such function.
    """
    return declare(ct.CDLL(name, use_errno=True), signatures)
