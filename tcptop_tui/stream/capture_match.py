"""Applies the capture filter to rows, as the kernel programs apply it to events."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.records import Mask, Rows
from tcptop_tui.stream.batches import Capture
from tcptop_tui.stream.identity import endpoints_mask, process_mask


class CaptureMatch:
    """One capture filter with the content of its pinned maps; used from the source's thread only.

    Args:
        capture: the filter.
        cgroups: knows which cgroups are below which.
    """

    def __init__(self, capture: Capture, cgroups: Cgroups) -> None:
        self._capture = capture
        self._cgroups = cgroups
        self.pinned_cgroups: NDArray[np.uint64] = np.zeros(0, np.uint64)
        """Keys of the pinned map at ``capture.cgroup_map_path``: ids of cgroups, without those below them."""
        self.pinned_mntns: NDArray[np.uint64] = np.zeros(0, np.uint64)
        """Keys of the pinned map at ``capture.mntns_map_path``: inode numbers of mount namespaces."""

    @property
    def filters_cgroups(self) -> bool:
        """Whether the filter names cgroups."""
        return bool(self._capture.cgroups or self._capture.cgroup_map_path)

    def mask(self, rows: Rows, *, unknown: bool) -> Mask:
        """Which of ``rows`` are wanted, shape (n,).

        Args:
            rows: of dtype ROW, ENDED or TRANSITION.
            unknown: whether a row without a known process or cgroup passes; TIME_WAIT and requests have none.
        """
        wanted = self.mask_without_cgroup(rows, unknown=unknown)
        if self.filters_cgroups:
            wanted &= self._in_cgroups(rows) | (unknown & (rows["cgroup"] == 0))
        return wanted

    def mask_without_cgroup(self, rows: Rows, *, unknown: bool) -> Mask:
        """Which of ``rows`` are wanted whatever their cgroup; if ``unknown``, an owner that is not known passes."""
        return endpoints_mask(rows, self._capture) & self.process_mask(rows, unknown=unknown)

    def process_mask(self, rows: Rows, *, unknown: bool) -> Mask:
        """Which of ``rows`` are wanted by process and mount namespace alone; ``unknown`` as in ``mask``."""
        wanted: Mask = process_mask(rows, self._capture, unknown=unknown)
        if self._capture.mntns_map_path and "mntns" in (rows.dtype.names or ()):
            wanted &= (unknown & (rows["mntns"] == 0)) | np.isin(rows["mntns"], self.pinned_mntns)
        return wanted

    @property
    def filters_processes(self) -> bool:
        """Whether the filter names processes or mount namespaces."""
        return bool(self._capture.pids or self._capture.mntns_map_path)

    def decidable(self, rows: Rows) -> Mask:
        """For which of ``rows`` (dtype ROW) owner and mount namespace are known as far as the filter needs them."""
        is_known = np.ones(len(rows), np.bool_)
        if self._capture.pids:
            is_known &= rows["pid"] != 0
        if self._capture.mntns_map_path:
            is_known &= rows["mntns"] != 0
        return is_known

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
    distinct, position = np.unique(pids, return_inverse=True)
    return np.array([_mount_namespace(pid) for pid in distinct.tolist()], np.uint32)[position]


def _mount_namespace(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino if pid else 0  # noqa: PTH116  3 µs for each process
    except OSError:
        return 0
