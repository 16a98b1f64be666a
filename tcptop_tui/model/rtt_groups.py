"""Round-trip times by what their connections have in common: a histogram for each key."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats, safe_text
from tcptop_tui.filters.process_names import distinct_names
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.records import RTT_SLOTS, Flag, Mask, Rows
from tcptop_tui.stream.batches import Names
from tcptop_tui.stream.histograms import HistogramStore, row_histograms
from tcptop_tui.stream.identity import link_ids, mix_into

GROUPINGS = ("raddr", "port", "process", "laddr")
TITLES = {"raddr": "remote address", "port": "service port", "process": "process", "laddr": "local address"}


@dataclass(frozen=True, slots=True, eq=False)
class RttGroups:
    """A histogram a key, most samples first. Shapes: (n, RTT_SLOTS), (n,), (n,)."""

    by: str
    hist: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, RTT_SLOTS), "<u8"))
    sum_us: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, "<u8"))
    keys: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, "V16"))
    """16 bytes each: an address, a name, or a port; ``label`` makes words of one."""
    links: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, "<u8"))
    """Of link-local addresses, see ``identity.links``; else 0."""
    names: Names = field(default_factory=Names)
    """Of the links' devices."""
    has_dropped: int = -1
    """Which one is of the ended connections that are kept only as a sum; -1: none."""

    def label(self, index: int) -> str:
        """The key in words: only what is on the screen is ever asked for."""
        if index == self.has_dropped:
            return "older samples, summed"
        raw = self.keys[index].tobytes()
        if self.by in {"laddr", "raddr"}:
            address = formats.address((int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big")))
            link = int(self.links[index])
            return (
                f"{address}%{safe_text.clean(self.names.device(link >> 32, link & 0xFFFF_FFFF))}" if link else address
            )
        if self.by == "port":
            return str(int.from_bytes(raw, "little") or formats.UNKNOWN)
        return safe_text.clean(raw.split(b"\0", 1)[0]) or formats.UNKNOWN


def service_ports(rows: Rows) -> NDArray[np.uint16]:
    """The listener's side: local where it was accepted, remote where it was opened, else the smaller one."""
    lport, rport = rows["lport"], rows["rport"]
    smaller = np.where((lport == 0) | ((rport != 0) & (rport < lport)), rport, lport)
    unopened = np.where((rows["flags"] & Flag.ACTIVE) != 0, rport, smaller)
    ports: NDArray[np.uint16] = np.where((rows["flags"] & Flag.PASSIVE) != 0, lport, unopened)
    return ports


def rtt_groups(facts: Snapshot, by: str, live: Mask, ended: Mask, *, filtered: bool) -> RttGroups:
    """Sum up the chosen rows of ``facts.rows`` and ``facts.ended_rows``.

    Args:
        facts: what is known.
        by: one of ``GROUPINGS``.
        live: which connections are wanted.
        ended: which kept ended ones are.
        filtered: a filter is in force; it cannot choose from what is kept only as a sum.
    """
    parts = [
        _sampled_columns(facts.rows, facts.hists, live, by),
        _sampled_columns(facts.ended_rows, facts.hists, ended, by),
    ]
    hist, sum_us, keys, link = (np.concatenate(column) for column in zip(*parts, strict=True))
    leaders, leader_of = distinct_names(_with_links(keys, link).view("S16"))
    group = np.empty(len(keys), np.intp)
    group[leaders] = np.arange(len(leaders))
    summed, sums = _summed(hist, sum_us, group[leader_of], len(leaders))
    found = RttGroups(by, summed, sums, keys[leaders], link[leaders], facts.names)
    return _sorted(found if filtered else _with_dropped(found, facts))


def _sampled_columns(
    rows: Rows, hists: HistogramStore, chosen: Mask, by: str
) -> tuple[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.void], NDArray[np.uint64]]:
    """Histograms, sums, keys and links of what has samples; whole rows are never copied, they are long."""
    places = np.flatnonzero(chosen)
    hist = row_histograms(rows, hists, places)
    sampled = hist.any(axis=1)
    if not sampled.all():
        places, hist = places[sampled], hist[sampled]
    link = link_ids(rows, by, places) if by in {"laddr", "raddr"} else np.zeros(len(places), np.uint64)
    return hist, rows["rtt_sum_us"][places], _keys(rows, by)[places], link


def _with_links(keys: NDArray[np.void], link: NDArray[np.uint64]) -> NDArray[np.void]:
    """Keys that differ where only the links do."""
    if not link.any():
        return keys
    words = keys.view("<u8").reshape(-1, 2).copy()
    words[:, 0] = mix_into(words[:, 0].copy(), link)
    made: NDArray[np.void] = words.view("V16").ravel()
    return made


def _keys(rows: Rows, by: str) -> NDArray[np.void]:
    """16 bytes a row, equal where the rows belong together."""
    words: NDArray[Any] = np.zeros((len(rows), 2), "<u8")
    if by == "port":
        words[:, 0] = service_ports(rows)
    elif by == "process":
        words = np.ascontiguousarray(rows["comm"])
    else:
        words = np.ascontiguousarray(rows[by])
    keys: NDArray[np.void] = words.view("V16").ravel()
    return keys


def _summed(
    hist: NDArray[np.uint32], sum_us: NDArray[np.uint64], group: NDArray[np.intp], groups: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Sums by group. bincount adds floats: whole up to 2^53, so a sum of 64 bits goes in halves."""
    summed = np.zeros((groups, RTT_SLOTS), np.uint64)
    for slot in np.flatnonzero(hist.any(axis=0)):
        summed[:, slot] = np.bincount(group, hist[:, slot], groups)
    low = np.bincount(group, sum_us & np.uint64(0xFFFF_FFFF), groups).astype(np.uint64)
    high = np.bincount(group, sum_us >> np.uint64(32), groups).astype(np.uint64)
    return summed, low + (high << np.uint64(32))


def _with_dropped(found: RttGroups, facts: Snapshot) -> RttGroups:
    """Add what is kept only as a sum, as a group of its own."""
    if not facts.dropped_rtt_hist.any():
        return found
    older_sum = np.uint64(facts.dropped_rtt_sum_us)
    return replace(
        found,
        hist=np.concatenate([found.hist, facts.dropped_rtt_hist[None, :]]),
        sum_us=np.append(found.sum_us, older_sum),
        keys=np.concatenate([found.keys, np.zeros(1, "V16")]),
        links=np.append(found.links, np.uint64(0)),
        has_dropped=len(found.hist),
    )


def _sorted(found: RttGroups) -> RttGroups:
    order = np.argsort(-found.hist.sum(axis=1).astype(np.int64), kind="stable")
    older = int(np.flatnonzero(order == found.has_dropped)[0]) if found.has_dropped >= 0 else -1
    return replace(
        found, hist=found.hist[order], sum_us=found.sum_us[order], keys=found.keys[order], links=found.links[order],
        has_dropped=older,
    )  # fmt: skip
