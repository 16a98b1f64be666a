"""The version of the running kernel, and where a host keeps the names of its network namespaces."""

from __future__ import annotations

import platform
import re

NAMED_NETNS_FOLDER = "/run/netns"
"""iproute2's NETNS_RUN_DIR: a file for each network namespace that ``ip netns`` lists."""


def kernel_version() -> tuple[int, int]:
    """Major and minor version from ``uname -r``: (6, 12) of ``6.12.43+deb13-amd64``; a number that is missing is 0."""
    major, minor = [*map(int, re.findall(r"\d+", platform.release())), 0, 0][:2]
    return major, minor
