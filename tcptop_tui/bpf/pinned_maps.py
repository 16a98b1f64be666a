"""Maps that somebody else has pinned, as ``--cgroupmap`` and ``--mntnsmap`` of bcc's tools: opened and looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tcptop_tui.bpf.load import syscalls
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host.capabilities import Cap, raise_capabilities
from tcptop_tui.stream.batches import Capture

_HASHES = {1: "hash", 9: "LRU hash"}
"""enum bpf_map_type, include/uapi/linux/bpf.h: what has the keys that somebody put in, and nothing else."""
_PINNED_MAPS = {
    2: "array",
    5: "per-CPU hash",
    6: "per-CPU array",
    10: "per-CPU LRU hash",
    11: "LPM trie",
    13: "hash of maps",
}
_KEY_BYTES = 8

_HINT = "bpftool map create PATH type hash key 8 value {} entries 1024 name {}"


def pinned_paths(capture: Capture) -> dict[str, str]:
    """Of each map of the kernel program that is somebody else's, where it is pinned."""
    given = {"pinned_cgroups": capture.cgroup_map_path, "pinned_mntns": capture.mntns_map_path}
    return {name: path for name, path in given.items() if path}


@contextmanager
def open_pinned_maps(capture: Capture) -> Iterator[dict[str, int]]:
    """Descriptors by name of the map, while this is open.

    Raises:
        BackendUnavailable: nothing is pinned there, or it is another kind of map: a lookup in it would find everything,
            or nothing.
    """
    descriptors: dict[str, int] = {}
    try:
        for name, path in pinned_paths(capture).items():
            descriptors[name] = _opened(name, path)
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _opened(name: str, path: str) -> int:
    try:
        with raise_capabilities(Cap.BPF):  # before 5.19 the kernel asks for it
            descriptor = syscalls.open_pinned_map(os.path.abspath(path))  # noqa: PTH100  links are the kernel's to follow
    except FileNotFoundError:
        raise BackendUnavailable(
            f"no pinned map {path}", hint="pin one with bpftool map pin, below /sys/fs/bpf"
        ) from None
    except OSError as error:
        raise BackendUnavailable(
            f"{path} cannot be opened as a pinned map ({error.strerror})", hint=_hint(name)
        ) from error
    try:
        _check(name, path, syscalls.map_shape(descriptor))
    except (OSError, BackendUnavailable) as error:
        os.close(descriptor)
        if isinstance(error, BackendUnavailable):
            raise
        raise BackendUnavailable(f"{path} is no map ({error.strerror})", hint=_hint(name)) from error
    return descriptor


def _check(name: str, path: str, shape: syscalls.MapShape) -> None:
    if shape.type not in _HASHES:
        kind = _PINNED_MAPS.get(shape.type, f"map of type {shape.type}")
        raise BackendUnavailable(f"the map pinned at {path} is no hash: {kind}", hint=_hint(name))
    if shape.key_size != _KEY_BYTES:
        raise BackendUnavailable(
            f"the map pinned at {path} has keys of {shape.key_size} bytes, not {_KEY_BYTES}", hint=_hint(name)
        )


def _hint(name: str) -> str:
    cgroups = name == "pinned_cgroups"
    return _HINT.format(8 if cgroups else 4, "cgroupset" if cgroups else "mnt_ns_set")
