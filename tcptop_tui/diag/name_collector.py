"""What the numbers of namespaces, cgroups and devices in the rows are called, for the panels and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.records import Rows
from tcptop_tui.stream.batches import Names, Sink

_MOST = 16_384
"""Cgroups, and namespaces, whose names are kept; of more the oldest are forgotten."""
_MOST_DEVICES = 1024
"""The same; each is asked for again with every table, at 1 µs: it may have another name by now."""


class NameCollector:
    """Collects names and passes them on when they have changed; for one worker thread.

    What has ended keeps its name: it is still in the log.

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
        """Remember whose names are wanted; ``rows`` has ``cgroup``, ``netns`` and ``dev``, whatever its dtype.

        Returns:
            Is there one that was not wanted before?
        """
        fresh_device = self._note_devices(rows)
        fresh = _distinct(rows["cgroup"]) - self._ids.keys()
        if not fresh:
            return fresh_device
        self._ids.update(dict.fromkeys(sorted(fresh)))
        for oldest in list(self._ids)[: max(0, len(self._ids) - _MOST)]:
            del self._ids[oldest]
        return True

    def _note_devices(self, rows: Rows) -> bool:
        """Most sockets are bound to none."""
        bound = np.flatnonzero(rows["dev"])
        if not len(bound):
            return False
        pairs = rows["netns"][bound].astype(np.uint64) << np.uint64(32) | rows["dev"][bound]
        fresh = {(pair >> 32, pair & 0xFFFF_FFFF) for pair in _distinct(pairs)} - self._devices.keys()
        self._devices.update(dict.fromkeys(sorted(fresh), ""))
        for oldest in list(self._devices)[: max(0, len(self._devices) - _MOST_DEVICES)]:
            del self._devices[oldest]
        return bool(fresh)

    def offer(
        self, sink: Sink, netns: Mapping[int, str], alive: frozenset[int], device: Callable[[int, int], str]
    ) -> None:
        """Hand over all names if there is a new one.

        Args:
            sink: takes them, or is asked again the next time.
            netns: names of the network namespaces that there are, by inode number.
            alive: the namespaces that there are; one without a name may have taken over another's number.
            device: from a namespace and the number of a device in it to its name; empty where it is not known.
        """
        kept = {inode: name for inode, name in self._names.netns.items() if inode not in alive} | dict(netns)
        kept = dict(list(kept.items())[-_MOST:])
        self._names = Names(kept, self._cgroups.paths(self._ids), self._device_names(alive, device))
        if self._names != self._offered_names and sink.offer(self._names):
            self._offered_names = self._names

    def _device_names(self, alive: frozenset[int], device: Callable[[int, int], str]) -> dict[int, dict[int, str]]:
        found: dict[int, dict[int, str]] = {}
        for pair, known in self._devices.items():
            netns, number = pair
            # a namespace that is not read yet has no name, one that has gone keeps those of its devices
            name = self._devices[pair] = device(netns, number) or ("" if netns in alive else known)
            if name:
                found.setdefault(netns, {})[number] = name
        return found


def _distinct(values: NDArray[np.uint64]) -> set[int]:
    """Which there are; the same in a row, as most are, is looked at once."""
    return set(values[np.flatnonzero(np.diff(values, prepend=~values[:1]))].tolist())
