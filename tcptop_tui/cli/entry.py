"""The command line: ``tcptop-tui``, and its commands ``snapshot``, ``trace`` and ``doctor``."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from tcptop_tui import __version__
from tcptop_tui.config.file import ConfigFile
from tcptop_tui.config.filter_history import default_path as history_path
from tcptop_tui.config.schema import MAX_LOG_ROWS, MAX_REFRESH_S, MIN_LOG_ROWS, MIN_REFRESH_S, Config
from tcptop_tui.errors import TcptopError, UsageError
from tcptop_tui.feed import Feed
from tcptop_tui.filters import Filter, expand_saved, parse, parse_ports
from tcptop_tui.filters.capture_terms import chosen_processes
from tcptop_tui.host.caller_files import resolve_path
from tcptop_tui.host.memory import use_one_heap
from tcptop_tui.host.privileges import DASHBOARD, drop_unneeded
from tcptop_tui.options import shared_options as shared
from tcptop_tui.options.option_rules import CheckedCommand, Seconds, inherit_options, refuse_empty, refuse_meaningless
from tcptop_tui.replay.recording import check_recording
from tcptop_tui.safe_text import clean
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture

_PROGRAM = "tcptop-tui"

_WRITE_FAILED = {errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EAGAIN, errno.EPIPE}
"""What write(2) says where standard output is closed, full, or a terminal that is gone."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the options say, checked."""

    settings: Settings
    feed: Feed
    filter: Filter
    ascii_only: bool
    """Draw the dashboard without characters outside of ASCII, whatever the locale says."""


_WITHOUT_STREAMS = (
    click.option("--refresh", type=Seconds(MIN_REFRESH_S, MAX_REFRESH_S), default=None, metavar="S",
                 help=f"Seconds between two repaints; default: what F2 has saved, at first {Config().refresh_s}."),
    click.option("--log-size", type=click.IntRange(MIN_LOG_ROWS, MAX_LOG_ROWS), default=None, metavar="N",
                 help=f"Transitions that the log keeps; default: what F2 has saved, at first {Config().log_rows:,}."),
    click.option("--record", default=None, metavar="FILE", help="Record everything in this file, for --replay."),
)  # fmt: skip
"""Options of the dashboard and of ``snapshot`` that streams do not have."""

_with_shared_options = shared.with_options(
    shared.FILTER,
    shared.port_option("-L", "--lport", side="local"),
    shared.port_option("-D", "--rport", side="remote"),
    shared.pid_option("-p"),
    shared.IPV4,
    shared.IPV6,
    *_WITHOUT_STREAMS,
    shared.REPLAY,
    shared.BACKEND,
    shared.RING_MB,
    shared.MAX_CONNECTIONS,
    shared.DEBUG,
)
"""The options of the dashboard and of ``snapshot``."""


def _options(config: Config, **values: Any) -> Options:
    """Check what the types of the options cannot; what is not given is as ``config`` says.

    Raises:
        UsageError: a filter or port list that does not parse, options that contradict each other.
    """
    ip = shared.ip_version(values)
    if values["record"] and values["replay"] and Path(values["record"]).absolute() == Path(values["replay"]).absolute():
        raise UsageError("--record and --replay name the same file", hint="record to another one")
    settings = replace(
        shared.kernel_settings(values, values["refresh"] or config.refresh_s),
        log_rows=values["log_size"] or config.log_rows,
        linger_s=config.linger_s,
        readonly=values.get("readonly", False),
    )
    capture = Capture(
        lports=parse_ports(values["lport"]),
        rports=parse_ports(values["rport"]),
        pids=chosen_processes(values["pid"]),
        ip=ip,
    )
    feed = Feed(values["backend"], settings, capture, check_recording(values["replay"]), _output_path(values["record"]))
    chosen = parse(expand_saved(values["filter_text"], config.filters))
    return Options(settings, feed, chosen, ascii_only=values.get("ascii_only", False))


def _output_path(path: str | None) -> Path | None:
    return None if path is None else resolve_path(path)


class _Commands(click.Group):
    """With ``trace``, which the dashboard does not need."""

    command_class = CheckedCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "trace"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "trace":
            return super().get_command(ctx, cmd_name)
        from tcptop_tui.trace.commands import trace  # noqa: PLC0415  20 ms

        return trace


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name=_PROGRAM, message="%(prog)s %(version)s")
@_with_shared_options
@shared.CONFIG_FILE
@shared.THEME
@click.option(
    "--ascii", "ascii_only", is_flag=True, help="Draw with ASCII only; so it does where the locale is not UTF-8."
)
@click.option("--readonly", is_flag=True, help="No key closes a connection.")
@click.pass_context
def command_line(context: click.Context, /, **values: Any) -> None:
    """A live dashboard of every TCP connection of this host: htop for TCP.

    Without a command it opens the dashboard. Inside: F1 help, / filter, F6 sort, e export, q quit.
    """
    refuse_empty(context)
    config_file = context.obj = shared.config_file_of(values["config_file"])
    if context.invoked_subcommand is not None:
        inherit_options(context)
    else:
        refuse_meaningless(context)
        config, note = config_file.load()
        config = shared.with_theme(config, values["theme"])
        _dashboard(_options(config, **values), config, config_file.save_path, note)


@command_line.command()
@click.option("--after", type=Seconds(0.1, 86_400), default=1.0, show_default=True, metavar="S",
              help="Look for this many seconds first.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(["json", "csv", "txt", "svg"]), default=None,
              help="Default: what the file's name ends with, else json.")  # fmt: skip
@click.option("-o", "--output", default="-", show_default=True, metavar="FILE", help="- is standard output.")
@_with_shared_options
@shared.CONFIG_FILE
@shared.THEME
@click.pass_obj
def snapshot(group_config_file: ConfigFile, /, after: float, kind: str | None, output: str, **values: Any) -> None:
    """Write what the dashboard would show, without a screen."""
    from tcptop_tui.cli.headless import take_snapshot  # noqa: PLC0415  numpy and Textual: not for --help
    from tcptop_tui.export.writers import format_of  # noqa: PLC0415  as below

    output_format = kind or format_of(output)
    if values["log_size"] and output_format == "csv":
        raise UsageError("--log-size has no effect in CSV: it has no transitions", hint="leave it out, or write JSON")
    if values["theme"] and output_format != "svg":
        raise UsageError("--theme has an effect in SVG only", hint="leave it out, or write SVG")
    config_file = shared.config_file_of(values["config_file"], group_config_file)
    config, note = config_file.load()
    config = shared.with_theme(config, values["theme"])
    options = _options(config, **values)
    if config_file.startup_note(note):
        _print_line(note, 0)
    take_snapshot(options.feed, options.settings, options.filter, after, kind, output, config)


@command_line.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def show_help(context: click.Context, /, words: tuple[str, ...]) -> None:
    """Say what a command does, as its --help."""
    parent = context.parent or context
    for word in words:
        group = parent.command
        command = group.get_command(parent, word) if isinstance(group, click.Group) else None
        if command is None:
            raise UsageError(f"there is no command {' '.join(words)!r}", hint="tcptop-tui help lists them")
        parent = click.Context(command, info_name=word, parent=parent)
    click.echo(parent.get_help())


@command_line.command()
@shared.CONFIG_FILE
@click.pass_obj
def doctor(group_config_file: ConfigFile, /, config_file: str | None) -> None:
    """Say what this host has, what is missing, and the command that mends it."""
    from tcptop_tui.cli.doctor import report, run_checks  # noqa: PLC0415

    drop_unneeded(DASHBOARD)  # what it finds is then found with what the dashboard has
    findings = run_checks(shared.config_file_of(config_file, group_config_file))
    report(findings)
    if not all(finding.is_ok for finding in findings if finding.is_required):
        raise click.exceptions.Exit(1)


def _dashboard(options: Options, config: Config, path: Path | None, note: str) -> None:
    from tcptop_tui.drawing.borrowed_terminal import wait_for_foreground  # noqa: PLC0415
    from tcptop_tui.host.terminal import capture_stderr, configure_textual, print_startup_line, require_screen  # noqa: PLC0415

    require_screen()
    wait_for_foreground(sys.stdin.fileno())
    use_one_heap()
    closes = options.feed.privileges_needed.looks and not options.settings.readonly
    drop_unneeded(replace(options.feed.privileges_needed, closes=closes, writes=True))
    uname = os.uname()
    configure_textual()
    with capture_stderr():
        with print_startup_line(f"{_PROGRAM} {uname.nodename}  Linux {uname.release}  starting"):
            options.feed.prepare()
            from tcptop_tui.dashboard.app import TcptopApp  # noqa: PLC0415
            from tcptop_tui.dashboard.terminal_session import run_on_terminal  # noqa: PLC0415

            app = TcptopApp(options.feed, options.settings, uname.nodename, uname.release, options.filter, config)
        app.ascii_only = options.ascii_only
        app.config_path, app.config_note, app.history_path = path, note, history_path()
        gc.freeze()  # what is there now stays: to look through all of it each time stopped the keys for 25 ms
        code = run_on_terminal(app)
    if code:
        raise click.exceptions.Exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 (failed), 2 (usage)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = int(command_line.main(given, prog_name=_PROGRAM, standalone_mode=False) or 0)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:  # noqa: BLE001  it becomes one line
        return _print_error(error, given)
    return code


def _print_error(error: Exception, given: Sequence[str]) -> int:
    """Say what happened in a line; returns the exit code."""
    if isinstance(error, click.ClickException):
        return _print_line(error.format_message(), error.exit_code)
    if isinstance(error, TcptopError):
        return _print_line(str(error), error.exit_code)
    if isinstance(error, OSError) and error.filename is None and error.errno in _WRITE_FAILED:
        # what waits in buffers goes nowhere, instead of failing once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        closed = isinstance(error, BrokenPipeError)
        return 0 if closed else _print_line(f"cannot write to standard output: {error.strerror}", 1)
    if "--debug" in given:
        raise error
    return _print_line(f"unexpected {type(error).__name__}: {error}; --debug shows where", 1)


def _print_line(message: str, code: int) -> int:
    """One line on stderr, with nothing in it that the terminal would obey."""
    sys.stderr.write(f"{_PROGRAM}: {clean(' '.join(message.split()))}\n")
    return code
