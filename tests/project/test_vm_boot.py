"""Whatever ends ``make vmtest``, no machine stays behind: nobody would look for QEMU at 100 %."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_LASTS_S = 30

# as vng has its shells and QEMU: a child of a child, here in a session of its own as well
_VNG = f"""#!/bin/sh
setsid sh -c 'exec 3>up; echo up >&3; exec sleep {_LASTS_S}' &
wait
"""

_BOOT = """
import sys
from pathlib import Path
import boot
from guest import Job
from kernels import Tree
boot._PATH = f"{sys.argv[1]}:{boot._PATH}"
told = boot.boot(Tree(Path("vmlinuz"), Path("modules"), None), Job(*[sys.argv[1]] * 3, {}, None, False), 1,
                 float(sys.argv[2]))
print(told["error"])
"""


def _boot(folder: Path, patience_s: float) -> subprocess.Popen[str]:
    """Started in ``folder``, with a ``vng`` that has a grandchild at work."""
    (folder / "vng").write_text(_VNG)
    (folder / "vng").chmod(0o755)
    os.mkfifo(folder / "up")
    return subprocess.Popen(
        [sys.executable, "-c", _BOOT, str(folder), str(patience_s)], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "vm")},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if subprocess.run(["unshare", "--user", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        pytest.skip("process namespaces cannot be made here")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_machine_ends_with_who_booted_it(how: signal.Signals, tmp_path: Path) -> None:
    booting = _boot(tmp_path, 100)
    with (tmp_path / "up").open() as held:
        assert held.readline() == "up\n"
        began_s = time.monotonic()
        booting.send_signal(how)
        assert held.read() == ""  # nobody has it open any more
    assert time.monotonic() - began_s < _LASTS_S / 2
    booting.communicate()
    assert booting.returncode


def test_a_machine_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    booting = _boot(tmp_path, 3)
    with (tmp_path / "up").open() as held:
        began_s = time.monotonic()
        assert held.read() == "up\n"
    assert time.monotonic() - began_s < _LASTS_S / 2
    assert "not ready after 3 s" in booting.communicate()[0]
