"""The table in docs/kernels.md: rows of kernels that were run are replaced, the others stay."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from results import Counts, Run

_TITLES = (
    "kernel", "release", "headers", "kprobes", "backend", "passed", "failed", "skipped", "because", "seconds", "date",
    "machine",
)  # fmt: skip
_BEGIN, _END = "<!-- written by make vmtest -->", "<!-- end -->"

_Key = tuple[str, str, str, str, str]


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _short(test: str) -> str:
    return test.rpartition("/")[2].replace(".py::", "::")


def _because(run: Run, counts: Counts | None) -> str:
    if counts is None:
        return run.error or "the tests did not come to an end"
    failed = [f"failed: {name}" for name in map(_short, counts.failed)]
    late = [f"at the second try: {name}" for name in map(_short, counts.late)]
    skipped = [f"{number} × {why}" for why, number in sorted(counts.skipped.items())]
    return "; ".join([*failed, *late, *skipped]).replace("|", "/") or "–"


def _rows(run: Run) -> Iterable[str]:
    for backend, counts in run.backends.items():
        numbers = [counts.passed, len(counts.failed), sum(counts.skipped.values())] if counts else ["–"] * 3
        cells = [
            run.series, run.release, "yes" if run.headers else "no", run.kprobes, backend, *numbers,
            _because(run, counts), round(run.took_s), run.date, run.machine,
        ]  # fmt: skip
        yield _line(cells)


def _key(row: str) -> _Key:
    """A newer release of the same series takes the place of the older."""
    cells = [cell.strip() for cell in row.split("|")]
    return cells[1], cells[-2], cells[3], cells[4], cells[5]


def _order(key: _Key) -> tuple[tuple[int, ...], _Key]:
    return tuple(int(number) for number in key[0].split(".")), key


def merged(page: str, runs: Iterable[Run]) -> str:
    """The page with the rows of ``runs``."""
    before, _, rest = page.partition(_BEGIN)
    old, _, after = rest.partition(_END)
    rows = {_key(row): row for row in old.splitlines() if re.match(r"\| \d", row)}
    rows |= {_key(row): row for run in runs for row in _rows(run)}
    table = "\n".join([_line(_TITLES), _line(["---"] * len(_TITLES)), *(rows[key] for key in sorted(rows, key=_order))])
    return f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}"


def update_page(page: Path, runs: Iterable[Run]) -> None:
    """Write the table into the page."""
    page.write_text(merged(page.read_text(), runs))
