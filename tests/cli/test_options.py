"""Every option of every command does something, or is refused; also before the command.

All pairs of options are tried in ``tests/cli/test_option_pairs.py``.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import tcptop_tui.cli.entry as entry  # noqa: PLR0402
import tcptop_tui.cli.headless as headless  # noqa: PLR0402
from tcptop_tui.cli.entry import command_line
from tcptop_tui.options import option_rules, shared_options
from tcptop_tui.stream.batches import Status, Table, Transitions
from tcptop_tui.trace import commands, options
from tests.support.command_line import command_at, leaf_commands, run_program
from tests.support.recordings import write_recording
from tests.support.samples import NOW, SECOND, UTC, connections, transitions


def written(param: click.Parameter) -> tuple[list[str], Any]:
    """It as a user writes it, with a value that is not the default; and what the program gets."""
    name = max(param.opts, key=len)
    if getattr(param, "is_flag", False):
        return [name], True
    value: Any
    if isinstance(param.type, click.Choice):
        value = next(choice for choice in param.type.choices if choice != param.default)
    elif isinstance(param.type, click.IntRange):
        value = (param.type.min or 0) + 7
    else:
        value = 3.0 if isinstance(param.type, click.FloatRange) else "80"
    return [name, str(value)], (value,) if param.multiple else value


OWN = [param for param in command_line.params if param.name not in {"version", "help"}]


@pytest.mark.parametrize("path", list(leaf_commands()), ids=" ".join)
@pytest.mark.parametrize("param", OWN, ids=lambda param: str(param.name))
def test_an_option_before_a_command_counts_or_is_refused(
    path: tuple[str, ...], param: click.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: dict[str, Any] = {}

    def note() -> None:
        context = click.get_current_context()
        got.update(context.params, config_file=str(context.obj.path), debug=True)

    monkeypatch.setattr(command_at(path), "callback", lambda *_, **__: note())
    arguments, value = written(param)
    code = entry.main([*arguments, *path])
    assert (code, got.get(str(param.name))) == (0, value) or (code == 2 and not got)
    if param.name in {one.name for one in command_at(path).params} and path == ("snapshot",):
        assert code == 0


def test_what_the_command_itself_has_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    got: dict[str, Any] = {}
    monkeypatch.setattr(command_at(("snapshot",)), "callback", lambda *_, **given: got.update(given))
    assert entry.main(["--filter", "1", "-p", "5", "snapshot", "--filter", "2"]) == 0
    assert (got["filter_text"], got["pid"]) == ("2", (5,))


# -- in the code -------------------------------------------------------------------------------


def used(*modules: ModuleType) -> set[str]:
    """Names that are read: from a dictionary of options, or as an argument."""
    found = set()
    for module in modules:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                found.add(node.slice.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                found.update(name.value for name in node.args if isinstance(name, ast.Constant))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found.add(node.id)
    return found


def test_every_option_is_read() -> None:
    read = used(entry, headless, commands, options, shared_options)
    params = {param.name for path in [(), *leaf_commands()] for param in command_at(path).params}
    # main() looks for the first among the arguments; click sees to the second
    assert params - read == {"debug", "version"}


def test_rules_are_about_options_that_there_are() -> None:
    for rule in option_rules.RULES:
        own = [{param.name for param in command_at(path).params} for path in [(), *leaf_commands()]]
        assert any({rule.conflicts_with, *rule.ignored} - {""} <= names for names in own) or len(rule.ignored) > 1
        assert set(rule.ignored) <= set().union(*own)


# -- beside others -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "-4 -6", "-4 snapshot -6", "snapshot -4 -6", "trace states -4 -6", "trace life --csv --json",
        "--theme x snapshot", "--ascii trace states", "--readonly doctor", "--record x trace life",
        "--lport 1 trace connect", "-p 1 doctor", "-p 1 trace", "--replay x --backend diag", "--replay x --ring-mb 1",
        "--replay x snapshot --refresh 1", "snapshot --replay x --max-connections 99", "--record x --replay ./x",
        "trace states --replay x --context", "trace states --replay x --mntnsmap y", "trace connect --replay x -d",
        "--backend diag --ring-mb 1", "snapshot --backend diag --max-connections 99",
        "trace states --backend diag --context", "trace connect -c -L", "trace connect -c --count 3",
        "trace connect -c -d", "trace rtt -t", "trace rtt --duration 1 -d 2",
        "trace rtt -b -B", "trace ping --ring-mb 1", "trace ping --replay x", "--refresh nan", "snapshot --after nan",
        "trace states --duration inf", "trace rtt -w", "trace life --json -w", "trace states --json -t",
        "trace rtt --count 3", "trace rtt --count 3 -b", "trace rtt --json -e -i 1", "trace connect --json -L",
        "trace connect --json -U", "trace states --ebpf -p 1", "snapshot --log-size 200 -o x.csv",
        "snapshot --log-size 200 --format csv",
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_in_a_line(arguments: str) -> None:
    told = run_program(*arguments.split())
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.startswith("tcptop-tui: ")
    assert told.stderr.count("\n") == 1
    assert "cannot read" not in told.stderr
    assert "needs a terminal" not in told.stderr


def texts() -> Iterator[tuple[tuple[str, ...], str]]:
    """Options of every command that take any text; an empty filter matches everything."""
    for path in [(), *leaf_commands()]:
        for param in command_at(path).params:
            if isinstance(param, click.Option) and param.type is click.STRING and param.name != "filter_text":
                yield path, max(param.opts, key=len)


@pytest.mark.parametrize(("path", "name"), texts(), ids=str)
def test_an_empty_value_is_not_taken_for_none(
    path: tuple[str, ...], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a variable that is not set: ``--cgroupmap "$PIN"`` showed everything."""
    assert entry.main([*path, name, ""]) == 2
    assert capsys.readouterr().err == f"tcptop-tui: {name} is empty: give it a value, or leave it out\n"


# -- with a recording --------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """Two connections and a transition of each; one is IPv6."""
    facts = (
        {"lport": 22, "rport": 7001, "pid": 10, "laddr": "127.0.0.1", "raddr": "127.0.0.1"},
        {"lport": 443, "rport": 7002, "pid": 20, "laddr": "::1", "raddr": "::1"},
    )
    path = write_recording(
        tmp_path / "r.tcptop",
        Status("bpf"),
        Transitions(transitions(*facts)),
        Table(connections(*facts), NOW, UTC),
        Table(connections(*facts), NOW + SECOND // 5, UTC + SECOND // 5),
    )
    return str(path)


CHOICES = [
    ("--filter comm:nginx !lport:443", 22), ("-L 22", 22), ("-L 20-30,9", 22), ("-D 7002", 443),
    ("-4", 22), ("-6", 443), ("-p 10", 22), ("--lport 443", 443),
]  # fmt: skip


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize(("choice", "lport"), CHOICES, ids=str)
def test_a_snapshot_of_a_recording(recording: str, place: str, choice: str, lport: int) -> None:
    words = ["--filter", choice.partition(" ")[2]] if choice.startswith("--filter") else choice.split()
    words[-1] = words[-1].replace("comm:nginx ", "")
    given = [*words, "--replay", recording]
    command = ["snapshot", "--after", "0.1"]
    told = run_program(*given, *command) if place == "before" else run_program(*command, *given)
    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["meta"]["backend"] == "replay"
    assert [row["lport"] for row in document["connections"]] == [lport]


@pytest.mark.parametrize(("choice", "lport"), [one for one in CHOICES if "filter" not in one[0]], ids=str)
def test_a_stream_of_a_recording(recording: str, choice: str, lport: int) -> None:
    choice = choice.replace("--lport", "--localport")
    told = run_program("trace", "states", "--json", "--replay", recording, *choice.split())
    assert told.returncode == 0, told.stderr
    assert [json.loads(line)["lport"] for line in told.stdout.splitlines()] == [lport]


@pytest.mark.parametrize("command", ["trace states --json", "snapshot --after 0.1"])
def test_as_many_processes_as_the_kernel_side_takes(recording: str, command: str) -> None:
    wanted = [word for pid in range(10, 10 + 1024) if pid != 20 for word in ("-p", str(pid))]
    told = run_program(*command.split(), "--replay", recording, *wanted, "-p", "10", "-p", "5000")
    assert told.returncode == 0, told.stderr
    assert set(re.findall(r'"lport": ?(\d+)', told.stdout)) == {"22"}
    told = run_program(*command.split(), "--replay", recording, *wanted, "-p", "5000", "-p", "5001")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("tcptop-tui: 1,025 processes are more than the 1,024 that -p takes: ")
    assert told.stderr.count("\n") == 1


# -- with settings -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["snapshot --after 0.1", "trace states --duration 0.2 --json"])
def test_settings_that_are_named_count_in_every_command(tmp_path: Path, recording: str, command: str) -> None:
    place = tmp_path / "mine.toml"
    place.write_text("refresh_s = 'fast'\n[filters]\nssh = 'lport:22'\n")
    given = ["--config", str(place), *command.split(), "--replay", recording, "--filter", "@ssh"]
    told = run_program(*given)
    assert told.returncode == 0, told.stderr
    why = "refresh_s: expected `float`, got `str`; the default is used"
    assert told.stderr.splitlines()[0] == f"tcptop-tui: {why} ({place})"
    lports = [int(number) for number in re.findall(r'"lport": ?(\d+)', told.stdout)]
    assert set(lports) == {22}
    place.unlink()
    assert "did you mean" not in run_program(*given).stderr
    told = run_program("--config", str(place), *command.split(), "--replay", recording)
    assert told.returncode == 0
    assert told.stderr.startswith(f"tcptop-tui: {place} does not exist")
    assert (
        run_program("--config", os.devnull, *command.split(), "--replay", recording).stderr.count("tcptop-tui: /dev")
        == 0
    )
