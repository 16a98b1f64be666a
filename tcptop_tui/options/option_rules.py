"""No option is accepted that has no effect: given before a command, or beside one that makes it mean nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from tcptop_tui.errors import UsageError

_FOR_ALL = frozenset({"config_file", "debug"})
"""Options before a command that count for every one."""


@dataclass(frozen=True, slots=True)
class OptionRule:
    """Options that mean nothing beside another one."""

    conflicts_with: str
    """An option, by parameter name; empty: never have they a meaning in this command."""
    ignored: tuple[str, ...]
    """Options, by parameter name; those that a command has not are no matter. Empty: all others."""
    commands: tuple[str, ...] = ()
    """Where that is so; empty: everywhere."""
    value: Any = None
    """Only where ``beside`` has this value; None: where it is given at all."""
    absent: str = ""
    """An option, by parameter name, without which they mean nothing; instead of ``beside``."""


RULES = (
    OptionRule("replay", ("backend", "max_connections", "ring_mb", "cgroupmap", "mntnsmap", "context", "dns")),
    OptionRule("replay", ("refresh",), ("snapshot",)),
    OptionRule("backend", ("max_connections", "ring_mb", "context"), value="diag"),
    OptionRule("counts", ("lport", "print_uid", "wall", "since", "wide", "count"), ("connect",)),
    OptionRule("duration", ("duration_too",), ("rtt",)),
    OptionRule("", ("since",), ("rtt",)),
    OptionRule("", ("max_connections", "ring_mb"), ("ping",)),
    OptionRule("", ("wide",), ("rtt",)),
    OptionRule("", ("count",), ("rtt",), absent="interval"),
    OptionRule("as_json", ("since", "wide", "print_uid")),
    OptionRule("as_json", ("lport",), ("connect",)),
    OptionRule("as_json", ("extension",)),
    OptionRule("ebpf", ()),
)
"""Beside what commands refuse themselves, with reasons of their own."""


class CheckedCommand(click.Command):
    """A command that refuses options without effect."""

    def invoke(self, ctx: click.Context) -> Any:
        """See ``click.Command``.

        Raises:
            UsageError: such an option was given.
        """
        refuse_ignored(ctx)
        refuse_empty(ctx)
        refuse_meaningless(ctx)
        return super().invoke(ctx)


class Seconds(click.FloatRange):
    """A time; ``nan`` is in no range and would pass as if it were in each, ``inf`` is no time to wait."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See ``click.ParamType``."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return number


def inherit_options(context: click.Context) -> None:
    """Give what stands before a command to the command, where that has the same option and is not given another value.

    Args:
        context: of the group, before the command's own is made.
    """
    values = {param.name: context.params[param.name] for param in _explicit_options(context) if param.name}
    context.default_map = _defaults(context.command, context, values)


def _defaults(command: click.Command, context: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    if isinstance(command, click.Group):
        inner = {name: command.get_command(context, name) for name in command.list_commands(context)}
        return {name: _defaults(one, context, values) for name, one in inner.items() if one is not None}
    own = {param.name: _kind(param) for param in command.params}
    return {
        param.name: values[param.name]
        for param in context.command.params
        if own.get(param.name) == _kind(param) and param.name in values
    }


def _explicit_options(context: click.Context) -> Iterator[click.Parameter]:
    """Options that the user has written."""
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        if source in {ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP}:
            yield param


def _kind(param: click.Parameter) -> tuple[Any, ...]:
    """Equal for options of two commands that take the same."""
    return repr(param.type), param.multiple, getattr(param, "is_flag", False)


def refuse_ignored(context: click.Context) -> None:
    """Options before a command that this has not.

    Raises:
        UsageError: there are some.
    """
    own = {param.name: _kind(param) for param in context.command.params}
    for param in _explicit_options(context.find_root()):
        if param.name not in _FOR_ALL and own.get(param.name) != _kind(param):
            hint = f"see {context.command_path} --help"
            raise UsageError(f"{_option_name(param)} has no effect before {context.info_name}", hint=hint)


def refuse_empty(context: click.Context) -> None:
    """Options with an empty value, as of a variable of the shell that is not set: it would count as not given.

    An empty filter is one: it matches everything.

    Raises:
        UsageError: there is one.
    """
    for param in _explicit_options(context):
        if context.params[param.name or ""] == "" and param.name != "filter_text":
            raise UsageError(f"{_option_name(param)} is empty", hint="give it a value, or leave it out")


def refuse_meaningless(context: click.Context) -> None:
    """Options that mean nothing beside others, by ``RULES``.

    Raises:
        UsageError: there are some.
    """
    given = {str(param.name): param for param in _explicit_options(context)}
    for rule in RULES:
        if not _applies(rule, context, given):
            continue
        for name in rule.ignored or sorted(given.keys() - _FOR_ALL - {rule.conflicts_with}):
            if name in given:
                raise UsageError(
                    f"{_option_name(given[name])} has no effect {_where(rule, context)}", hint="leave it out"
                )


def _applies(rule: OptionRule, context: click.Context, given: Mapping[str, click.Parameter]) -> bool:
    if (rule.commands and context.info_name not in rule.commands) or rule.absent in given:
        return False
    return not rule.conflicts_with or (
        rule.conflicts_with in given and rule.value in {None, context.params[rule.conflicts_with]}
    )


def _where(rule: OptionRule, context: click.Context) -> str:
    names = {param.name: _option_name(param) for param in context.command.params}
    value = f" {rule.value}" if rule.value else ""
    if rule.absent:
        return f"without {names[rule.absent]}"
    return f"beside {names[rule.conflicts_with]}{value}" if rule.conflicts_with else f"in {context.info_name}"


def _option_name(param: click.Parameter) -> str:
    return max(param.opts, key=len)
