"""The calls on capabilities: what is raised, lent, kept and given up, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tcptop_tui.errors import TcptopError
from tcptop_tui.host import capabilities, privileges
from tests.support.privileges import BOUNDED, ROOT, names

pytestmark = [pytest.mark.host, pytest.mark.skipif(os.geteuid() != 0, reason="gives privileges up")]


def test_no_thread_is_there_before_privileges_are_given_up() -> None:
    script = "import os, tcptop_tui.cli.entry, tcptop_tui.cli.headless; print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def in_a_child(script: str, *, launch: Sequence[str] = ROOT) -> str:
    head = (
        "import subprocess; from tcptop_tui.host.capabilities import *; from tcptop_tui.host.capabilities import Cap\n"
        "def children():\n"
        "    told = subprocess.run(['grep', '^Cap', '/proc/self/status'], capture_output=True, text=True).stdout\n"
        "    return [int(line.split()[1], 16) for line in told.splitlines()]\n"
    )
    done = subprocess.run([*launch, sys.executable, "-c", head + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_raised_comes_down_and_what_is_given_up_stays_away() -> None:
    assert in_a_child(
        "keep({Cap.BPF, Cap.CHOWN}, set())\n"
        "with raise_capabilities(Cap.BPF, Cap.SYS_ADMIN):\n"
        "    assert thread_capabilities().effective == 1 << 39\n"
        "    with raise_capabilities(Cap.CHOWN):\n"
        "        assert thread_capabilities().effective == 1 << 39 | 1\n"
        "        keep({Cap.CHOWN}, {Cap.CHOWN})\n"
        "    assert thread_capabilities() == CapabilitySets(0, 1, 0), thread_capabilities()\n"
        "print(thread_capabilities(), bounding_set())"
    ).startswith("CapabilitySets(effective=0, permitted=1, inheritable=0)")


@pytest.mark.parametrize("launch", [ROOT, BOUNDED], ids=["root", "bounded"])
def test_children_get_what_they_are_lent(launch: tuple[str, ...]) -> None:
    """Inheritable, permitted, effective, bounding, ambient."""
    told = in_a_child(
        "forbid_gains(); keep({Cap.BPF, Cap.PERFMON, Cap.SYS_ADMIN}, set())\n"
        "print(children()[:3])\n"
        "with lend(Cap.BPF, Cap.NET_ADMIN): print(children()[:3])\n"
        "print(children()[:3], has_no_new_privs())",
        launch=launch,
    )
    assert told.splitlines() == ["[0, 0, 0]", str([1 << 39] * 3), "[0, 0, 0] True"]


def test_a_sandbox_that_does_not_let_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(capabilities, "forbid_gains", refuse)
    with pytest.raises(TcptopError, match="capabilities cannot be given up") as raised:
        privileges.drop_unneeded(privileges.PrivilegeNeeds())
    assert "\n" not in str(raised.value)


COMPILING = """
import re
from pathlib import Path
from tcptop_tui.host import privileges
from tcptop_tui.bpf.load.compiler_client import CompileRequest
privileges.drop_unneeded(privileges.DASHBOARD)
request = CompileRequest("int f(void *ctx) { return 0; }", [], ["f"])
permitted, effective = 1, 0
while permitted != effective:  # they are those of the parent until execve(2) is through
    told = Path(f"/proc/{request._process.pid}/status").read_text()
    permitted, effective, no_new = re.findall(r"^(?:Cap(?:Prm|Eff)|NoNewPrivs):.(.*)$", told, re.MULTILINE)
request.cancel()
print(permitted, effective, no_new)
"""


@pytest.mark.usefixtures("bpf_possible")
@pytest.mark.parametrize("launch", [ROOT, BOUNDED], ids=["root", "bounded"])
def test_the_compiler_has_its_own_three(launch: tuple[str, ...]) -> None:
    permitted, effective, no_new = in_a_child(COMPILING, launch=launch).split()
    assert names(permitted) == names(effective) == {"BPF", "PERFMON", "DAC_READ_SEARCH"}
    assert no_new == "1"
