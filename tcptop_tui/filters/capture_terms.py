"""Makes a capture filter of those terms of a filter that it can express, so that the kernel drops what they exclude."""

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
    """The set of PIDs that ``-p`` has chosen.

    Raises:
        UsageError: there are more than the kernel programs' set has room for.
    """
    pid_set = frozenset(pids)
    if len(pid_set) > MAX_CAPTURE_KEYS:
        message = f"{len(pid_set):,} processes are more than the {MAX_CAPTURE_KEYS:,} that -p takes"
        raise UsageError(message, hint="name fewer, or ranges with --filter, as in pid:8000-9999")
    return pid_set


@dataclass(frozen=True, slots=True)
class CaptureSplit:
    """A filter in two parts: what the capture filter applies, and what only the panels apply."""

    capture: Capture
    pushed_terms: tuple[str, ...]
    """Terms that ``capture`` applies."""
    remaining_terms: tuple[str, ...]
    """Terms that only the panels apply."""

    @property
    def message(self) -> str:
        """Both parts in one line; empty when the filter has no term."""
        text = f"capture {' '.join(self.pushed_terms) or 'unchanged'}"
        if self.remaining_terms:
            text += f" · in user space: {' '.join(self.remaining_terms)}"
        return text if self.pushed_terms or self.remaining_terms else ""


def split_capture(row_filter: Filter, base: Capture) -> CaptureSplit:
    """Narrow the capture filter ``base`` by every term of ``row_filter`` that a capture filter can express.

    The panels go on applying all terms. The capture filter must only let through everything that they show: it also
    lets through what cannot be decided yet, as a connection without a local port or without an owner.
    """
    capture = base
    pushed: list[str] = []
    remaining: list[str] = []
    for term in terms(row_filter.text):
        narrowed = _narrowed(term, capture)
        capture = narrowed or capture
        (remaining if narrowed is None else pushed).append(term.source)
    return CaptureSplit(capture, tuple(pushed), tuple(remaining))


def _narrowed(term: Term, capture: Capture) -> Capture | None:
    """``capture`` narrowed by a term; None where it cannot express the term, or would exclude everything."""
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
    """Match the term against a row for every port: that is exact, however the term is written."""
    rows = np.zeros(units.MAX_PORT + 1, ROW)
    rows[name] = np.arange(len(rows))
    matching = frozenset(np.flatnonzero(parse(term.source).matches(RowContext(rows, 0))).tolist())
    if name == "lport":
        ports = matching & capture.lports if capture.lports else matching
        return replace(capture, lports=ports) if ports else None
    ports = matching & capture.rports if capture.rports else matching
    return replace(capture, rports=ports) if ports else None


def _by_pid(term: Term, capture: Capture) -> Capture | None:
    if term.negated:
        return None
    term_pids: set[int] = set()
    operator = ""
    for part in term.values:
        operator = part.operator or operator
        low, high = units.integer_interval(operator, part.value, units.read_count)
        if high - low >= MAX_CAPTURE_KEYS:
            return None
        term_pids.update(range(int(low), int(high) + 1))
    pids = frozenset(term_pids - {0})  # 0 is unknown
    pids = pids & capture.pids if capture.pids else pids
    return replace(capture, pids=pids) if 0 < len(pids) <= MAX_CAPTURE_KEYS else None


def _by_version(term: Term, capture: Capture) -> Capture | None:
    versions = {part.value.text for part in term.values}
    if len(versions) != 1 or not versions <= {"4", "6"}:
        return None
    version = int(versions.pop())
    version = 10 - version if term.negated else version  # the other one of 4 and 6
    return replace(capture, ip=version) if capture.ip in {0, version} else None
