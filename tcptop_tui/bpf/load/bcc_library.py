"""The one place that imports bcc, wherever the system keeps it, and only when asked to.

bcc comes with the system's packages and is plain Python over ctypes, so it loads into any
interpreter; but a virtual environment does not see the system's dist-packages. ``bcc`` on PyPI is
an unrelated crystal-lattice package: what was imported counts only when it has ``BPF``.
"""

from __future__ import annotations

import ctypes as ct
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import c_functions, startup
from tcptop_tui.host.c_functions import Signature

_MOST_STDERR_BYTES = 1 << 20
INSTALL_HINT = "apt install python3-bpfcc  (Fedora: python3-bcc, Arch: python-bcc)"
_MODULE, _NAME = ct.c_void_p, ct.c_char_p
_LIBBCC = {
    # src/cc/bcc_common.h: those that read what a module was compiled to. bcc's Python declares only some of them
    "bpf_function_start": Signature(ct.c_void_p, (_MODULE, _NAME)),
    "bpf_function_size": Signature(ct.c_size_t, (_MODULE, _NAME)),
    "bpf_num_tables": Signature(ct.c_size_t, (_MODULE,)),
    "bpf_table_name": Signature(ct.c_char_p, (_MODULE, ct.c_size_t)),
    "bpf_table_fd": Signature(ct.c_int, (_MODULE, _NAME)),
}
_SYSTEM_PATHS = (
    "/usr/lib/python3/dist-packages",
    "/usr/local/lib/python3/dist-packages",
    "/usr/lib/python3*/site-packages",
    "/usr/lib64/python3*/site-packages",
)


def system_packages() -> Iterator[Path]:
    """Directories of the system's Python packages that have a ``bcc``."""
    for pattern in _SYSTEM_PATHS:
        for directory in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (directory / "bcc/__init__.py").is_file():
                yield directory


def _import_from(directory: Path) -> ModuleType:
    """Import ``bcc`` from ``directory`` without putting its neighbours on ``sys.path``."""
    init = directory / "bcc/__init__.py"
    spec = importlib.util.spec_from_file_location("bcc", init, submodule_search_locations=[str(init.parent)])
    if spec is None or spec.loader is None:
        raise ImportError(str(init))
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        _unload_bcc()
        raise
    return module


def _unload_bcc() -> None:
    for name in [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]:
        del sys.modules[name]


def load_bcc() -> Any:
    """The ``bcc`` module; not PYTHONPATH's, since what it is imported for is the kernel.

    Raises:
        BackendUnavailable: not installed, or only PyPI's package of that name is.
    """
    before, sys.path[:] = list(sys.path), startup.isolated_path()
    try:
        return _load()
    finally:
        sys.path[:] = before


def _load() -> Any:
    impostor = ""
    try:
        module = importlib.import_module("bcc")
        if "BPF" in vars(module):
            return module
        impostor = "the bcc that Python finds is PyPI's crystal-lattice package, not the BPF compiler"
        _unload_bcc()
    except (ImportError, OSError, AttributeError) as error:
        impostor = "" if isinstance(error, ModuleNotFoundError) else f"bcc cannot be loaded ({error})"
        _unload_bcc()
    for directory in system_packages():
        try:
            return _import_from(directory)
        except (ImportError, OSError, AttributeError) as error:
            impostor = f"bcc in {directory} cannot be loaded ({error})"
    raise BackendUnavailable(impostor or "bcc is not installed", hint=INSTALL_HINT)


def load_libbcc() -> Any:
    """Bcc's C library, with functions that its Python module does not declare.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it is not the one that is known here.
    """
    return c_functions.load_library("libbcc.so.0", _LIBBCC)


def llvm_version() -> str:
    """Of the one that libbcc has loaded; empty where it brings its own."""
    found = re.search(r"/libLLVM(?:-|\.so\.)(\d+(?:\.\d+)*)", Path("/proc/self/maps").read_text())
    return f"LLVM {found[1]}" if found else ""


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """What C libraries print on file descriptor 2, which must be a file; the list is filled at the end.

    bcc and LLVM write warnings there.
    """
    lines: list[str] = []
    begin = os.lseek(2, 0, os.SEEK_END)
    try:
        yield lines
    finally:
        lines += os.pread(2, _MOST_STDERR_BYTES, begin).decode(errors="replace").splitlines()
