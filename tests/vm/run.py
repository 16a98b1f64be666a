"""``make vmtest``: the kernel tests on Debian's kernels, in QEMU; what came of it goes into docs/kernels.md."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
import platformdirs
from boot import boot, require_tools
from debian import Apt, MissingError
from guest import PACKED, TOLD, Job, has_headers, kprobes, run_tests
from kernels import SUITES, Kernel, Tree, fetch, newest
from results import Run, counted, read_runs, write_runs
from table import update_page

ROOT = Path(__file__).parents[2]
CACHE = Path(platformdirs.user_cache_dir("tcptop-tui")) / "vm"
RESULTS = ROOT / "build/vm.json"
PAGE = ROOT / "docs/kernels.md"

CLOCK = Path(TOLD).stem

# what asks the kernel, by the backend that it tests
TESTS = {
    "bpf": [
        "kernel/test_transitions.py", "kernel/test_close_reasons.py", "kernel/test_rtt.py", "kernel/test_guard.py",
        "kernel/test_loss.py", "kernel/test_ping.py", "kernel/test_skipped_programs.py", "bpf/test_source.py",
        "kernel/test_typed_reading.py", "bpf/test_slots.py", "bpf/test_growth.py", "truth/test_two_links.py",
        "truth/test_payload.py", "truth/test_ages.py", "trace/test_connect_failures.py", "kernel/test_accept.py",
        "bpf/load/test_program_cache.py::test_the_second_start_has_the_same_programs_without_a_compiler",
    ],
    "sock_diag": [
        "diag/test_dump.py", "diag/test_source.py", "host/test_socket_owners.py", "host/test_containers.py",
        "diag/test_namespaces.py",
    ],
    # sets the clock and suspends the machine: in a boot of its own
    CLOCK: ["truth/test_own_clock.py"],
}  # fmt: skip

# name -> are there kernel headers, are there kprobes
VARIANTS = {"bare": (False, False), "full": (True, True)}


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def _path_of(test: str) -> Path:
    return (ROOT / _file_of(test)).resolve()


def _suites(only: tuple[str, ...]) -> dict[str, list[str]]:
    """Of ``only`` (paths, or tests in them), else all; without suites that have none left."""
    chosen = {
        name: [f"tests/{file}" for file in files]
        if not only
        else [test for test in only if _path_of(test) in map(_path_of, (f"tests/{file}" for file in files))]
        for name, files in TESTS.items()
    }
    return {name: tests for name, tests in chosen.items() if tests}


def _boots(tree: Tree, job: Job, cpus: int, patience_s: float) -> dict[str, object]:
    """One with the tests that leave the clock alone, and one with those that do not."""
    calm = {name: tests for name, tests in job.suites.items() if name != CLOCK}
    answer = boot(tree, replace(job, suites=calm), cpus, patience_s) if calm else {}
    if CLOCK in job.suites and "error" not in answer:
        answer = boot(tree, replace(job, suites={CLOCK: job.suites[CLOCK]}, suspended=True), cpus, patience_s)
        Path(job.out, PACKED).unlink()
    return answer


def _one(apt: Apt, kernel: Kernel, variant: str, only: tuple[str, ...], cpus: int, patience_s: float) -> Run:
    headers, probes = VARIANTS[variant]
    out = CACHE / "out" / f"{kernel.release}-{variant}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    suites = _suites(only)
    began_s = time.monotonic()
    try:
        tree = fetch(apt, kernel, CACHE, headers=headers)
        folder = str(tree.headers) if tree.headers else None
        job = Job(str(ROOT), sys.executable, str(out), suites, folder, probes)
        began_s = time.monotonic()
        answer = _boots(tree, job, cpus, patience_s)
    except MissingError as error:
        answer, suites = {"error": str(error)}, {}
    return Run(
        kernel.series, kernel.release, variant, bool(answer.get("headers", headers)),
        str(answer.get("kprobes", "on" if probes else "off")), str(answer.get("error", "")),
        {name: counted(out / f"{name}.xml") for name in suites},
        datetime.now(UTC).date().isoformat(), "QEMU TCG", time.monotonic() - began_s,
    )  # fmt: skip


def _here(only: tuple[str, ...]) -> Run:
    """The same tests on the kernel that this machine runs."""
    out = CACHE / "out" / "here"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    began_s = time.monotonic()
    suites = {name: files for name, files in _suites(only).items() if name != CLOCK}
    for name, files in suites.items():
        run_tests(
            Job(str(ROOT), sys.executable, str(out), suites, None, kprobes=True, emulated=False), name, files
        ).wait()
    release = platform.release()
    return Run(
        ".".join(release.split(".")[:2]), release, "here", has_headers(), kprobes(), "",
        {name: counted(out / f"{name}.xml") for name in suites},
        datetime.now(UTC).date().isoformat(), "its own", time.monotonic() - began_s,
    )  # fmt: skip


def _keep(run: Run) -> None:
    """After each, so that an interrupted command has not run in vain."""
    key = (run.series, run.variant)
    write_runs(RESULTS, [*(old for old in read_runs(RESULTS) if (old.series, old.variant) != key), run])
    update_page(PAGE, [run])


def _say(run: Run) -> bool:
    """One line; whether all is well."""
    counts = [
        f"{name} {made.passed} passed, {len(made.failed)} failed, {sum(made.skipped.values())} skipped"
        if made
        else f"{name} not ended"
        for name, made in run.backends.items()
    ]
    click.echo(f"{run.release} {run.variant}: {run.error or '; '.join(counts)} ({run.took_s:.0f} s)")
    for made in run.backends.values():
        for failure in made.failed if made else []:
            click.echo(f"  {failure}")
    return not run.error and all(made and not made.failed for made in run.backends.values())


def _chosen(apt: Apt, series: tuple[str, ...]) -> list[Kernel]:
    apt.update()
    found = newest(apt.names(r"^linux-(image|binary|modules)-[0-9].*-amd64$"))
    unknown = [name for name in series if name not in found]
    if unknown or not found:
        raise MissingError(f"no kernel {' '.join(unknown)} in the archive, or not whole; there are {' '.join(found)}")
    return [found[name] for name in series or found]


@click.command(context_settings={"show_default": True})
@click.option("--kernel", "series", multiple=True, help="Series, e.g. 6.12; all that Debian has when not given.")
@click.option("--variant", "variants", multiple=True, type=click.Choice(list(VARIANTS)), default=list(VARIANTS))
@click.option("--here", is_flag=True, help="On the kernel that this machine runs, without QEMU.")
@click.option("--list", "listing", is_flag=True, help="Say which kernels there are.")
@click.option("--keep/--no-keep", default=True, help="Write results and table.")
@click.option("--cpus", default=2, help="Of the guest.")
@click.option("--patience", default=3600, help="Seconds for one guest.")
@click.argument("only", nargs=-1)
def vmtest(
    series: tuple[str, ...], variants: tuple[str, ...], here: bool, listing: bool, keep: bool, cpus: int,
    patience: int, only: tuple[str, ...],
) -> None:  # fmt: skip
    """Run the kernel tests (ONLY: some of them, as pytest takes them) on other kernels."""
    if here:
        runs = iter([_here(only)])
    else:
        try:
            require_tools()
            apt = Apt(CACHE / "apt", SUITES)
            kernels = _chosen(apt, series)
        except MissingError as error:
            raise SystemExit(f"vmtest: {error}") from None
        if listing:
            click.echo("\n".join(f"{kernel.series:6} {kernel.release}" for kernel in kernels))
            return
        runs = (_one(apt, kernel, variant, only, cpus, patience) for kernel in kernels for variant in variants)
    well = True
    for run in runs:
        well = _say(run) and well
        if keep and not only:
            _keep(run)
    raise SystemExit(not well)


if __name__ == "__main__":
    vmtest()
