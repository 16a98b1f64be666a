"""Boot an unpacked kernel over this machine's own files with virtme-ng, and run ``guest.py`` in it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from debian import MissingError
from guest import ANSWER, CACHED, JOB, PACKED, TOLD, Job
from in_memory import pack
from kernels import Tree

_GUEST = Path(__file__).with_name("guest.py")
_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "modprobe": "kmod",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "setpriv": "util-linux",
}
_PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

# virtme-ng shares the root folder without a cache: LLVM would be read anew for every test.
_CACHED = (
    f"-fsdev local,id={CACHED},path=/,security_model=none,readonly=on,multidevs=remap "
    f"-device virtio-9p-pci,fsdev={CACHED},mount_tag={CACHED}"
)

# QEMU 7.2 emulates AVX2 wrongly: a third of numpy's argsort calls gave a wrong order, and took twice the time.
_CPU = "-cpu max,avx2=off"

# A process namespace of its own, whose first process dies with us however we end, SIGKILL included: the kernel then
# ends all in it. vng, its shells and QEMU do not end with each other.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child=KILL")
_AS_USER = ("--user", "--map-current-user")


def require_tools() -> None:
    """Raise MissingError, in one line, with all that is to be installed."""
    missing = [package for tool, package in _TOOLS.items() if not shutil.which(tool, path=_PATH)]
    if missing:
        raise MissingError(f"missing: {' '.join(missing)}  (apt install them, or make vmtest does)")
    if not shutil.which("vng", path=_PATH):
        raise MissingError("missing: virtme-ng  (make vmtest installs it into .venv)")


def _command(tree: Tree, job: Job, cpus: int) -> list[str]:
    told = f"-chardev file,id=told,path={Path(job.out, TOLD)} -device isa-serial,chardev=told" if job.suspended else ""
    inside = [os.path.realpath(sys.executable), str(_GUEST), job.out]  # not .venv, which is read slowly yet
    return [
        *_WITH_US, *(_AS_USER if os.geteuid() else ()),
        "vng", "--verbose", "--run", str(tree.image), "--disable-kvm", "--force-9p", "--user", "root",
        "--cpus", str(cpus), "--memory", "3G", "--rwdir", job.out, f"--qemu-opts={_CPU} {_CACHED} {told}",
        "--exec", shlex.join(inside),
    ]  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """And so all that it has started, see ``_WITH_US``."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def boot(tree: Tree, job: Job, cpus: int, patience_s: float) -> dict[str, object]:
    """What the guest told; with the key ``error`` where it did not get there.

    The console goes to ``console`` (or ``console-clock``) in the folder of the job. The exit status is lost on the way
    (virtme-ng wants udev in the guest for that), so the guest writes an answer.
    """
    out = Path(job.out)
    (out / JOB).write_text(json.dumps(asdict(job)))  # a kernel's command line has no room for it
    if job.suspended:
        pack(job.repository, job.python, out / PACKED)
    with (out / ("console-clock" if job.suspended else "console")).open("wb") as console:
        process = subprocess.Popen(
            _command(tree, job, cpus), cwd=job.repository, env={**os.environ, "PATH": _PATH},
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return {"error": f"not ready after {patience_s:.0f} s, see {console.name}"}
        finally:
            _end(process)
    if not (out / ANSWER).exists():
        return {"error": f"the guest did not answer, see {console.name}"}
    answer: dict[str, object] = json.loads((out / ANSWER).read_text())
    return answer
