"""The command line: ``tcptop-tui``, and its commands ``snapshot``, ``trace`` and ``doctor``."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from tcptop_tui import __version__
from tcptop_tui.config.file import ConfigFile, default_path
from tcptop_tui.config.filter_history import default_path as history_path
from tcptop_tui.config.schema import MAX_LOG_ROWS, MAX_REFRESH_S, MIN_LOG_ROWS, MIN_REFRESH_S, Config
from tcptop_tui.errors import TcptopError, UsageError
from tcptop_tui.feed import Feed
from tcptop_tui.filters import Filter, expand_saved, parse, parse_ports
from tcptop_tui.filters.capture_terms import chosen_processes
from tcptop_tui.host.caller_files import resolve_path
from tcptop_tui.host.memory import use_one_heap
from tcptop_tui.host.privileges import DASHBOARD, drop_unneeded
from tcptop_tui.options.option_rules import CheckedCommand, Seconds, inherit_options, refuse_empty, refuse_meaningless
from tcptop_tui.replay.recording import opened_recording
from tcptop_tui.safe_text import clean
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture

_PROGRAM = "tcptop-tui"

_WRITE_FAILED = {errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EAGAIN, errno.EPIPE}
"""What write(2) says where standard output is closed, full, or a terminal that is gone."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Options:
    """What the options say, checked."""

    settings: Settings
    feed: Feed
    filter: Filter


def _shared(command: F) -> F:
    """The options that every way of looking has."""
    for option in (
        click.option("--backend", type=click.Choice(["auto", "bpf", "diag"]), default="auto", show_default=True,
                     help="auto: BPF, or sock_diag where BPF is not possible."),
        click.option("-f", "--filter", "filter_text", default="", metavar="EXPR",
                     help="Show what matches, e.g. 'comm:nginx !port:22 rtt>10ms' (F1 has the language)."),
        click.option("-L", "--lport", default="", metavar="PORTS", help="Capture only these local ports."),
        click.option("-D", "--rport", default="", metavar="PORTS", help="Capture only these remote ports."),
        click.option("-p", "--pid", multiple=True, type=click.IntRange(1, 2**22), help="Capture only this process."),
        click.option("-4", "--ipv4", is_flag=True, help="Capture IPv4 only."),
        click.option("-6", "--ipv6", is_flag=True, help="Capture IPv6 only."),
        click.option("--refresh", type=Seconds(MIN_REFRESH_S, MAX_REFRESH_S), default=None, metavar="S",
                     help="Seconds between two repaints; without it as in F2, at first 0.5."),
        click.option("--log-size", type=click.IntRange(MIN_LOG_ROWS, MAX_LOG_ROWS), default=None,
                     help="Transitions that the log keeps; without it as in F2, at first 10000."),
        click.option("--max-connections", type=click.IntRange(16, 4_000_000), default=None, metavar="N",
                     help="Connections that the kernel side may follow; without it as many as fit this host."),
        click.option("--ring-mb", type=click.Choice(["1", "2", "4", "8", "16", "32", "64", "128"]), default="16",
                     show_default=True, help="Room for transitions between kernel and program."),
        click.option("--record", default=None, metavar="FILE", help="Write down everything, for --replay."),
        click.option("--replay", default=None, metavar="FILE", help="Play a recording; this host is not looked at."),
        click.option("--debug", is_flag=True, help="Show tracebacks."),
    ):  # fmt: skip
        command = option(command)
    return command


def _options(config: Config, **given: Any) -> Options:
    """Check what the types of the options cannot; what is not given is as ``config`` says.

    Raises:
        UsageError: a filter or port list that does not parse, options that contradict each other.
    """
    if given["ipv4"] and given["ipv6"]:
        raise UsageError("-4 and -6 exclude each other", hint="leave both out to see both")
    if given["record"] and given["replay"] and Path(given["record"]).absolute() == Path(given["replay"]).absolute():
        raise UsageError("--record and --replay name the same file", hint="record to another one")
    refresh_s = given["refresh"] or config.refresh_s
    settings = Settings(
        refresh_s=refresh_s,
        poll_s=min(0.1, refresh_s),
        log_rows=given["log_size"] or config.log_rows,
        linger_s=config.linger_s,
        max_connections=given["max_connections"] or 0,
        ring_bytes=int(given["ring_mb"]) * 2**20,
        session_ring_bytes=int(given["ring_mb"]) * 2**19,
        readonly=given.get("readonly", False),
    )
    capture = Capture(
        lports=parse_ports(given["lport"]),
        rports=parse_ports(given["rport"]),
        pids=chosen_processes(given["pid"]),
        ip=4 if given["ipv4"] else 6 if given["ipv6"] else 0,
    )
    feed = Feed(given["backend"], settings, capture, opened_recording(given["replay"]), _output_path(given["record"]))
    return Options(settings, feed, parse(expand_saved(given["filter_text"], config.filters)))


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
@click.version_option(__version__, prog_name=_PROGRAM, message="%(prog)s %(version)s")
@_shared
@click.option("--config", "config_file", default=None, metavar="FILE",
              help=f"Settings, as F2 saves them; default {default_path()}.")  # fmt: skip
@click.option("--theme", default=None, metavar="NAME",
              help="tcptop-dark, tcptop-light, tcptop-colorblind, tcptop-16, or one of Textual's.")  # fmt: skip
@click.option("--ascii", "plain", is_flag=True, help="Draw with ASCII only; so it does where the locale is not UTF-8.")
@click.option("--readonly", is_flag=True, help="No key closes a connection.")
@click.pass_context
def command_line(context: click.Context, /, **given: Any) -> None:
    """A live dashboard of every TCP connection of this host: htop for TCP.

    Without a command it opens the dashboard. Inside: F1 help, / filter, F6 sort, e export, q quit.
    """
    refuse_empty(context)
    named = given["config_file"] is not None
    place = context.obj = ConfigFile(Path(given["config_file"]) if named else default_path(), is_explicit=named)
    if context.invoked_subcommand is not None:
        inherit_options(context)
    else:
        refuse_meaningless(context)
        if given["plain"]:
            os.environ["TCPTOP_ASCII"] = "1"
        config, note = place.load()
        if given["theme"]:
            config = msgspec.structs.replace(config, theme=given["theme"])
        _dashboard(_options(config, **given), config, place.save_path, note)


@command_line.command()
@_shared
@click.option("--after", type=Seconds(0.1, 86_400), default=1.0, show_default=True, metavar="S",
              help="Look for this many seconds first.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(["json", "csv", "txt", "svg"]), default=None,
              help="Default: what the file's name ends with, else json.")  # fmt: skip
@click.option("-o", "--output", default="-", show_default=True, metavar="FILE", help="- is standard output.")
@click.pass_obj
def snapshot(place: ConfigFile, /, after: float, kind: str | None, output: str, **given: Any) -> None:
    """Write what the dashboard would show, without a screen."""
    from tcptop_tui.cli.headless import take_snapshot  # noqa: PLC0415  numpy and Textual: not for --help
    from tcptop_tui.export.writers import format_of  # noqa: PLC0415  as below

    if given["log_size"] and (kind or format_of(output)) == "csv":
        raise UsageError("--log-size has no effect in CSV: it has no transitions", hint="leave it out, or write JSON")
    config, note = place.load()
    options = _options(config, **given)
    if place.startup_note(note):
        _print_line(note, 0)
    take_snapshot(options.feed, options.settings, options.filter, after, kind, output, config)


@command_line.command()
@click.pass_obj
def doctor(place: ConfigFile, /) -> None:
    """Say what this host has, what is missing, and the command that mends it."""
    from tcptop_tui.cli.doctor import report, run_checks  # noqa: PLC0415

    drop_unneeded(DASHBOARD)  # what it finds is then found with what the dashboard has
    findings = run_checks(place)
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
