"""The audit of the locks: fails for what is known, says what it could not ask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit.py"
GOOD = {"name": "rich", "version": "15.0.0", "vulns": []}
BAD = {"name": "numpy", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.0"]}]}
UNKNOWN = {"name": "ruff", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        ([GOOD], 0, "audit: 0 known vulnerabilities in 1 packages\n"),
        (
            [GOOD, BAD, UNKNOWN], 1, "audit: numpy 1.0 has CVE-1, mended in 2.0\n"  # noqa: ISC004
            "audit: 1 known vulnerabilities in 2 packages; nothing is known of ruff\n",
        ),
        ([UNKNOWN], 0, "audit: skipped, the registry here knows nothing of vulnerabilities (1 packages asked for)\n"),
        ("ConnectionError: no way out", 0, "audit: skipped, nobody can be asked: ConnectionError: no way out\n"),
        ("ERROR: numpy is there twice", 1, "audit: failed: ERROR: numpy is there twice\n"),
    ],
)  # fmt: skip
def test_what_it_says(found: list[object] | str, code: int, said: str, tmp_path: Path) -> None:
    auditor = tmp_path / "pip-audit"
    told = f"Traceback\n{found}" if isinstance(found, str) else json.dumps({"dependencies": found})
    stream = "stderr" if isinstance(found, str) else "stdout"
    auditor.write_text(f"#!{sys.executable}\nimport sys\nsys.{stream}.write({told!r})\n")
    auditor.chmod(0o755)
    done = subprocess.run([sys.executable, AUDIT, auditor, "lock"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, said, "")


def test_without_an_auditor() -> None:
    done = subprocess.run([sys.executable, AUDIT, "/no/such", "lock"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout == "audit: skipped, nobody can be asked: pip-audit is not installed\n"
