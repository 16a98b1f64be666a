"""C functions are called with the types that their headers declare, whatever interpreter runs this."""

from __future__ import annotations

import ast
import ctypes as ct
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import tcptop_tui
from tcptop_tui.bpf.load.libbpf import _FUNCTIONS
from tcptop_tui.host import c_functions
from tcptop_tui.host.c_functions import Signature

ROOT = Path(tcptop_tui.__file__).parent.parent
LOADERS = {"CDLL", "PyDLL", "OleDLL", "WinDLL", "LibraryLoader", "LoadLibrary", "cdll", "pydll", "pythonapi", "dlopen"}
"""What gives a library whose functions are not declared."""
ET_DYN = 3
"""elf.h: an executable of this type is position-independent."""
LAUNCHER = "#include <Python.h>\nint main(int argc, char **argv) { return Py_BytesMain(argc, argv); }\n"
COUNTS = """
BPF_ARRAY(seen, u64, 1);
int count(void *ctx) { int at = 0; u64 *value = seen.lookup(&at); if (value) (*value)++; return 0; }
"""

COMPILE = """
import sys
from tcptop_tui.bpf.load.compiler_client import LoadedPrograms, CompileRequest
compiled = LoadedPrograms(CompileRequest(sys.argv[1], [], ["count"], keeps=False))
print(*compiled.functions)
compiled.close()
"""


def undeclared(source: str) -> Iterator[str]:
    """Names in a module by which a C function is reached that has no types."""
    for node in ast.walk(ast.parse(source)):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in LOADERS:
            yield name
        if isinstance(node, ast.Attribute) and node.attr == "lib" and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.lib"


def test_every_foreign_function_is_reached_with_its_types() -> None:
    found = {
        str(file.relative_to(ROOT)): names
        for folder in ("tcptop_tui", "benchmarks", ".ci", "screenshots")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if (names := sorted(set(undeclared(file.read_text()))))
    }
    assert found == {"tcptop_tui/host/c_functions.py": ["CDLL"]}


def called_of_libbpf(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("load_libbpf()"):
            yield node.attr


def test_whoever_uses_libbpf_uses_what_is_declared() -> None:
    """Also benchmarks and tests, which no other test runs."""
    called = {
        name
        for folder in ("tcptop_tui", "benchmarks", "tests")
        for file in (ROOT / folder).rglob("*.py")
        for name in called_of_libbpf(file.read_text())
    }
    assert called - {"bpf_map_lookup_elem"} < called <= set(_FUNCTIONS)


def test_what_is_not_declared_cannot_be_called() -> None:
    libc = c_functions.load_library(None, {"getpid": Signature(ct.c_int, ())})
    assert libc.getpid() == os.getpid()
    with pytest.raises(AttributeError):
        libc.getppid()


def test_a_pointer_stays_whole() -> None:
    """And whoever else uses the library sees nothing of it."""
    lib = ct.CDLL(None)
    address = 0x7F12_3456_789A
    libc = c_functions.declare(lib, {"labs": Signature(ct.c_void_p, (ct.c_void_p,))})
    assert libc.labs(address) == address
    assert lib.labs.restype is ct.c_int


def is_position_independent(executable: Path) -> bool:
    with executable.open("rb") as file:
        return int.from_bytes(file.read(18)[16:], sys.byteorder) == ET_DYN


def of_this_version() -> Iterator[Path]:
    """Interpreters that can use the packages of this one."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    yield Path(sys.executable).resolve()
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from root.glob(f"versions/{sys.version_info[0]}.{sys.version_info[1]}.*/bin/{name}")


def made(folder: Path) -> Path:
    """One linked here to Python's library; skips where there is no compiler for that."""
    at = folder / "python"
    config = sysconfig.get_config_vars()
    done = subprocess.run(
        ["gcc", "-pie", "-fPIE", "-x", "c", "-", f"-I{config['INCLUDEPY']}", f"-L{config['LIBDIR']}",
         f"-lpython{config['LDVERSION']}", "-o", str(at)],
        input=LAUNCHER, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no position-independent Python here: {done.stderr.strip().splitlines()[-1:]}")
    return at


@pytest.fixture
def independent_python(tmp_path: Path) -> Path:
    """A position-independent Python with this one's packages, as ``python -m venv`` would make it."""
    base = next(filter(is_position_independent, of_this_version()), None)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    if base:
        python.symlink_to(base)
    else:
        made(tmp_path / "bin")
        base = Path(sys.executable).resolve()
    (tmp_path / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    packages = tmp_path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(sysconfig.get_path("purelib"))
    return python


@pytest.mark.host
def test_a_position_independent_python_compiles(bpf_possible: None, independent_python: Path) -> None:
    """Its heap lies above 4 GiB: a pointer that is cut to 32 bits ended the compiler by SIGSEGV."""
    done = subprocess.run([independent_python, "-c", COMPILE, COUNTS], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("count\n", "")
