"""Finds cgroups (v2) by id and by path. The id of a cgroup is the inode number of its directory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from tcptop_tui.errors import UsageError

_MAX_CGROUPS = 65_536
"""Directories that a walk looks at."""
_MIN_PERIOD_S = 2.0
_WALK_SHARE = 0.05
"""Of one core that walking may take."""
_OCTAL = re.compile(r"\\([0-7]{3})")


def mount_point() -> Path | None:
    """Where the hierarchy of cgroup v2 is mounted: /sys/fs/cgroup, or /sys/fs/cgroup/unified beside v1."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            _, where, kind, *_ = line.split(" ")
            if kind == "cgroup2":
                return Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), where))
    return None


def cgroup_id(path: str) -> int:
    """The id of the cgroup with this path, from the hierarchy's root or of its directory.

    Raises:
        UsageError: there is none; one line.
    """
    root = mount_point()
    if root is None:
        raise UsageError(f"no cgroup {path}", hint="this host has no cgroup v2 mounted")
    given = Path(path)
    directory = given if given.is_relative_to(root) else root / path.lstrip("/")
    # not resolved: a hierarchy has no links, and .. out of it is an error
    if ".." in given.parts or not directory.is_dir():
        raise UsageError(f"no cgroup {path}", hint=f"give a path below {root}, as /system.slice/ssh.service")
    return directory.stat().st_ino


class Cgroups:
    """Paths by id, for one worker thread.

    Walks the hierarchy only for an id that it does not know, and only once for each: a cgroup that is not found then
    has been removed, or is not below our root.

    Args:
        root: where cgroup v2 is mounted; by default as this host has it.
        clock: seconds, as time.monotonic.
    """

    def __init__(self, root: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = mount_point() if root is None else root
        self._clock = clock
        self._paths: dict[int, str] = {}
        self._unknown_ids: set[int] = set()
        self._not_before_s = float("-inf")

    def paths(self, ids: Iterable[int]) -> dict[int, str]:
        """Path from the root of each of ``ids`` that is known."""
        wanted = set(ids) - {0}
        self._unknown_ids &= wanted
        unknown = wanted - self._paths.keys() - self._unknown_ids
        if unknown and self._root is not None and self._clock() >= self._not_before_s:
            self._walk(self._root, wanted)
            self._unknown_ids |= unknown - self._paths.keys()
        return {one: self._paths[one] for one in wanted if one in self._paths}

    def descendants(self, tops: AbstractSet[int], ids: Iterable[int]) -> frozenset[int]:
        """Those of ``ids`` that are one of ``tops`` or below one."""
        known = self.paths([*ids, *tops])
        # "/" has all paths below it, "/a" those that begin with "/a/"
        starts = tuple(known[top].rstrip("/") + "/" for top in tops if top in known)
        below = {one for one, path in known.items() if (path.rstrip("/") + "/").startswith(starts)} if starts else set()
        return frozenset(below | set(tops))

    def _walk(self, root: Path, asked: AbstractSet[int]) -> None:
        """Read the hierarchy anew. Paths of removed cgroups are forgotten, unless their ids are among ``asked``."""
        started_s = self._clock()
        kept = {one: path for one, path in self._paths.items() if one in asked}
        self._paths = kept | dict(_walk_tree(root))
        ended_s = self._clock()
        self._not_before_s = ended_s + max(_MIN_PERIOD_S, (ended_s - started_s) / _WALK_SHARE)


def _walk_tree(root: Path) -> Iterator[tuple[int, str]]:
    """(id, path from the root) of each cgroup, the upper ones first."""
    try:
        yield root.stat().st_ino, "/"
    except OSError:
        return
    waiting, seen = [""], 1
    for above in waiting:  # grows meanwhile
        try:
            with os.scandir(f"{root}{above}") as entries:
                # inode() comes with the directory's listing: no stat for each
                found = [(entry.inode(), f"{above}/{entry.name}") for entry in entries if entry.is_dir()]
        except OSError:
            continue
        yield from found
        waiting += [path for _, path in found]
        seen += len(found)
        if seen > _MAX_CGROUPS:
            return
