"""What hands type without a manual: -V, help, trace alone, /dev/null, --config and --theme behind a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tcptop_tui import __version__
from tcptop_tui.cli.entry import main
from tcptop_tui.records import State
from tcptop_tui.stream.batches import Status, Table
from tests.support.command_line import run_program
from tests.support.recordings import write_recording
from tests.support.samples import NOW, UTC, connections


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A connection, as a recording."""
    table = Table(connections({"lport": 443, "state": State.ESTABLISHED}), NOW, UTC)
    return write_recording(tmp_path / "one.tcptop", Status("bpf"), table)


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    assert capsys.readouterr().out == f"tcptop-tui {__version__}\n"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["help"], ["--help"]),
        (["help", "snapshot"], ["snapshot", "-h"]),
        (["help", "trace", "life"], ["trace", "life", "-h"]),
    ],
    ids=["program", "command", "stream"],
)
def test_help_is_a_command_as_well(words: list[str], options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    by_command = capsys.readouterr().out
    assert main(options) == 0
    assert by_command == capsys.readouterr().out
    assert by_command.startswith("Usage: tcptop-tui")


@pytest.mark.parametrize("words", [["help", "nonsense"], ["help", "snapshot", "life"], ["help", "trace", "nonsense"]])
def test_help_for_no_command_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words[-1] in told.err
    assert told.err.count("\n") == 1


def test_trace_needs_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert all(name in told.err for name in ("connect", "life", "ping", "rtt", "states"))


def test_a_snapshot_into_nothing(recording: Path) -> None:
    assert run_program("snapshot", "--replay", str(recording), "-o", "/dev/null").returncode == 0
    refused = run_program("snapshot", "--replay", str(recording), "-o", "/dev/zero")
    assert refused.returncode == 1
    assert "not a plain file" in refused.stderr
    assert Path("/dev/null").is_char_device()


def test_a_snapshot_has_the_theme_that_is_named(recording: Path, tmp_path: Path) -> None:
    pictures = set()
    for theme in ("tcptop-dark", "tcptop-light"):
        target = tmp_path / f"{theme}.svg"
        assert run_program("snapshot", "--replay", str(recording), "--theme", theme, "-o", str(target)).returncode == 0
        pictures.add(target.read_text())
    assert len(pictures) == 2


def test_a_theme_means_nothing_without_colours(recording: Path) -> None:
    refused = run_program("snapshot", "--replay", str(recording), "--theme", "tcptop-dark", "--format", "json")
    assert refused.returncode == 2
    assert "--theme" in refused.stderr


def test_the_config_file_may_be_named_after_the_command(recording: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[filters]\nweb = "port:443"\n')
    filters = []
    for words in (["--config", str(config), "snapshot"], ["snapshot", "--config", str(config)]):
        shown = run_program(*words, "--replay", str(recording), "--filter", "@web")
        filters.append(json.loads(shown.stdout)["meta"]["filter"])
    assert filters[0] == filters[1]
    assert "443" in filters[0]
