"""The examples of the streams' pages run, and print the header that the page shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tcptop_tui.trace.commands import trace

pytestmark = pytest.mark.apart

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("trace*.md"))


def examples() -> list[tuple[str, str, str]]:
    """Page, command, and the line that follows it."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
            lines = [*block.splitlines(), ""]
            found += [
                (page.name, line[2:], "" if after.startswith("$") else after)
                for line, after in pairwise(lines)
                if line.startswith("$ ")
            ]
    return found


def test_every_stream_has_a_page() -> None:
    assert {page.stem for page in PAGES} == {"trace", *(f"trace-{name}" for name in trace.commands)}
    assert len(examples()) > 10


@pytest.mark.usefixtures("bpf_possible")
@pytest.mark.parametrize(("page", "command", "header"), examples())
def test_example_runs(page: str, command: str, header: str) -> None:
    words = shlex.split(command.partition(">")[0])
    assert words[:2] == ["sudo", ".venv/bin/tcptop-tui"]
    done = subprocess.run(
        [sys.executable, "-m", "tcptop_tui", *words[2:], "--duration", "0.3"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if header:
        assert done.stdout.splitlines()[0].split() == header.split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(((?!https)[^)#]+)\)", page.read_text()):
        assert (DOCS / target).exists(), target


@pytest.mark.parametrize("stream", ["states", "life", "connect", "rtt", "ping"])
def test_every_option_is_on_a_page(stream: str) -> None:
    text = (DOCS / "trace.md").read_text() + (DOCS / f"trace-{stream}.md").read_text()
    for option in trace.commands[stream].params:
        if getattr(option, "hidden", False) or option.name in {"debug", "ring_mb", "max_connections"}:
            continue
        assert any(f"`{name}" in text or f", {name}" in text for name in option.opts), option.opts
