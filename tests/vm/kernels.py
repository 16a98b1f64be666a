"""Debian's kernels: which there are, and one unpacked into the cache."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from debian import Apt

SUITES = (
    "bullseye", "bullseye-security", "bookworm", "bookworm-security", "trixie", "trixie-security",
    "trixie-backports", "sid",
)  # fmt: skip

_IMAGE = re.compile(r"linux-image-((\d+\.\d+)\.\d[\w.+~-]*)$")

# From 6.19 on the image is a package without files that depends on these.
_PARTS = ("linux-binary-", "linux-modules-")


@dataclass(frozen=True)
class Kernel:
    """One of Debian's kernels, as ``uname -r`` calls it there."""

    release: str
    series: str

    @property
    def _age(self) -> tuple[int, ...]:
        return tuple(int(number) for number in re.findall(r"\d+", self.release.rpartition("-")[0]))


@dataclass(frozen=True)
class Tree:
    """An unpacked kernel."""

    image: Path
    modules: Path
    headers: Path | None


def newest(packages: Iterable[str]) -> dict[str, Kernel]:
    """The newest kernel of each series (``6.12``), oldest series first; no cloud or real-time variants.

    Of some that have been replaced the archive keeps the image and not the modules; those are left out.
    """
    there = set(packages)
    found = [
        Kernel(match[1], match[2])
        for match in map(_IMAGE.match, there)
        if match and match[1].endswith("-amd64") and not re.search(r"-(cloud|rt)-amd64$", match[1])
        if f"linux-binary-{match[1]}" not in there or f"linux-modules-{match[1]}" in there
    ]
    return {kernel.series: kernel for kernel in sorted(found, key=lambda kernel: kernel._age)}


def _unpack(apt: Apt, packages: list[str], into: Path) -> None:
    """Whole or not at all: a folder that is there is complete."""
    if into.exists():
        return
    began = into.with_name(f"{into.name}.part")
    shutil.rmtree(began, ignore_errors=True)
    for package in apt.download(packages, began / "packages"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(began)], check=True)
    shutil.rmtree(began / "packages")
    began.rename(into)


def fetch(apt: Apt, kernel: Kernel, cache: Path, *, headers: bool) -> Tree:
    """The unpacked kernel, from the cache where it is there.

    Raises:
        MissingError: it cannot be fetched.
    """
    image = f"linux-image-{kernel.release}"
    root = cache / image
    if not root.exists():
        parts = [name for name in apt.needs(image) if name.startswith(_PARTS)]
        _unpack(apt, [image, *parts], root)
    found = None
    if headers:
        common = re.sub(r"-amd64$", "-common", kernel.release)
        found = cache / f"linux-headers-{kernel.release}"
        _unpack(apt, [f"linux-headers-{kernel.release}", f"linux-headers-{common}"], found)
    images = [*root.glob("boot/vmlinuz-*"), *root.glob("usr/lib/modules/*/vmlinuz")]
    modules = [*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*")]
    return Tree(images[0], modules[0], found)
