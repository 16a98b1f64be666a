"""Refuses options that have no effect: before a command that does not have them, or beside another option."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from tcptop_tui.errors import UsageError

_FOR_ALL = frozenset({"config_file", "debug"})
"""Options that have an effect before every command."""


@dataclass(frozen=True, slots=True)
class OptionRule:
    """Options that have no effect beside another one, without another one, or in a command."""

    conflicts_with: str
    """The other option, by parameter name; empty: they have no effect in these commands at all."""
    ignored: tuple[str, ...]
    """The options without effect, by parameter name, as far as a command has them; empty: all others."""
    commands: tuple[str, ...] = ()
    """Commands that the rule is about; empty: all."""
    value: Any = None
    """The rule is about this value of ``conflicts_with``; None: about any."""
    absent: str = ""
    """An option, by parameter name, without which they have no effect; instead of ``conflicts_with``."""


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
"""Commands refuse further options themselves, where the reason needs words of its own."""


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
    """A number of seconds. ``nan`` would pass every range, because no comparison with it holds; ``inf`` is no time."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See ``click.ParamType``."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return number


def inherit_options(context: click.Context) -> None:
    """Hand options before a command on to the command, if it has the same option and is not given another value.

    Args:
        context: the group's, before the command's own context is made.
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
    """The options that the user has given, on the command line or before the command."""
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        if source in {ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP}:
            yield param


def _kind(param: click.Parameter) -> tuple[Any, ...]:
    """A key that is equal for options of two commands that take the same values."""
    return repr(param.type), param.multiple, getattr(param, "is_flag", False)


def refuse_ignored(context: click.Context) -> None:
    """Refuse options before a command that the command does not have.

    Raises:
        UsageError: there is one.
    """
    own = {param.name: _kind(param) for param in context.command.params}
    for param in _explicit_options(context.find_root()):
        if param.name not in _FOR_ALL and own.get(param.name) != _kind(param):
            hint = f"see {context.command_path} --help"
            raise UsageError(f"{_option_name(param)} has no effect before {context.info_name}", hint=hint)


def refuse_empty(context: click.Context) -> None:
    """Refuse empty values, as of an unset variable of the shell: they would count as if the option were not given.

    Only a filter may be empty: it matches everything.

    Raises:
        UsageError: there is one.
    """
    for param in _explicit_options(context):
        if context.params[param.name or ""] == "" and param.name != "filter_text":
            raise UsageError(f"{_option_name(param)} is empty", hint="give it a value, or leave it out")


def refuse_meaningless(context: click.Context) -> None:
    """Refuse options that have no effect beside others, by ``RULES``.

    Raises:
        UsageError: there is one.
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
