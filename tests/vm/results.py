"""What came of the tests: read from pytest's XML, kept as JSON beside the other builds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec


@dataclass(frozen=True)
class Counts:
    """Of one backend's tests."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """Reason -> how many."""


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
    """The numbers in pytest's ``--junitxml``; None when it was not written."""
    if not report.exists():
        return None
    passed, failed, skipped = 0, [], Counter[str]()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  our own pytest wrote it
        why = case.find("skipped")
        if why is not None:
            skipped[why.get("message", "")] += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}")
        else:
            passed += 1
    return Counts(passed, failed, dict(skipped))


def read_runs(path: Path) -> list[Run]:
    """Those of earlier commands."""
    return msgspec.json.decode(path.read_bytes(), type=list[Run]) if path.exists() else []


def write_runs(path: Path, runs: list[Run]) -> None:
    """Replace all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(runs)))
