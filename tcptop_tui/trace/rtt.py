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
from tcptop_tui.export.log2_text import log2_lines
from tcptop_tui.export.schema import Bucket
from tcptop_tui.filters import Filter
from tcptop_tui.model.histogram import bucket_bounds
from tcptop_tui.records import RTT_SLOTS, Rows
from tcptop_tui.safe_text import clean
from tcptop_tui.stream.batches import Batch, EndedConnections, Loss, Names, Table
from tcptop_tui.stream.histograms import Histogram
from tcptop_tui.stream.identity import link_ids
from tcptop_tui.trace.output import Form, Output
from tcptop_tui.trace.stream_loop import LineContext

Key: TypeAlias = tuple[int, int, int] | None
"""Words of an address, and its link (``identity.link_ids``); None: all addresses together."""

_OTHERS = (-1, -1, 0)
"""The key of all addresses beyond ``_MAX_KEYS``."""

_MAX_KEYS = 65_536

Totals: TypeAlias = dict[Key, tuple[Histogram, int]]
"""Samples by bucket, and their sum in µs, of each key."""

_NO_SAMPLES: tuple[Histogram, int] = (np.zeros(RTT_SLOTS, np.uint64), 0)
_UNIT_NAMES = {"us": "usecs", "ms": "msecs"}


class RttDocument(msgspec.Struct, frozen=True):
    """One histogram in JSON; ``key`` is its address, null for all addresses together."""

    time: str
    key: str | None
    unit: str
    count: int
    avg: float | None
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class RttOptions:
    """Which histograms are printed, and how."""

    by: Literal["laddr", "raddr"] | None
    unit: Literal["us", "ms"]
    extension: bool
    """Print average and count, too."""
    timestamp: bool
    """Print the time of day above each histogram in text."""
    interval_s: float | None
    """Between two summaries; None: one summary, at the end."""


def totals_of(rows: Rows, hists: NDArray[np.uint32], by: str | None) -> Totals:
    """Sums over ``rows`` by address, or all together.

    Args:
        rows: dtype ROW or ENDED, shape (n,).
        hists: their histograms, shape (n, RTT_SLOTS).
        by: ``laddr`` or ``raddr``; None: all together.
    """
    has_samples = hists.any(axis=1)
    rows, hists = rows[has_samples], hists[has_samples]
    if not len(rows):
        return {}
    if by is None:
        return {None: (hists.sum(axis=0, dtype=np.uint64), int(rows["rtt_sum_us"].sum()))}
    addresses = np.column_stack([rows[by].astype("<u8"), link_ids(rows, by)])
    keys, key_index = np.unique(addresses, axis=0, return_inverse=True)
    key_index = key_index.reshape(-1)
    key_hists = np.zeros((len(keys), RTT_SLOTS), np.uint64)
    sums_us = np.zeros(len(keys), np.uint64)
    np.add.at(key_hists, key_index, hists)
    np.add.at(sums_us, key_index, rows["rtt_sum_us"])
    return {
        (high, low, link): (hist, int(sum_us))
        for (high, low, link), hist, sum_us in zip(keys.tolist(), key_hists, sums_us.tolist(), strict=True)
    }


def _added(left: Totals, right: Totals) -> Totals:
    """The sum of both; keys beyond ``_MAX_KEYS`` are added to ``_OTHERS``."""
    merged = dict(left)
    for key, (hist, sum_us) in right.items():
        merged_key = key if key in merged or len(merged) < _MAX_KEYS else _OTHERS
        merged_hist, merged_us = merged.get(merged_key, _NO_SAMPLES)
        merged[merged_key] = (merged_hist + hist, merged_us + sum_us)
    return merged


def _highest(now: Totals, previous: Totals) -> Totals:
    """The higher of both in each place.

    Samples only ever become more, but those of a connection that has just ended may for a moment be in no total.
    """
    highest = dict(previous)
    for key, (hist, sum_us) in now.items():
        previous_hist, previous_us = previous.get(key, _NO_SAMPLES)
        highest[key] = (np.maximum(hist, previous_hist), max(sum_us, previous_us))
    return highest


def _since(now: Totals, previous: Totals) -> Totals:
    """What came after ``previous``, which is nowhere higher than ``now``; without keys that got no sample."""
    new_totals: Totals = {}
    for key, (hist, sum_us) in now.items():
        previous_hist, previous_us = previous.get(key, _NO_SAMPLES)
        new: Histogram = hist - previous_hist
        if new.any():
            new_totals[key] = (new, sum_us - previous_us)
    return new_totals


def _key_text(key: Key, names: Names, everything: str | None) -> str | None:
    """The address of a key, with its device where it has one; ``everything`` for the key of all addresses."""
    if key is None:
        return everything
    high, low, link = key
    device = clean(names.device(link >> 32, link & 0xFFFF_FFFF))
    return "(others)" if key == _OTHERS else formats.address((high, low)) + (f"%{device}" if link else "")


@dataclass(slots=True)
class RttStream:
    """Histograms of the connections that the filter matches, at each interval or once at the end."""

    output: Output
    filter: Filter
    options: RttOptions
    form: Form
    _ended_totals: Totals = field(default_factory=dict)
    _live_totals: Totals = field(default_factory=dict)
    """Of the latest table."""
    _printed_totals: Totals = field(default_factory=dict)
    _next_print_s: float = 0.0
    """By time.monotonic(); 0 before the first table."""
    _names: Names = field(default_factory=Names)

    def start(self) -> None:
        """See ``LineStream``."""
        self.output.write_comment(b"Tracing TCP RTT... Hit Ctrl-C to end.\n\n")
        if self.form == "csv":
            more = b",AVG,SAMPLES" if self.options.extension else b""
            self.output.write_bytes(b"TIME,KEY,UNIT,LOW,HIGH,COUNT" + more + b"\n")

    def write_batch(self, batch: Batch, context: LineContext) -> None:
        """See ``LineStream``."""
        if isinstance(batch, EndedConnections):
            ended = self._matching(batch.rows, context)
            self._ended_totals = _added(self._ended_totals, totals_of(ended, ended["rtt_hist"], self.options.by))
        if not isinstance(batch, Table):
            return
        rows = self._matching(batch.rows, context)
        self._live_totals = totals_of(rows, batch.hists.histograms(rows["hist"]), self.options.by)
        if self.options.interval_s is None:
            return
        now_s = time.monotonic()
        self._next_print_s = self._next_print_s or now_s + self.options.interval_s
        if now_s >= self._next_print_s:
            self._next_print_s += self.options.interval_s
            self._print(context)

    def _matching(self, rows: Rows, context: LineContext) -> Rows:
        matches: Rows = rows[self.filter.matches(context.row_context(rows))]
        return matches

    def lost(self, loss: Loss) -> int:
        """See ``LineStream``."""
        return loss.sessions_ring_full

    def finish(self, context: LineContext) -> None:
        """Print the histograms of what came since the last interval."""
        self._print(context)

    def _print(self, context: LineContext) -> None:
        """Print a histogram for each key that got samples since the last time, those with most samples first."""
        self._names = context.names
        now = _highest(_added(self._ended_totals, self._live_totals), self._printed_totals)
        new, self._printed_totals = _since(now, self._printed_totals), now
        utc_ns = context.now_ns + context.utc_offset_ns
        ordered = sorted(new.items(), key=lambda total: -int(total[1][0].sum()))
        if self.form == "json":
            self.output.objects([self._document(key, hist, sum_us, utc_ns) for key, (hist, sum_us) in ordered])
            return
        if self.form == "csv":
            self._print_csv(ordered, utc_ns)
            return
        clock = f"{formats.clock(utc_ns)}\n" if self.options.timestamp else ""
        blocks = (clock + "\n".join(self._block(key, hist, sum_us)) + "\n\n" for key, (hist, sum_us) in ordered)
        self.output.write_bytes("".join(blocks).encode())
        self.output.written += len(ordered)

    def _average(self, hist: Histogram, sum_us: int) -> float | None:
        count = int(hist.sum())
        return sum_us / count / (1000 if self.options.unit == "ms" else 1) if count else None

    def _document(self, key: Key, hist: Histogram, sum_us: int, utc_ns: int) -> RttDocument:
        return RttDocument(
            time=formats.iso_time(utc_ns),
            key=_key_text(key, self._names, None),
            unit=self.options.unit,
            count=int(hist.sum()),
            avg=self._average(hist, sum_us),
            buckets=[
                Bucket(*bucket_bounds(slot), count=int(hist[slot])) for slot in range(int(np.flatnonzero(hist)[-1]) + 1)
            ],
        )

    def _print_csv(self, ordered: list[tuple[Key, tuple[Histogram, int]]], utc_ns: int) -> None:
        lines = "".join(
            f"{formats.iso_time(utc_ns)},{_key_text(key, self._names, '')},{self.options.unit},"
            f"{bucket_bounds(slot)[0]},{'' if bucket_bounds(slot)[1] is None else bucket_bounds(slot)[1]},{int(count)}"
            f"{self._extension(hist, sum_us)}\n"
            for key, (hist, sum_us) in ordered
            for slot, count in enumerate(hist)
            if count
        )
        self.output.write_bytes(lines.encode())
        self.output.written += len(ordered)

    def _extension(self, hist: Histogram, sum_us: int) -> str:
        """With -e the cells for average and count of the whole histogram, which each of its lines of CSV ends with."""
        average = self._average(hist, sum_us)
        return f",{average:.1f},{int(hist.sum())}" if self.options.extension and average is not None else ""

    def _block(self, key: Key, hist: Histogram, sum_us: int) -> Iterator[str]:
        """Title, header and bars of one histogram, as bcc's tcprtt prints them."""
        title = {"laddr": "Local Address", "raddr": "Remote Address"}.get(self.options.by or "", "All Addresses")
        name = _key_text(key, self._names, "*******")
        average = self._average(hist, sum_us)
        extension = (
            f" [AVG {average:.0f}] [COUNT {int(hist.sum())}]" if self.options.extension and average is not None else ""
        )
        yield f"{title} = {name}{extension}"
        yield from log2_lines(hist.tolist(), _UNIT_NAMES[self.options.unit])
