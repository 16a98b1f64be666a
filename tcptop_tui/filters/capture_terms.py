"""Which terms of a filter a capture filter can apply, so that the kernel drops what they exclude."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from tcptop_tui.errors import UsageError
from tcptop_tui.fields import RowContext
from tcptop_tui.filters import units
from tcptop_tui.filters.fields import BY_NAME
from tcptop_tui.filters.lexer import Term, terms
from tcptop_tui.filters.parse import Filter, parse
from tcptop_tui.records import ROW
from tcptop_tui.stream.batches import MAX_CAPTURE_KEYS, Capture


def chosen_processes(pids: Iterable[int]) -> frozenset[int]:
    """What ``-p`` has chosen.

    Raises:
        UsageError: they are more than the kernel side can tell apart.
    """
    chosen = frozenset(pids)
    if len(chosen) > MAX_CAPTURE_KEYS:
        said = f"{len(chosen):,} processes are more than the {MAX_CAPTURE_KEYS:,} that -p takes"
        raise UsageError(said, hint="name fewer, or ranges with --filter, as in pid:8000-9999")
    return chosen


@dataclass(frozen=True, slots=True)
class CaptureSplit:
    """What became of a filter's terms."""

    capture: Capture
    pushed_terms: tuple[str, ...]
    remaining_terms: tuple[str, ...]
    """Terms that only the panels apply."""

    @property
    def message(self) -> str:
        """One line that says so; empty when nothing was asked for."""
        said = f"capture {' '.join(self.pushed_terms) or 'unchanged'}"
        if self.remaining_terms:
            said += f" · in user space: {' '.join(self.remaining_terms)}"
        return said if self.pushed_terms or self.remaining_terms else ""


def split_capture(chosen: Filter, base: Capture) -> CaptureSplit:
    """``base`` narrowed by every term of ``chosen`` that a capture filter can express.

    The panels go on applying all terms: the capture only has to let through no less than they
    show, and what it cannot know yet (a port not chosen, an owner not seen) it does.
    """
    capture = base
    applied: list[str] = []
    left: list[str] = []
    for term in terms(chosen.text):
        narrowed = _narrowed(term, capture)
        capture = narrowed or capture
        (left if narrowed is None else applied).append(term.source)
    return CaptureSplit(capture, tuple(applied), tuple(left))


def _narrowed(term: Term, capture: Capture) -> Capture | None:
    """None where the term cannot be expressed, or nothing at all would be left."""
    names = {BY_NAME[part.field.casefold()].key for part in term.values if part.field}
    if len(names) != 1 or not term.values[0].field:
        return None
    (name,) = names
    if name in {"lport", "rport"}:
        return _by_port(term, name, capture)
    if name == "pid":
        return _by_pid(term, capture)
    return _by_version(term, capture) if name == "ip" else None


def _by_port(term: Term, name: str, capture: Capture) -> Capture | None:
    """Ask the term itself about every port there is: exact, however it is written."""
    rows = np.zeros(units.MAX_PORT + 1, ROW)
    rows[name] = np.arange(len(rows))
    wanted = frozenset(np.flatnonzero(parse(term.source).matches(RowContext(rows, 0))).tolist())
    if name == "lport":
        ports = wanted & capture.lports if capture.lports else wanted
        return replace(capture, lports=ports) if ports else None
    ports = wanted & capture.rports if capture.rports else wanted
    return replace(capture, rports=ports) if ports else None


def _by_pid(term: Term, capture: Capture) -> Capture | None:
    if term.negated:
        return None
    wanted: set[int] = set()
    operator = ""
    for part in term.values:
        operator = part.operator or operator
        low, high = units.integer_interval(operator, part.value, units.read_count)
        if high - low >= MAX_CAPTURE_KEYS:
            return None
        wanted.update(range(int(low), int(high) + 1))
    pids = frozenset(wanted - {0})  # 0 is unknown
    pids = pids & capture.pids if capture.pids else pids
    return replace(capture, pids=pids) if 0 < len(pids) <= MAX_CAPTURE_KEYS else None


def _by_version(term: Term, capture: Capture) -> Capture | None:
    versions = {part.value.text for part in term.values}
    if len(versions) != 1 or not versions <= {"4", "6"}:
        return None
    wanted = int(versions.pop())
    wanted = 10 - wanted if term.negated else wanted
    return replace(capture, ip=wanted) if capture.ip in {0, wanted} else None
