"""RTT samples grouped by remote or local address, service port or process: the histograms of view 4."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.filters.process_names import distinct_names
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.records import RTT_SLOTS, Flag, Mask, Rows
from tcptop_tui.stream.batches import Names
from tcptop_tui.stream.histograms import HistogramStore, row_histograms
from tcptop_tui.stream.identity import link_ids, mix_into

GROUPINGS = ("raddr", "port", "process", "laddr")


@dataclass(frozen=True, slots=True, eq=False)
class RttGroups:
    """A histogram for each of n groups, most samples first."""

    by: str
    """One of ``GROUPINGS``."""
    hist: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, RTT_SLOTS), "<u8"))
    """Samples by bucket, shape (n, RTT_SLOTS)."""
    sum_us: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, "<u8"))
    """Sums of all samples, shape (n,)."""
    keys: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, "V16"))
    """16 bytes for each group: an address, a process name, or a port. Shape (n,)."""
    links: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, "<u8"))
    """Links of link-local addresses, see ``identity.link_ids``; 0 for everything else. Shape (n,)."""
    names: Names = field(default_factory=Names)
    """Has the names of the links' devices."""
    dropped_group: int = -1
    """Index of the group of ended connections that are stored only as a sum; -1: there is none."""

    def address(self, index: int) -> tuple[int, int]:
        """The address of a group by address, as two words, high and low."""
        key = self.keys[index].tobytes()
        return int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")

    def device(self, index: int) -> str:
        """Name of the device that the link of a link-local address is at; empty for all other addresses."""
        link = int(self.links[index])
        return self.names.device(link >> 32, link & 0xFFFF_FFFF) if link else ""

    def port(self, index: int) -> int:
        """The port of a group by port; 0 is unknown."""
        return int.from_bytes(self.keys[index].tobytes(), "little")

    def process_name(self, index: int) -> bytes:
        """The name of a group by process, as the process has chosen it; empty: unknown."""
        name: bytes = self.keys[index].tobytes()
        return name.split(b"\0", 1)[0]


def service_ports(rows: Rows) -> NDArray[np.uint16]:
    """The port of each row's listening side, shape (n,).

    That is the local port of an accepted connection and the remote port of an opened one. Where neither is known, it
    is the smaller of the two.
    """
    lport, rport = rows["lport"], rows["rport"]
    smaller = np.where((lport == 0) | ((rport != 0) & (rport < lport)), rport, lport)
    if_not_accepted = np.where((rows["flags"] & Flag.ACTIVE) != 0, rport, smaller)
    ports: NDArray[np.uint16] = np.where((rows["flags"] & Flag.PASSIVE) != 0, lport, if_not_accepted)
    return ports


def rtt_groups(snapshot: Snapshot, by: str, matches: Mask, ended_matches: Mask, *, filtered: bool) -> RttGroups:
    """Group the samples of open and of ended connections.

    Args:
        snapshot: has both.
        by: one of ``GROUPINGS``.
        matches: which of ``snapshot.rows`` match the filter.
        ended_matches: which of ``snapshot.ended_rows`` match.
        filtered: a filter is in force. It cannot choose from what is stored only as a sum, so that this is left out.
    """
    parts = [
        _sampled_columns(snapshot.rows, snapshot.hists, matches, by),
        _sampled_columns(snapshot.ended_rows, snapshot.hists, ended_matches, by),
    ]
    hist, sum_us, keys, links = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    leaders, leader_of = distinct_names(_keys_with_links(keys, links).view("S16"))
    group_index = np.empty(len(keys), np.intp)
    group_index[leaders] = np.arange(len(leaders))
    group_hist, group_sum_us = _sum_groups(hist, sum_us, group_index[leader_of], len(leaders))
    groups = RttGroups(by, group_hist, group_sum_us, keys[leaders], links[leaders], snapshot.names)
    return _sorted(groups if filtered else _with_dropped(groups, snapshot))


def _sampled_columns(
    rows: Rows, hists: HistogramStore, matches: Mask, by: str
) -> tuple[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.void], NDArray[np.uint64]]:
    """Histograms, sums, keys and links of the matching rows that have samples; whole rows are large and not copied."""
    row_numbers = np.flatnonzero(matches)
    hist = row_histograms(rows, hists, row_numbers)
    has_samples = hist.any(axis=1)
    if not has_samples.all():
        row_numbers, hist = row_numbers[has_samples], hist[has_samples]
    is_by_address = by in {"laddr", "raddr"}
    links = link_ids(rows, by, row_numbers) if is_by_address else np.zeros(len(row_numbers), np.uint64)
    return hist, rows["rtt_sum_us"][row_numbers], _keys(rows, by)[row_numbers], links


def _keys_with_links(keys: NDArray[np.void], links: NDArray[np.uint64]) -> NDArray[np.void]:
    """Keys that also differ where the same address is on different links."""
    if not links.any():
        return keys
    words = keys.view("<u8").reshape(-1, 2).copy()
    words[:, 0] = mix_into(words[:, 0].copy(), links)
    mixed: NDArray[np.void] = words.view("V16").ravel()
    return mixed


def _keys(rows: Rows, by: str) -> NDArray[np.void]:
    """16 bytes for each row, equal where rows belong to the same group."""
    words: NDArray[Any] = np.zeros((len(rows), 2), "<u8")
    if by == "port":
        words[:, 0] = service_ports(rows)
    elif by == "process":
        words = np.ascontiguousarray(rows["comm"])
    else:
        words = np.ascontiguousarray(rows[by])
    keys: NDArray[np.void] = words.view("V16").ravel()
    return keys


def _sum_groups(
    hist: NDArray[np.uint32], sum_us: NDArray[np.uint64], group_index: NDArray[np.intp], count: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Histograms and sums of ``count`` groups.

    bincount adds floats, which are exact up to 2^53: sums of 64 bits are added in two halves.
    """
    group_hist = np.zeros((count, RTT_SLOTS), np.uint64)
    for bucket in np.flatnonzero(hist.any(axis=0)):
        group_hist[:, bucket] = np.bincount(group_index, hist[:, bucket], count)
    low = np.bincount(group_index, sum_us & np.uint64(0xFFFF_FFFF), count).astype(np.uint64)
    high = np.bincount(group_index, sum_us >> np.uint64(32), count).astype(np.uint64)
    return group_hist, low + (high << np.uint64(32))


def _with_dropped(groups: RttGroups, snapshot: Snapshot) -> RttGroups:
    """Add the ended connections that are stored only as a sum, as a group of their own."""
    if not snapshot.dropped_rtt_hist.any():
        return groups
    return replace(
        groups,
        hist=np.concatenate([groups.hist, snapshot.dropped_rtt_hist[None, :]]),
        sum_us=np.append(groups.sum_us, np.uint64(snapshot.dropped_rtt_sum_us)),
        keys=np.concatenate([groups.keys, np.zeros(1, "V16")]),
        links=np.append(groups.links, np.uint64(0)),
        dropped_group=len(groups.hist),
    )


def _sorted(groups: RttGroups) -> RttGroups:
    order = np.argsort(-groups.hist.sum(axis=1).astype(np.int64), kind="stable")
    dropped_group = int(np.flatnonzero(order == groups.dropped_group)[0]) if groups.dropped_group >= 0 else -1
    return replace(
        groups, hist=groups.hist[order], sum_us=groups.sum_us[order], keys=groups.keys[order],
        links=groups.links[order], dropped_group=dropped_group,
    )  # fmt: skip
