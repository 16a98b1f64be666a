"""What runs inside: prepare the guest, run the tests, write what came of it where the host sees it.

Plain Python, nothing but the standard library: it is the system's interpreter that runs it.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from xml.etree import ElementTree as ET

from in_memory import leave

CACHED = "cached"
"""Tag of the second way to the host's files, see ``boot.py``."""

JOB, ANSWER, AGAIN = "job.json", "answer.json", "-again"

PACKED, TOLD = "packed.tar", "clock.xml"
"""What the tests that suspend the guest need, and their report, which comes by a serial line."""

# Read again and again by compiler and tests. Not all of /usr: /usr/lib/modules is virtme-ng's.
_OFTEN_READ = ("/usr/bin", "/usr/sbin", "/usr/lib/python3*", "/usr/lib/*-linux-gnu", "/usr/lib64")

_KPROBES = Path("/sys/kernel/debug/kprobes/enabled")
_KPROBE_EVENTS = Path("/sys/bus/event_source/devices/kprobe")

# Emulated, everything takes ten to twenty times as long.
_TIMEOUT_S = 900

# Tests in those files that only look at the command line, each with a slow start of Python.
_NOT_THE_KERNEL = ("test_what_has_no_meaning_here_is_refused",)

_FILES = 65536
"""Without a service manager it is 1,024, fewer than some tests have sockets."""


@dataclass(frozen=True)
class Job:
    """What is to be done in the guest."""

    repository: str
    python: str
    out: str
    suites: dict[str, list[str]]
    headers: str | None
    """Folder of the unpacked header packages; None: there shall be none."""
    kprobes: bool
    emulated: bool = True
    suspended: bool = False
    """Whether it is going to be: see ``in_memory.py``."""


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _cache_files(repository: str) -> None:
    """Replace what is read often by the same files, kept in the guest's memory once they are read."""
    here = Path("/run") / CACHED
    here.mkdir()
    _mount("-t", "9p", "-o", "trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro", CACHED, str(here))
    for pattern in (*_OFTEN_READ, repository):
        for folder in glob(pattern):  # noqa: PTH207  absolute patterns
            if not Path(folder).is_symlink():
                _mount("--bind", f"{here}{folder}", folder)


def _place_headers(headers: str | None) -> None:
    """Where Debian's packages put them: the links in there are absolute."""
    release = platform.release()
    modules = Path("/lib/modules") / release
    kept = modules.resolve()
    modules.unlink()
    modules.mkdir()
    for entry in kept.iterdir():
        if entry.name not in {"build", "source"}:
            (modules / entry.name).symlink_to(entry)
    if headers is None:
        return
    for folder in Path(headers, "usr/src").iterdir():
        Path("/usr/src", folder.name).symlink_to(folder)
    (modules / "build").symlink_to(f"/usr/src/linux-headers-{release}")
    (modules / "source").symlink_to(f"/usr/src/linux-headers-{release.replace('-amd64', '-common')}")


def kprobes() -> str:
    """What they are here (Documentation/trace/kprobes.rst): ``on``, ``off`` or ``none``."""
    if _KPROBES.exists():
        return "on" if _KPROBES.read_text().strip() == "1" else "off"
    return "on" if _KPROBE_EVENTS.exists() else "none"


def has_headers() -> bool:
    """Whether there are headers of this very kernel."""
    return Path("/lib/modules", platform.release(), "build/Makefile").exists()


def failures(report: Path) -> Iterator[str]:
    """Those in pytest's ``--junitxml``, as pytest takes them; none where it was not written."""
    for case in ET.parse(report).iter("testcase") if report.exists() else []:  # noqa: S314  our own pytest wrote it
        if case.find("failure") is not None or case.find("error") is not None:
            yield f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"


def run_tests(job: Job, name: str, files: list[str]) -> subprocess.Popen[bytes]:
    """Start the tests of one backend; ``NAME.xml`` says what came of them."""
    environment = {**os.environ, "TCPTOP_REQUIRE_BPF": "1", "LANG": "C.UTF-8"}
    if job.emulated:
        environment["PYTHONPATH"] = str(Path(job.repository) / "tests/vm")
        environment["PYTEST_PLUGINS"] = "compiled_once"
    # a place of its own for each: two of them do not agree on who deletes old ones
    command = [
        job.python, "-m", "pytest", "-q", "--color=no", "-o", f"timeout={_TIMEOUT_S}",
        "--basetemp", f"/tmp/vmtest-{name}", "-k", f"not ({' or '.join(_NOT_THE_KERNEL)})",
        f"--junitxml={job.out}/{name}.xml", *files,
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=job.repository, env=environment)


def _answer(job: Job) -> None:
    facts = {"release": platform.release(), "headers": has_headers(), "kprobes": kprobes()}
    Path(job.out, ANSWER).write_text(json.dumps(facts))


def main(job: Job) -> None:
    _cache_files(job.repository)
    _mount("-t", "bpf", "bpf", "/sys/fs/bpf")
    _place_headers(job.headers)
    if not job.kprobes and _KPROBES.exists():
        _KPROBES.write_text("0")  # all are disarmed: they are there and do nothing
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    if job.suspended:
        _answer(job)
        leave(
            Path(job.out, PACKED), job.repository, job.python, [test for tests in job.suites.values() for test in tests]
        )
    # at the same time: a CPU each
    running = [run_tests(job, name, files) for name, files in job.suites.items()]
    for one in running:
        one.wait()
    # slow timing is the guest's: alone, what depends on it has another chance
    for name in job.suites:
        again = list(failures(Path(job.out, f"{name}.xml")))
        if again:
            run_tests(job, f"{name}{AGAIN}", again).wait()
    _answer(job)


if __name__ == "__main__":
    main(Job(**json.loads(Path(sys.argv[1], JOB).read_text())))
