"""Runs the program as a user does, and finds its commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click

from tcptop_tui.cli.entry import command_line


def run_program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run tcptop-tui to its end, without a terminal and with these environment variables besides its caller's."""
    return subprocess.run(
        [sys.executable, "-m", "tcptop_tui", *arguments],
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )  # fmt: skip


def leaf_commands(group: click.Group = command_line, *path: str) -> Iterator[tuple[str, ...]]:
    """The path of every command that has no subcommands, such as ``("trace", "states")``."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from leaf_commands(command, *path, name)
        elif command is not None:
            yield (*path, name)


def command_at(path: tuple[str, ...]) -> click.Command:
    """The command that a path names; an empty path is the program itself."""
    found: click.Command = command_line
    for name in path:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name) or found
    return found
