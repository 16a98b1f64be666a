"""The examples of the streams' pages run as shown, links lead somewhere, and the decisions' index is complete."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tcptop_tui.trace.commands import trace

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("trace*.md"))
DECISIONS = sorted(set((DOCS / "decisions").glob("*.md")) - {DOCS / "decisions" / "README.md"})
LINKING = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


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


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_index_has_every_decision_once() -> None:
    decisions = {}
    for page in DECISIONS:
        for number, title in re.findall(r"^## (\d+)\. (.*)$", page.read_text(), re.MULTILINE):
            assert number not in decisions, f"{number} stands twice"
            decisions[number] = (title, page.name)
    index = (DOCS / "decisions" / "README.md").read_text()
    listed = re.findall(r"^\| (\d+) \| \[(.*)\]\(([\w-]+\.md)#.*\) \|$", index, re.MULTILINE)
    assert {number: (title, name) for number, title, name in listed} == decisions
    assert sorted(map(int, decisions)) == list(range(1, len(decisions) + 1))


@pytest.mark.parametrize("page", ["glossary.md", "architecture.md"])
def test_modules_that_a_page_names_exist(page: str) -> None:
    for name in re.findall(r"`((?:\w+/)*\w+\.(?:py|c))`", (DOCS / page).read_text()):
        found = [ROOT / "tcptop_tui" / name, ROOT / name, ROOT / "tcptop_tui" / "bpf" / name]
        assert any(path.exists() for path in found) or list((ROOT / "tcptop_tui").rglob(name)), name


@pytest.mark.parametrize("stream", ["states", "life", "connect", "rtt", "ping"])
def test_every_option_is_on_a_page(stream: str) -> None:
    text = (DOCS / "trace.md").read_text() + (DOCS / f"trace-{stream}.md").read_text()
    for option in trace.commands[stream].params:
        if getattr(option, "hidden", False) or option.name in {"debug", "ring_mb", "max_connections"}:
            continue
        assert any(f"`{name}" in text or f", {name}" in text for name in option.opts), option.opts
