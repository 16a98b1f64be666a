"""Looks up network namespaces and cgroups of this host by name."""

from __future__ import annotations

import os
import re

from tcptop_tui.errors import UsageError
from tcptop_tui.filters.errors import quoted_for_message
from tcptop_tui.filters.lexer import Value
from tcptop_tui.filters.units import read_count
from tcptop_tui.host.cgroups import cgroup_id
from tcptop_tui.host.kernel import NAMED_NETNS_FOLDER


def namespace_names() -> list[str]:
    """Names of the network namespaces that ``ip netns`` lists."""
    try:
        return sorted(os.listdir(NAMED_NETNS_FOLDER))
    except OSError:
        return []


def read_netns(value: Value) -> int:
    """Inode number of the network namespace that ``ip netns`` lists under this name.

    Raises:
        FilterError: there is no such network namespace.
    """
    hint = "ip netns lists them; a number is good too"
    if "/" in value.text or value.text in {".", ".."}:
        raise value.error(f"{quoted_for_message(value.text)} cannot be the name of a network namespace", hint)
    try:
        return os.stat(f"{NAMED_NETNS_FOLDER}/{value.text}").st_ino  # noqa: PTH116  no Path: it refuses surrogates elsewhere
    except (OSError, ValueError):
        raise value.error(f"no network namespace {quoted_for_message(value.text)}", hint) from None


def read_cgroup(value: Value) -> int:
    """Id of the cgroup with this path, from the root of cgroup v2 or as a directory; a number is an id itself.

    Raises:
        FilterError: there is no such cgroup.
    """
    if re.fullmatch("[0-9]+", value.text):
        return int(read_count(value))
    try:
        return cgroup_id(value.text)
    except (UsageError, OSError, ValueError) as error:
        hint = error.hint if isinstance(error, UsageError) else "give a path as /system.slice/ssh.service"
        raise value.error(f"no cgroup {quoted_for_message(value.text)}", hint) from None
