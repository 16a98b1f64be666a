"""What the numbers of namespaces and cgroups in the rows are called, for the panels and files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.cgroups import Cgroups
from tcptop_tui.records import Rows
from tcptop_tui.source.batches import Names, Sink

_MOST = 16_384
"""Cgroups, and namespaces, whose names are kept; of more the oldest are forgotten."""


class Namer:
    """Collects names and passes them on when they have changed; for one worker thread.

    What has ended keeps its name: it is still in the log.

    Args:
        cgroups: where the paths come from.
    """

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._ids: dict[int, None] = {}
        self._names = Names()
        self._offered = Names()

    def note(self, rows: Rows) -> bool:
        """Remember whose names are wanted; ``rows`` has ``cgroup``, whatever its dtype.

        Returns:
            Is there one that was not wanted before?
        """
        fresh = _different(rows["cgroup"]) - self._ids.keys()
        if not fresh:
            return False
        self._ids.update(dict.fromkeys(sorted(fresh)))
        for oldest in list(self._ids)[: max(0, len(self._ids) - _MOST)]:
            del self._ids[oldest]
        return True

    def offer(self, sink: Sink, netns: Mapping[int, str], alive: frozenset[int]) -> None:
        """Hand over all names if there is a new one.

        Args:
            sink: takes them, or is asked again the next time.
            netns: names of the network namespaces that there are, by inode number.
            alive: the namespaces that there are; one without a name may have taken over another's number.
        """
        kept = {inode: name for inode, name in self._names.netns.items() if inode not in alive} | dict(netns)
        kept = dict(list(kept.items())[-_MOST:])
        self._names = Names(kept, self._cgroups.paths(self._ids))
        if self._names != self._offered and sink.offer(self._names):
            self._offered = self._names


def _different(values: NDArray[np.uint64]) -> set[int]:
    """Which there are; the same in a row, as most are, is looked at once."""
    return set(values[np.flatnonzero(np.diff(values, prepend=~values[:1]))].tolist())
