"""Collects the names of the namespaces, cgroups and devices that rows have by number, for panels and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.records import Rows
from tcptop_tui.stream.batches import Names, Sink

_MAX_NAMES = 16_384
"""Cgroups, and namespaces, whose names are remembered; of more the oldest are forgotten."""
_MAX_DEVICES = 1024
"""The same for devices. Each name is read again with every table, which takes 1 µs, because it may have changed."""


class NameCollector:
    """Collects names and passes them on when they have changed; used from the source's thread only.

    The names of namespaces, cgroups and devices that are gone stay, because the log still shows them.

    Args:
        cgroups: where the paths come from.
    """

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._ids: dict[int, None] = {}
        self._devices: dict[tuple[int, int], str] = {}
        self._names = Names()
        self._offered_names = Names()

    def collect(self, rows: Rows) -> bool:
        """Remember which names are needed; ``rows`` has ``cgroup``, ``netns`` and ``dev``, whatever its dtype.

        Returns:
            Whether one is needed for the first time.
        """
        has_new_device = self._collect_devices(rows)
        fresh = _distinct(rows["cgroup"]) - self._ids.keys()
        if not fresh:
            return has_new_device
        self._ids.update(dict.fromkeys(sorted(fresh)))
        for oldest in list(self._ids)[: max(0, len(self._ids) - _MAX_NAMES)]:
            del self._ids[oldest]
        return True

    def _collect_devices(self, rows: Rows) -> bool:
        # most sockets are bound to no device
        bound = np.flatnonzero(rows["dev"])
        if not len(bound):
            return False
        pairs = rows["netns"][bound].astype(np.uint64) << np.uint64(32) | rows["dev"][bound]
        fresh = {(pair >> 32, pair & 0xFFFF_FFFF) for pair in _distinct(pairs)} - self._devices.keys()
        self._devices.update(dict.fromkeys(sorted(fresh), ""))
        for oldest in list(self._devices)[: max(0, len(self._devices) - _MAX_DEVICES)]:
            del self._devices[oldest]
        return bool(fresh)

    def offer(
        self, sink: Sink, netns: Mapping[int, str], alive: frozenset[int], device: Callable[[int, int], str]
    ) -> None:
        """Offer all names to the sink if one has changed.

        Args:
            sink: takes them; if it refuses, they are offered again the next time.
            netns: names of the network namespaces that there are, by inode number.
            alive: the namespaces that there are; one without a name may have taken over another's number.
            device: from a namespace and the number of a device in it to its name; empty where it is not known.
        """
        netns_names = {inode: name for inode, name in self._names.netns.items() if inode not in alive} | dict(netns)
        netns_names = dict(list(netns_names.items())[-_MAX_NAMES:])
        self._names = Names(netns_names, self._cgroups.paths(self._ids), self._device_names(alive, device))
        if self._names != self._offered_names and sink.offer(self._names):
            self._offered_names = self._names

    def _device_names(self, alive: frozenset[int], device: Callable[[int, int], str]) -> dict[int, dict[int, str]]:
        names: dict[int, dict[int, str]] = {}
        for pair, previous in self._devices.items():
            netns, number = pair
            # a namespace that is not read yet has no name, one that has gone keeps those of its devices
            name = self._devices[pair] = device(netns, number) or ("" if netns in alive else previous)
            if name:
                names.setdefault(netns, {})[number] = name
        return names


def _distinct(values: NDArray[np.uint64]) -> set[int]:
    """The distinct values; equal neighbors, which most are, are looked at once."""
    return set(values[np.flatnonzero(np.diff(values, prepend=~values[:1]))].tolist())
