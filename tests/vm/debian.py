"""Packages of other Debian releases, fetched with an apt state of our own: signed; the host's stays as it is."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ELSEWHERE = "https://deb.debian.org/debian"
_FRESH_S = 24 * 3600
_MAX_LINE = 200

_CONFIGURATION = """
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "{folder}/none";
Dir::Etc::preferences "{folder}/none";
Dir::Etc::preferencesparts "{folder}/none";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache::archives "{folder}/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Architecture "amd64";
APT::Default-Release "";
APT::Sandbox::User "root";
Acquire::Languages "none";
"""


class MissingError(Exception):
    """Something that the tests of other kernels need is not there; the message is one line."""


def _mirror() -> str:
    """Where this host gets its own Debian packages from; on other systems Debian's own address."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return next((uri.rstrip("/") for uri in sorted(told) if re.search(r"/debian/?$", uri)), _ELSEWHERE)


def _source(mirror: str, suite: str) -> str:
    uri = f"{mirror}-security" if suite.endswith("-security") else mirror
    return f"deb [signed-by={KEYRING}] {uri} {suite} main\n"


class Apt:
    """Debian's packages as these suites have them.

    Args:
        folder: for lists and configuration; used again the next time.
        suites: releases, e.g. ``trixie-backports``.

    Raises:
        MissingError: no keys to check signatures with.
    """

    def __init__(self, folder: Path, suites: Iterable[str]) -> None:
        if not KEYRING.exists():
            raise MissingError(f"{KEYRING} is missing: apt install debian-archive-keyring")
        for name in ("lists/partial", "archives/partial", "none"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        mirror = _mirror()
        (folder / "sources.list").write_text("".join(_source(mirror, suite) for suite in suites))
        (folder / "apt.conf").write_text(_CONFIGURATION.format(folder=folder))
        self._folder = folder

    def _run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)

    def update(self) -> None:
        """Fetch the lists, once a day.

        Raises:
            MissingError: none came. Those of one suite may fail: a mirror need not have all.
        """
        stamp = self._folder / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < _FRESH_S:
            return
        done = self._run("apt-get", "-qq", "update")
        if not any(self._folder.glob("lists/*Packages*")):
            raise MissingError(f"no package lists: {_last(done.stderr)}")
        stamp.touch()

    def names(self, pattern: str) -> list[str]:
        """Packages whose names match a regular expression."""
        told = self._run("apt-cache", "search", "--names-only", pattern).stdout
        return [line.partition(" ")[0] for line in told.splitlines()]

    def needs(self, package: str) -> Iterator[str]:
        """Names that the newest version of ``package`` depends on."""
        told = self._run("apt-cache", "show", "--no-all-versions", package).stdout
        for name in re.findall(r"^Depends: (.*)$", told, re.MULTILINE):
            yield from re.findall(r"(?:^|[,|] )([^ ,]+)", name)

    def download(self, packages: list[str], into: Path) -> list[Path]:
        """Their files; apt has compared each with the signed list.

        Raises:
            MissingError: apt's last word.
        """
        into.mkdir(parents=True, exist_ok=True)
        done = self._run("apt-get", "-qq", "download", *packages, cwd=into)
        if done.returncode:
            raise MissingError(f"cannot fetch {' '.join(packages)}: {_last(done.stderr)}")
        return sorted(into.glob("*.deb"))


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    # an address may hold a password
    return re.sub(r"//[^/ ]*@", "//", lines[-1])[:_MAX_LINE] if lines else "apt said nothing"
