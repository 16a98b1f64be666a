"""``trace rtt``: log2 histograms of round-trip times each interval, as tcprtt prints them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats
from tcptop_tui.filters import Filter
from tcptop_tui.model.histogram import Histogram, bucket_bounds
from tcptop_tui.records import RTT_SLOTS, Rows
from tcptop_tui.safe_text import clean
from tcptop_tui.stream.batches import Batch, EndedConnections, Loss, Names, Table
from tcptop_tui.stream.identity import link_ids
from tcptop_tui.trace.output import Form, Output
from tcptop_tui.trace.stream_loop import LineContext

Key: TypeAlias = tuple[int, int, int] | None
"""Words of an address, and its link (``identity.links``); None: all of them together."""

_OTHERS = (-1, -1, 0)
"""Stands for all addresses beyond the number that is kept."""

_MOST_KEYS = 65_536

Totals: TypeAlias = dict[Key, tuple[Histogram, int]]
"""Samples per slot and their sum in µs, since the start."""

_STARS = 40
_UNIT_NAMES = {"us": "usecs", "ms": "msecs"}


class RttBucket(msgspec.Struct, frozen=True):
    """``low`` to ``high``, both included; the last one has no ``high``."""

    low: int
    high: int | None
    count: int


class RttDocument(msgspec.Struct, frozen=True):
    """One histogram; ``key`` is the address that it is of, null for all."""

    time: str
    key: str | None
    unit: str
    count: int
    avg: float | None
    buckets: list[RttBucket]


@dataclass(frozen=True, slots=True)
class RttOptions:
    """How the histograms are to look."""

    by: Literal["laddr", "raddr"] | None
    unit: Literal["us", "ms"]
    extension: bool
    """Average and count in the title."""
    timestamp: bool
    interval_s: float | None
    """None: one, at the end."""


def totals_of(rows: Rows, found: NDArray[np.uint32], by: str | None) -> Totals:
    """Sums over ``rows`` (dtype ROW or ENDED) with these histograms, by address or all together."""
    sampled = found.any(axis=1)
    rows, found = rows[sampled], found[sampled]
    if not len(rows):
        return {}
    if by is None:
        return {None: (found.sum(axis=0, dtype=np.uint64), int(rows["rtt_sum_us"].sum()))}
    ends = np.column_stack([rows[by].astype("<u8"), link_ids(rows, by)])
    words, group = np.unique(ends, axis=0, return_inverse=True)
    group = group.reshape(-1)
    hists = np.zeros((len(words), RTT_SLOTS), np.uint64)
    sums = np.zeros(len(words), np.uint64)
    np.add.at(hists, group, found)
    np.add.at(sums, group, rows["rtt_sum_us"])
    return {
        (high, low, link): (hist, int(total))
        for (high, low, link), hist, total in zip(words.tolist(), hists, sums.tolist(), strict=True)
    }


def _added(left: Totals, right: Totals) -> Totals:
    merged = dict(left)
    for given, (hist, total) in right.items():
        key = given if given in merged or len(merged) < _MOST_KEYS else _OTHERS
        before = merged.get(key)
        merged[key] = (hist, total) if before is None else (before[0] + hist, before[1] + total)
    return merged


def _highest(now: Totals, before: Totals) -> Totals:
    """Samples only ever become more: what has just ended may for a moment stand in neither place."""
    highest = dict(before)
    for key, (hist, total) in now.items():
        old = before.get(key)
        highest[key] = (hist, total) if old is None else (np.maximum(hist, old[0]), max(total, old[1]))
    return highest


def _since(now: Totals, before: Totals) -> Totals:
    """What came in between; ``now`` is nowhere less than ``before``."""
    changed: Totals = {}
    for key, (hist, total) in now.items():
        old_hist, old_total = before.get(key, (np.zeros(RTT_SLOTS, np.uint64), 0))
        new: NDArray[np.uint64] = hist - old_hist
        if new.any():
            changed[key] = (new, total - old_total)
    return changed


def _name(key: Key, names: Names, everything: str | None) -> str | None:
    if key is None:
        return everything
    high, low, link = key
    device = clean(names.device(link >> 32, link & 0xFFFF_FFFF))
    return "(others)" if key == _OTHERS else formats.address((high, low)) + (f"%{device}" if link else "")


@dataclass(slots=True)
class RttStream:
    """Histograms of the connections that the filter wants, at each interval or once at the end."""

    output: Output
    filter: Filter
    wish: RttOptions
    form: Form
    _ended_totals: Totals = field(default_factory=dict)
    _live_totals: Totals = field(default_factory=dict)
    _printed: Totals = field(default_factory=dict)
    _next_s: float = 0.0
    _names: Names = field(default_factory=Names)

    def start(self) -> None:
        """See ``LineStream``."""
        self.output.write_comment(b"Tracing TCP RTT... Hit Ctrl-C to end.\n\n")
        if self.form == "csv":
            more = b",AVG,SAMPLES" if self.wish.extension else b""
            self.output.write_bytes(b"TIME,KEY,UNIT,LOW,HIGH,COUNT" + more + b"\n")

    def write_batch(self, batch: Batch, moment: LineContext) -> None:
        """See ``LineStream``."""
        if isinstance(batch, EndedConnections):
            ended = self._matching(batch.rows, moment)
            self._ended_totals = _added(self._ended_totals, totals_of(ended, ended["rtt_hist"], self.wish.by))
        if not isinstance(batch, Table):
            return
        rows = self._matching(batch.rows, moment)
        self._live_totals = totals_of(rows, batch.hists.histograms(rows["hist"]), self.wish.by)
        if self.wish.interval_s is None:
            return
        now_s = time.monotonic()
        self._next_s = self._next_s or now_s + self.wish.interval_s
        if now_s >= self._next_s:
            self._next_s += self.wish.interval_s
            self._print(moment)

    def _matching(self, rows: Rows, moment: LineContext) -> Rows:
        wanted: Rows = rows[self.filter.matches(moment.subject(rows))]
        return wanted

    def lost(self, loss: Loss) -> int:
        """See ``LineStream``."""
        return loss.sessions_ring_full

    def finish(self, moment: LineContext) -> None:
        """What has come since the last interval."""
        self._print(moment)

    def _print(self, moment: LineContext) -> None:
        self._names = moment.names
        now = _highest(_added(self._ended_totals, self._live_totals), self._printed)
        new, self._printed = _since(now, self._printed), now
        utc_ns = moment.now_ns + moment.utc_offset_ns
        ordered = sorted(new.items(), key=lambda item: -int(item[1][0].sum()))
        if self.form == "json":
            self.output.objects([self._document(key, *found, utc_ns) for key, found in ordered])
            return
        if self.form == "csv":
            self._print_csv(ordered, utc_ns)
            return
        clock = f"{formats.clock(utc_ns)}\n" if self.wish.timestamp else ""
        blocks = (clock + "\n".join(self._block(key, *found)) + "\n\n" for key, found in ordered)
        self.output.write_bytes("".join(blocks).encode())
        self.output.written += len(ordered)

    def _average(self, hist: Histogram, total_us: int) -> float | None:
        count = int(hist.sum())
        return total_us / count / (1000 if self.wish.unit == "ms" else 1) if count else None

    def _document(self, key: Key, hist: Histogram, total_us: int, utc_ns: int) -> RttDocument:
        return RttDocument(
            time=formats.iso_time(utc_ns),
            key=_name(key, self._names, None),
            unit=self.wish.unit,
            count=int(hist.sum()),
            avg=self._average(hist, total_us),
            buckets=[
                RttBucket(*bucket_bounds(slot), count=int(hist[slot]))
                for slot in range(int(np.flatnonzero(hist)[-1]) + 1)
            ],
        )

    def _print_csv(self, found: list[tuple[Key, tuple[Histogram, int]]], utc_ns: int) -> None:
        lines = "".join(
            f"{formats.iso_time(utc_ns)},{_name(key, self._names, '')},{self.wish.unit},"
            f"{bucket_bounds(slot)[0]},{'' if bucket_bounds(slot)[1] is None else bucket_bounds(slot)[1]},{int(count)}"
            f"{self._extension(hist, total_us)}\n"
            for key, (hist, total_us) in found
            for slot, count in enumerate(hist)
            if count
        )
        self.output.write_bytes(lines.encode())
        self.output.written += len(found)

    def _extension(self, hist: Histogram, total_us: int) -> str:
        """Average and count of the whole histogram, with -e behind each of its lines."""
        average = self._average(hist, total_us)
        return f",{average:.1f},{int(hist.sum())}" if self.wish.extension and average is not None else ""

    def _block(self, key: Key, hist: Histogram, total_us: int) -> Iterator[str]:
        """Title, header and bars, as bcc prints them."""
        title = {"laddr": "Local Address", "raddr": "Remote Address"}.get(self.wish.by or "", "All Addresses")
        name = _name(key, self._names, "*******")
        average = self._average(hist, total_us)
        extra = f" [AVG {average:.0f}] [COUNT {int(hist.sum())}]" if self.wish.extension and average is not None else ""
        yield f"{title} = {name}{extra}"
        yield from log2_lines(hist, _UNIT_NAMES[self.wish.unit])


def log2_lines(hist: Histogram, unit: str) -> Iterator[str]:
    """The lines of bcc's ``print_log2_hist`` (src/python/bcc/table.py), the empty tail cut."""
    used = np.flatnonzero(hist)
    if not len(used):
        return
    most = int(hist.max())
    yield f"     {unit:<19} : count     distribution"
    for slot in range(int(used[-1]) + 1):
        low, high = bucket_bounds(slot)
        count = int(hist[slot])
        stars = "*" * (_STARS * count // most)
        yield f"{low:10d} -> {(2 << slot) - 1 if high is None else high:<10d} : {count:<8d} |{stars:<{_STARS}}|"
