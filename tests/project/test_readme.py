"""The README is true: its options exist, its filters parse, its pictures are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tcptop_tui.cli.entry import command_line
from tcptop_tui.filters import parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def commands() -> list[list[str]]:
    """Arguments of every tcptop-tui command that it shows."""
    lines = re.findall(r"^\$ (.*?)(?:  +#.*)?$", README, re.MULTILINE)
    return [shlex.split(line.partition("tcptop-tui")[2]) for line in lines if "bin/tcptop-tui" in line]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_commands_parse(arguments: list[str]) -> None:
    context = click.Context(command_line)
    rest = command_line.parse_args(context, list(arguments))
    command = command_line.get_command(context, arguments[0]) if arguments else None
    if command is not None:
        command.parse_args(click.Context(command), list(arguments[1:]))
    else:
        assert not rest


def test_filters_parse() -> None:
    section = README.partition("## Filter")[2].partition("## ")[0]
    examples = [example for example in re.findall(r"`([^`]+)`", section) if example not in {"!", "--filter"}]
    assert len(examples) > 10
    for example in examples:
        if "www-data" not in example:  # not a user on every host
            parse(example)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(((?!https|#)[^)]+)\)", README):
        assert (ROOT / target).exists(), target
