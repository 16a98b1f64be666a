"""Which rows of a dump the capture wants, as the kernel programs choose events."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.records import Mask, Rows
from tcptop_tui.stream.batches import Capture
from tcptop_tui.stream.identity import endpoints_mask, process_mask


class CaptureMatch:
    """Keeps what it takes to answer, for one worker thread.

    Args:
        capture: what is wanted.
        cgroups: what is below which.
    """

    def __init__(self, capture: Capture, cgroups: Cgroups) -> None:
        self._capture = capture
        self._cgroups = cgroups
        self.pinned_cgroups: NDArray[np.uint64] = np.zeros(0, np.uint64)
        """Keys of the map at ``capture.cgroup_map_path``; ids, of exactly these cgroups."""
        self.pinned_mntns: NDArray[np.uint64] = np.zeros(0, np.uint64)
        """Keys of the map at ``capture.mntns_map_path``; inode numbers."""

    @property
    def filters_cgroups(self) -> bool:
        """Is it cgroups that are asked for?"""
        return bool(self._capture.cgroups or self._capture.cgroup_map_path)

    def mask(self, rows: Rows, *, unknown: bool) -> Mask:
        """Which of ``rows`` are wanted, shape (n,).

        Args:
            rows: of dtype ROW, ENDED or TRANSITION.
            unknown: whether a process or a cgroup that is not known passes too: TIME_WAIT and requests have none.
        """
        wanted = self.mask_without_cgroup(rows, unknown=unknown)
        if self.filters_cgroups:
            wanted &= self._in_cgroups(rows) | (unknown & (rows["cgroup"] == 0))
        return wanted

    def mask_without_cgroup(self, rows: Rows, *, unknown: bool) -> Mask:
        """Which of ``rows`` are wanted whatever their cgroup; if ``unknown``, an owner that is not known passes."""
        return endpoints_mask(rows, self._capture) & self.process_mask(rows, unknown=unknown)

    def process_mask(self, rows: Rows, *, unknown: bool) -> Mask:
        """The same, whatever their ends."""
        wanted: Mask = process_mask(rows, self._capture, unknown=unknown)
        if self._capture.mntns_map_path and "mntns" in (rows.dtype.names or ()):
            wanted &= (unknown & (rows["mntns"] == 0)) | np.isin(rows["mntns"], self.pinned_mntns)
        return wanted

    @property
    def filters_processes(self) -> bool:
        """Is it processes that are asked for?"""
        return bool(self._capture.pids or self._capture.mntns_map_path)

    def decidable(self, rows: Rows) -> Mask:
        """Of which of ``rows`` (dtype ROW) enough is known to say whether they are wanted."""
        known = np.ones(len(rows), np.bool_)
        if self._capture.pids:
            known &= rows["pid"] != 0
        if self._capture.mntns_map_path:
            known &= rows["mntns"] != 0
        return known

    def _in_cgroups(self, rows: Rows) -> Mask:
        inside: Mask = np.ones(len(rows), np.bool_)
        if self._capture.cgroup_map_path:
            inside &= np.isin(rows["cgroup"], self.pinned_cgroups)
        if self._capture.cgroups:
            below = self._cgroups.descendants(self._capture.cgroups, np.unique(rows["cgroup"]).tolist())
            inside &= np.isin(rows["cgroup"], np.array(sorted(below), np.uint64))
        return inside


def mount_namespaces(pids: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Inode number of each process's mount namespace, shape (n,); 0 where it ended or is not ours to see."""
    asked, place = np.unique(pids, return_inverse=True)
    return np.array([_mount_namespace(pid) for pid in asked.tolist()], np.uint32)[place]


def _mount_namespace(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino if pid else 0  # noqa: PTH116  3 µs for each process
    except OSError:
        return 0
