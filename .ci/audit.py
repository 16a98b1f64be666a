"""Are there known vulnerabilities in what a lock names? ``audit.py PIP_AUDIT LOCK``.

1: there are, or the question cannot be put. Where nobody can be asked a line says so, and that is no
failure: CI runs without a way out too. pip-audit itself says "No known vulnerabilities found" where
the registry knew nothing at all.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_PATIENCE_S = 300
_NO_WAY_OUT = re.compile(r"connect|proxy|timed? ?out|resolv|\bHTTP", re.IGNORECASE)


def _asked(auditor: str, lock: str) -> list[dict[str, Any]]:
    """What pip-audit found of each package.

    Raises:
        ConnectionError: nobody can be asked.
        ValueError: it found out nothing, for another reason.
    """
    if not Path(auditor).exists():
        raise ConnectionError("pip-audit is not installed")
    command = [auditor, "--format", "json", "--disable-pip", "--require-hashes", "--timeout", "10", "-r", lock]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(f"no answer in {_PATIENCE_S} s") from error
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        told = (done.stderr.strip().splitlines() or ["no word"])[-1][:200]
        raise (ConnectionError if _NO_WAY_OUT.search(told) else ValueError)(told) from error
    return found


def _lines(found: list[dict[str, Any]]) -> list[str]:
    """One for each vulnerability, and the sum."""
    unknown = [one["name"] for one in found if "skip_reason" in one]
    if len(unknown) == len(found):
        return [f"skipped, the registry here knows nothing of vulnerabilities ({len(found)} packages asked for)"]
    lines = [
        f"{one['name']} {one['version']} has {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version'}"
        for one in found
        for flaw in one.get("vulns", ())
    ]
    rest = f"; nothing is known of {', '.join(unknown)}" if unknown else ""
    return [*lines, f"{len(lines)} known vulnerabilities in {len(found) - len(unknown)} packages{rest}"]


def main(auditor: str, lock: str) -> int:
    """Print what came of it."""
    try:
        lines = _lines(_asked(auditor, lock))
    except ConnectionError as error:
        lines = [f"skipped, nobody can be asked: {error}"]
    except ValueError as error:
        lines = [f"failed: {error}", ""]
    for line in filter(None, lines):
        print(f"audit: {line}")
    return 1 if len(lines) > 1 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
