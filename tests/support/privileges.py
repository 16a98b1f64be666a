"""The program started with more or less privileges, and what its threads have, looked at from outside."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tcptop_tui.host.capabilities import Cap

PROGRAM = (sys.executable, "-m", "tcptop_tui")
ROOT: tuple[str, ...] = ()
NAMES = ["bpf", "perfmon", "sys_ptrace", "dac_read_search", "sys_admin", "net_admin"]
LIST = ",".join(["-all", *(f"+{name}" for name in NAMES)])
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
AMBIENT = (*NOBODY, f"--inh-caps={LIST}", f"--ambient-caps={LIST}")
BOUNDED = (*AMBIENT, f"--bounding-set={LIST}")
LOOKS = {"SYS_PTRACE", "DAC_READ_SEARCH", "SYS_ADMIN"}
WRITES = {"CHOWN", "DAC_OVERRIDE", "FOWNER"}


def names(bits: str) -> set[str]:
    number = int(bits, 16)
    known = {cap.name for cap in Cap if number >> cap & 1}
    return known | ({"others"} if number & ~sum(1 << cap for cap in Cap) else set())


def status(thread: Path) -> dict[str, str]:
    return dict(re.findall(r"^(Cap\w+|NoNewPrivs):\s+(\w+)$", (thread / "status").read_text(), re.MULTILINE))


def threads(pid: int) -> list[dict[str, str]]:
    return [status(thread) for thread in Path(f"/proc/{pid}/task").iterdir()]


def keeps(pid: int, wanted: set[str]) -> bool:
    """All threads have exactly these permitted, and nothing that they could hand on."""
    return all(
        names(one["CapPrm"]) == wanted
        and names(one["CapEff"]) <= wanted
        and one["NoNewPrivs"] == "1"
        and not names(one["CapInh"]) | names(one["CapAmb"])
        for one in threads(pid)
    )


def until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 30
    while not happened():
        assert process.poll() is None
        assert time.monotonic() < deadline_s, threads(process.pid)
        time.sleep(0.02)


@contextmanager
def running(launch: Sequence[str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*launch, *PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def doctor(launch: Sequence[str]) -> tuple[set[str], set[str], str]:
    """What it says that the dashboard keeps, that streams keep, and the rest."""
    told = subprocess.run([*launch, *PROGRAM, "doctor"], capture_output=True, text=True, check=True).stdout
    dashboard = set(re.findall(r"CAP_(\w+)\s+kept", told))
    streams = set(re.findall(r"CAP_(\w+)", told.partition("once attached:")[2].partition("\n")[0]))
    return dashboard, streams, told


def recorded(folder: Path) -> Path:
    target = folder / "r.tcptop"
    done = subprocess.run(
        [*PROGRAM, "snapshot", "--after", "0.3", "--record", str(target)], check=True, capture_output=True
    )
    assert done.stdout
    return target
