"""Tells which container a process is in by the path of its cgroup, which each runtime names in its own way."""

from __future__ import annotations

import re
from pathlib import Path

_ID_DIGITS = 12
"""Of a container's 64, as ``docker ps`` shortens them."""

_ID = r"(?P<id>[0-9a-f]{12,64})"
_NAME = r"(?P<name>[^/]+?)"
_PATTERNS = tuple(
    (runtime, re.compile(f"/{pattern}(?=/|$)"))
    for runtime, pattern in (
        ("docker", rf"docker-{_ID}\.scope"),
        ("docker", rf"docker/{_ID}"),
        ("cri", rf"cri-containerd-{_ID}\.scope"),
        ("cri", rf"[^/]*:cri-containerd:{_ID}"),
        ("cri", rf"kubepods[^/]*(?:/[^/]+)*?/pod[^/]+/{_ID}"),
        ("crio", rf"crio-{_ID}(?:\.scope)?"),
        ("podman", rf"libpod-{_ID}(?:\.scope)?"),
        ("lxc", rf"lxc\.payload[./]{_NAME}"),
        ("lxc", rf"lxc/{_NAME}"),
        ("nspawn", rf"machine-{_NAME}\.scope"),
        ("nspawn", rf"systemd-nspawn@{_NAME}\.service"),
    )
)
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def container_name(cgroup: str) -> str:
    """``docker:0123456789ab`` or ``lxc:web``; empty if the path is of no container.

    For a container inside a container the inner one counts.

    Args:
        cgroup: path from the hierarchy's root, as /proc/PID/cgroup has it.
    """
    found = [(match.end(), runtime, match) for runtime, pattern in _PATTERNS for match in pattern.finditer(cgroup)]
    if not found:
        return ""
    _, runtime, match = max(found, key=lambda one: one[0])
    parts = match.groupdict()
    return f"{runtime}:{parts['id'][:_ID_DIGITS] if 'id' in parts else _unescaped(parts['name'])}"


def _unescaped(name: str) -> str:
    """``name`` without systemd's escapes for characters that a unit's name cannot have (systemd-escape(1))."""
    return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), name)


def container_of_pid(pid: int) -> str:
    """Name of the container that a process is in, by /proc/PID/cgroup; empty where there is none.

    The line of cgroup v2 counts; on hosts with v1 its hierarchies name the container instead.
    """
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    parts = [line.split(":", 2) for line in lines]
    parts = sorted((part for part in parts if len(part) == 3), key=lambda part: part[0] != "0")
    return next(filter(None, (container_name(path) for *_, path in parts)), "")
