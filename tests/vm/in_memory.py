"""Leave the host's files before the guest is suspended: the way to them (9p) does not survive it.

QEMU resets its devices then, and the 9p driver knows nothing of suspend: who opens a file afterwards waits for ever.
So what the tests need is unpacked into memory, and this module is run from there, as the last thing that the guest
does. It tells by a serial line what came of them, and restarts by itself: init cannot read its own program any more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/run/memory")
TOLD = Path("/dev/ttyS1")
"""Where the host reads, see ``boot.py``."""

_REPORT = Path("/tmp/report.xml")
_LIBRARIES = tuple(f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("libbcc.so.0", "libbpf.so.1", "librt.so.1"))
_FOLDERS = ("/usr/lib/python3/dist-packages/bcc", "/usr/lib/python3.11", "/usr/lib/terminfo")
_FILES = ("/etc/hosts", "/etc/passwd", "/etc/group", "/etc/services", "/etc/nsswitch.conf", "/etc/ld.so.cache")
_NEVER_USED = re.compile(
    r"\.|mypy|.*__mypyc|pip$|grimp|setuptools$|ruff$|import_?linter|idlelib|lib2to3|config-3|pydoc_data|screenshots$"
    r"|__snapshots__|docs$|.*\.pyi$"
)
_LINKS = {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")}
_RESTART = Path("/proc/sysrq-trigger")
_MODULES = ("inet_diag", "tcp_diag")


def _linked(program: str) -> Iterator[str]:
    """Libraries that ``program`` is linked with, by the paths at which they are looked for."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    yield from map(os.path.normpath, re.findall(r"(/\S+) \(0x", told))


def _chosen(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    kept = info.name.endswith("/.venv") or not _NEVER_USED.match(Path(info.name).name)
    return info if kept else None


def pack(repository: str, python: str, into: Path) -> None:
    """What the tests in ``repository`` need, with its environment: some hundred megabytes, read in one go."""
    environment = str(Path(python).parent.parent)
    folders = {*_FOLDERS, repository, environment}
    extensions = [str(path) for path in Path(environment).glob("lib/python3*/site-packages/numpy/_core/*.so")]
    extensions += map(str, Path("/usr/lib/python3.11/lib-dynload").glob("*.so"))
    real = os.path.realpath(python)
    linked = {library for program in (real, *_LIBRARIES, *extensions) for library in _linked(program)}
    with tarfile.open(into, "w") as packed:
        for name, target in _LINKS.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            packed.addfile(link)
        for folder in folders:
            if not any(folder != other and Path(folder).is_relative_to(other) for other in folders):
                packed.add(folder, filter=_chosen)
        for path in {real, os.readlink(Path(python).with_name("python3")), *_LIBRARIES, *linked, *_FILES}:
            if path.startswith(environment):
                continue
            inside = f"usr{path}" if path.startswith(tuple(f"/{name}/" for name in _LINKS)) else path
            packed.add(os.path.realpath(path), inside)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def leave(packed: Path, repository: str, python: str, tests: list[str]) -> None:
    """Run ``tests`` from memory; never returns."""
    for module in _MODULES:
        subprocess.run(["modprobe", module], check=False)
    Path("/proc/sys/kernel/modprobe").write_text("\n")  # it would be looked for there
    ROOT.mkdir()
    _mount("-t", "tmpfs", "-o", "size=1500M", "memory", str(ROOT))
    subprocess.run(["tar", "--extract", "--file", str(packed), "--directory", str(ROOT)], check=True)
    for name in ("proc", "sys", "dev"):
        (ROOT / name).mkdir()
        _mount("--rbind", f"/{name}", str(ROOT / name))
    for name in ("tmp", "run", "root"):
        (ROOT / name).mkdir(exist_ok=True)
    os.chroot(ROOT)
    os.chdir(repository)
    os.execv(python, [python, str(Path(repository, "tests/vm/in_memory.py")), *tests])  # noqa: S606


def main(tests: list[str]) -> None:
    environment = {
        **os.environ, "TCPTOP_REQUIRE_BPF": "1", "TCPTOP_OWN_CLOCK": "1", "LANG": "C.UTF-8", "HOME": "/root",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "pytest", "-v", "-s", "--color=no", "-o", "timeout=900", "--basetemp", "/tmp/vmtest",
        f"--junitxml={_REPORT}", *tests,
    ]  # fmt: skip
    subprocess.run(command, check=False, env=environment)
    with TOLD.open("wb") as line:
        line.write(_REPORT.read_bytes() if _REPORT.exists() else b"")
    _RESTART.write_text("b")  # which ends QEMU


if __name__ == "__main__":
    main(sys.argv[1:])
