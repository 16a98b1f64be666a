"""Functions of C libraries, with the types that their headers declare.

ctypes takes and gives a C ``int`` where nothing is declared: a pointer loses its upper half. The heap of a
position-independent interpreter lies above 4 GiB, so such a call crashes there, and only there. A library is
therefore reached through this module only, which gives no function that is not declared; a test says so.
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

    They are this caller's own: what somebody else has declared for the same library stays as it is.

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
    """As ``declared``, of the shared library ``name``; None: of the C library, which is loaded already.

    A call that fails leaves its ``errno`` for ``ctypes.get_errno``.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it has no such function.
    """
    return declare(ct.CDLL(name, use_errno=True), signatures)
