"""What came of the tests: read from pytest's XML, kept as JSON beside the other builds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
from guest import AGAIN, failures


@dataclass(frozen=True)
class Counts:
    """Of one backend's tests."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """Reason -> how many."""
    late: list[str] = field(default_factory=list)
    """Passed, but only when they were run once more by themselves."""


@dataclass(frozen=True)
class Run:
    """The tests on one kernel, in one variant."""

    series: str
    release: str
    variant: str
    headers: bool
    kprobes: str
    error: str
    """Why there are no counts, else empty."""
    backends: dict[str, Counts | None]
    """None: the tests did not come to an end."""
    date: str
    machine: str
    took_s: float


def counted(report: Path) -> Counts | None:
    """The numbers in pytest's ``--junitxml``, and in that of a second try beside it; None when there is none."""
    if not report.exists() or not report.stat().st_size:  # made before the guest is booted
        return None
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  our own pytest wrote it
    reasons = [case.find("skipped") for case in cases]
    skipped = Counter(why.get("message", "") for why in reasons if why is not None)
    first = list(failures(report))
    second = report.with_stem(report.stem + AGAIN)
    failed = list(failures(second)) if second.exists() else first
    late = [name for name in first if name not in failed]
    return Counts(len(cases) - skipped.total() - len(failed), failed, dict(skipped), late)


def read_runs(path: Path) -> list[Run]:
    """Those of earlier commands."""
    return msgspec.json.decode(path.read_bytes(), type=list[Run]) if path.exists() else []


def write_runs(path: Path, runs: list[Run]) -> None:
    """Replace all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(runs)))
