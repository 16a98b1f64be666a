"""The options that the dashboard, ``snapshot`` and streams share: each is declared here once, with one help text.

``option_rules.py`` refuses those that have no effect in a command or beside another option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
import msgspec

from tcptop_tui.config.file import ConfigFile, default_path
from tcptop_tui.config.schema import Config
from tcptop_tui.errors import UsageError
from tcptop_tui.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
Option: TypeAlias = Callable[[Any], Any]
"""A decorator that adds one option to a command."""

_POLL_S = 0.1
"""Between two readings of the rings; a shorter refresh period shortens it."""

IPV4 = click.option("-4", "--ipv4", is_flag=True, help="Capture IPv4 only.")
IPV6 = click.option("-6", "--ipv6", is_flag=True, help="Capture IPv6 only.")
FILTER = click.option(
    "-f", "--filter", "filter_text", default="", metavar="EXPR",
    help="Show only what matches, e.g. 'comm:nginx !port:22 rtt>10ms' (F1 in the dashboard explains the language).",
)  # fmt: skip
BACKEND = click.option(
    "--backend", type=click.Choice(["auto", "bpf", "diag"]), default="auto", show_default=True,
    help="auto: BPF, or sock_diag where BPF is not possible.",
)  # fmt: skip
RING_MB = click.option(
    "--ring-mb", type=click.Choice(["1", "2", "4", "8", "16", "32", "64", "128"]), default="16", show_default=True,
    help="Room for transitions between kernel and program.",
)  # fmt: skip
MAX_CONNECTIONS = click.option(
    "--max-connections", type=click.IntRange(16, 4_000_000), default=None, metavar="N",
    help="Connections that the kernel side may follow; without it as many as fit this host.",
)  # fmt: skip
REPLAY = click.option(
    "--replay", default=None, metavar="FILE", help="Play a recording instead of looking at this host."
)
CONFIG_FILE = click.option(
    "--config",
    "config_file",
    default=None,
    metavar="FILE",
    help=f"Settings, as F2 saves them; default {default_path()}.",
)
THEME = click.option(
    "--theme", default=None, metavar="NAME",
    help="tcptop-dark, tcptop-light, tcptop-colorblind, tcptop-16, or one of Textual's.",
)  # fmt: skip
DEBUG = click.option("--debug", is_flag=True, help="Show tracebacks.")


def pid_option(*short_names: str) -> Option:
    """``--pid``; where ``-p`` means something else there is no short name."""
    return click.option(
        *short_names, "--pid", multiple=True, type=click.IntRange(1, 2**22),
        help="Capture only this process; may be repeated.",
    )  # fmt: skip


def port_option(*names: str, side: str) -> Option:
    """A list of ports; ``side`` is local or remote. bcc's tools and the dashboard have different names for it."""
    return click.option(
        *names, default="", metavar="PORTS", help=f"Capture only these {side} ports, as in 80,8000-8010."
    )


def with_options(*options: Option) -> Callable[[F], F]:
    """A decorator that adds ``options``, which ``--help`` lists in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):  # as decorators do: click lists the one that is applied last first
            command = option(command)
        return command

    return decorate


def config_file_of(path: str | None, group_config_file: ConfigFile | None = None) -> ConfigFile:
    """The file that ``--config`` names after a command, else the one that it names before, else the platform's."""
    if path is not None:
        return ConfigFile(Path(path), is_explicit=True)
    return group_config_file or ConfigFile(default_path(), is_explicit=False)


def with_theme(config: Config, theme: str | None) -> Config:
    """``config`` with the theme that ``--theme`` names."""
    return msgspec.structs.replace(config, theme=theme) if theme else config


def ip_version(values: Mapping[str, Any]) -> int:
    """What ``-4`` and ``-6`` choose: 4, 6, or 0 for both.

    Args:
        values: of a command's options, by parameter name.

    Raises:
        UsageError: both are given.
    """
    if values["ipv4"] and values["ipv6"]:
        raise UsageError("-4 and -6 exclude each other", hint="leave both out to see both")
    return 4 if values["ipv4"] else 6 if values["ipv6"] else 0


def kernel_settings(values: Mapping[str, Any], refresh_s: float) -> Settings:
    """Periods, and the sizes of what the kernel side has, as ``--ring-mb`` and ``--max-connections`` say.

    Args:
        values: of a command's options, by parameter name.
        refresh_s: between two tables.
    """
    ring_bytes = int(values["ring_mb"]) * 2**20
    return Settings(
        refresh_s=refresh_s,
        poll_s=min(_POLL_S, refresh_s),
        max_connections=values["max_connections"] or 0,
        ring_bytes=ring_bytes,
        session_ring_bytes=ring_bytes // 2,
    )
