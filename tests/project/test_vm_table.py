"""``make vmtest`` chooses the newest kernel of each series, and keeps the rows of those that it did not run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from kernels import newest
from results import Counts, Run, counted, read_runs, write_runs
from table import merged

pytestmark = pytest.mark.host

PAGE = "# Title\n\n<!-- written by make vmtest -->\n<!-- end -->\nafter\n"


def run(release: str, passed: int, **others: object) -> Run:
    series = ".".join(release.split(".")[:2])
    made = Run(series, release, "bare", False, "off", "", {"bpf": Counts(passed)}, "2026-11-21", "QEMU TCG", 61.4)
    return dataclasses.replace(made, **others)


def test_newest_of_each_series() -> None:
    packages = [
        "linux-image-6.1-amd64",  # names another package
        "linux-image-6.1.0-56-amd64",
        "linux-image-6.1.0-0.deb11.52-amd64",
        "linux-image-6.12.117+deb12-amd64",
        "linux-image-6.12.99+deb13-amd64",
        "linux-image-7.2.12+deb13-amd64",
        "linux-image-7.2.12+deb13-cloud-amd64",
        "linux-image-7.2.12+deb13-rt-amd64",
        "linux-image-7.2.12+deb13-amd64-dbg",
        "linux-image-5.10.0-46-amd64",
        "linux-binary-7.2.12+deb13-amd64",
        "linux-modules-7.2.12+deb13-amd64",
        "linux-image-7.1.3+deb13-amd64",
        "linux-binary-7.1.3+deb13-amd64",  # its modules are not there any more
    ]
    chosen = newest(packages)
    assert list(chosen) == ["5.10", "6.1", "6.12", "7.2"]
    assert [kernel.release for kernel in chosen.values()] == [
        "5.10.0-46-amd64", "6.1.0-56-amd64", "6.12.117+deb12-amd64", "7.2.12+deb13-amd64",
    ]  # fmt: skip


def test_rows_are_replaced_or_kept_in_order() -> None:
    page = merged(PAGE, [run("6.12.1-amd64", 1), run("6.2.1-amd64", 2)])
    page = merged(page, [run("6.12.2-amd64", 3)])
    rows = [line for line in page.splitlines() if line.startswith("| 6")]
    assert [row.split(" | ")[1] for row in rows] == ["6.2.1-amd64", "6.12.2-amd64"]
    assert " 3 | 0 | 0 | – | 61 | " in rows[1]
    assert page.startswith("# Title\n")
    assert page.endswith("<!-- end -->\nafter\n")
    assert merged(page, []) == page


def test_reasons_stand_in_the_row() -> None:
    counts = Counts(1, ["tests/test_a.py::test_b"], {"no tool": 2})
    page = merged(PAGE, [run("6.1.1-amd64", 0, backends={"bpf": counts, "sock_diag": None}, error="it hung")])
    assert "| 1 | 1 | 2 | failed: test_a::test_b; 2 × no tool |" in page
    assert "| sock_diag | – | – | – | it hung |" in page


def test_counts_come_from_the_report(tmp_path: Path) -> None:
    report = tmp_path / "bpf.xml"
    assert counted(report) is None
    report.write_text(
        "<testsuites><testsuite>"
        '<testcase classname="tests.test_a" name="good"/>'
        '<testcase classname="tests.test_a" name="bad"><failure message="x"/></testcase>'
        '<testcase classname="tests.test_a" name="set-up"><error message="x"/></testcase>'
        '<testcase classname="tests.test_a" name="not"><skipped message="why"/></testcase>'
        "</testsuite></testsuites>"
    )
    bad, late = "tests/test_a.py::bad", "tests/test_a.py::set-up"
    assert counted(report) == Counts(1, [bad, late], {"why": 1})
    (tmp_path / "bpf-again.xml").write_text(
        "<testsuites><testsuite>"
        '<testcase classname="tests.test_a" name="bad"><failure message="x"/></testcase>'
        '<testcase classname="tests.test_a" name="set-up"/>'
        "</testsuite></testsuites>"
    )
    assert counted(report) == Counts(2, [bad], {"why": 1}, [late])


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    runs = [run("6.1.1-amd64", 4), run("6.12.1-amd64", 0, backends={"bpf": None})]
    write_runs(tmp_path / "new/vm.json", runs)
    assert read_runs(tmp_path / "new/vm.json") == runs
    assert read_runs(tmp_path / "none.json") == []
