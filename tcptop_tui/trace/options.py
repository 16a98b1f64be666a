"""The options that every stream has, and what they say together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from tcptop_tui.config.file import ConfigFile
from tcptop_tui.errors import UsageError
from tcptop_tui.feed import Feed
from tcptop_tui.fields import BY_KEY
from tcptop_tui.filters import Filter, expand_saved, parse, parse_ports
from tcptop_tui.filters.capture_terms import chosen_processes
from tcptop_tui.host.terminal import standard_output
from tcptop_tui.options.option_rules import Seconds
from tcptop_tui.replay.recording import opened_recording
from tcptop_tui.safe_text import clean
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture
from tcptop_tui.trace import columns as c
from tcptop_tui.trace.columns import Column
from tcptop_tui.trace.output import Form, Layout, Output

F = TypeVar("F", bound=Callable[..., Any])

_REFRESH_S = 1.0


def common_options(*, pid: str = "-p") -> Callable[[F], F]:
    """The options that all streams have; ``pid``: the short one for a process."""
    options = (
        click.option("-T", "--time", "wall", is_flag=True, help="Begin with the time of day (ms)."),
        click.option("-t", "--timestamp", "since", is_flag=True, help="Begin with the seconds since the first line."),
        click.option("-w", "--wide", is_flag=True, help="Room for IPv6, and more columns."),
        click.option("-s", "--csv", "as_csv", is_flag=True, help="CSV; with -w more columns behind bcc's."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line, everything in it."),
        click.option("-4", "--ipv4", is_flag=True, help="IPv4 only."),
        click.option("-6", "--ipv6", is_flag=True, help="IPv6 only."),
        click.option(*([pid] if pid else []), "--pid", multiple=True, type=click.IntRange(1, 2**22),
                     help="This process only; may be repeated."),
        click.option("-f", "--filter", "filter_text", default="", metavar="EXPR",
                     help="What matches only, in the dashboard's language, e.g. 'comm:nginx !port:22 rtt>10ms'."),
        click.option("--duration", type=Seconds(0.1), default=None, metavar="S", help="End after S seconds."),
        click.option("--count", type=click.IntRange(1), default=None, metavar="N", help="End after N lines."),
        click.option("--cgroup", default="", metavar="PATH", help="Sockets of this cgroup (v2) and below only."),
        click.option("--cgroupmap", default="", metavar="PIN", help="Cgroups in this pinned BPF map only."),
        click.option("--mntnsmap", default="", metavar="PIN", help="Mount namespaces in this pinned BPF map only."),
        click.option("--backend", type=click.Choice(["auto", "bpf", "diag"]), default="auto", show_default=True,
                     help="auto: BPF, or sock_diag where BPF is not possible."),
        click.option("--ring-mb", type=click.Choice(["1", "2", "4", "8", "16", "32", "64", "128"]), default="16",
                     show_default=True, help="Room for transitions between kernel and program."),
        click.option("--max-connections", type=click.IntRange(16, 4_000_000), default=None, metavar="N",
                     help="Connections that the kernel side may follow; without it as many as fit this host."),
        click.option("--replay", default=None, metavar="FILE", help="Lines of a recording, not of this host."),
        click.option("--ebpf", is_flag=True, hidden=True, help="Print the kernel program and end."),
        click.option("--debug", is_flag=True, help="Show tracebacks."),
    )  # fmt: skip

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """What the common options say, checked."""

    options: dict[str, Any]
    form: Form
    wide: bool
    clock: tuple[Column, ...]
    ip: int
    config: ConfigFile

    def output(self, columns: tuple[Column, ...]) -> Output:
        """Standard output in the form that was asked for."""
        return Output(Layout(self.form, columns, self.wide), standard_output(buffered=False), self.options["count"])

    def capture(
        self, lports: str = "", rports: str = "", *, context: bool = False, connects: bool = False, rtt_unit_us: int = 1
    ) -> Capture:
        """What the kernel side is to look at."""
        return Capture(
            lports=parse_ports(lports),
            rports=parse_ports(rports),
            pids=chosen_processes(self.options["pid"]),
            ip=self.ip,
            cgroups=_cgroups(self.options["cgroup"]),
            cgroup_map_path=self.options["cgroupmap"],
            mntns_map_path=self.options["mntnsmap"],
            context=context,
            connects=connects,
            rtt_unit_us=rtt_unit_us,
        )

    def filter(self, *terms: str) -> Filter:
        """The filter that was given, and ``terms``; of a process only what surely is its own."""
        given = self.options["filter_text"]
        filters, note = self.config.saved_filters(given)
        if note:
            click.echo(f"tcptop-tui: {clean(note)}", err=True)
        given = expand_saved(given, filters)
        chosen = parse(" ".join(filter(None, [given, *terms])))
        unread = [BY_KEY[key].names[0] for key in sorted(chosen.keys) if BY_KEY[key].detail]
        if unread:
            raise UsageError(f"streams do not read {', '.join(unread)}", hint="use the dashboard, or snapshot")
        return chosen.of_processes(chosen_processes(self.options["pid"]))

    def settings(self, refresh_s: float = _REFRESH_S) -> Settings:
        """Sizes and periods."""
        return Settings(
            refresh_s=refresh_s,
            poll_s=min(0.1, refresh_s),
            max_connections=self.options["max_connections"] or 0,
            ring_bytes=int(self.options["ring_mb"]) * 2**20,
            session_ring_bytes=int(self.options["ring_mb"]) * 2**19,
        )

    def feed(self, capture: Capture, settings: Settings) -> Feed:
        """What the stream listens to."""
        return Feed(self.options["backend"], settings, capture, opened_recording(self.options["replay"], lines=True))


def check_options(given: dict[str, Any]) -> CommonOptions:
    """Check what the types of the options cannot.

    Raises:
        UsageError: options that contradict each other.
    """
    for one, other in (("ipv4", "ipv6"), ("as_csv", "as_json")):
        if given[one] and given[other]:
            names = {"ipv4": "-4", "ipv6": "-6", "as_csv": "--csv", "as_json": "--json"}
            raise UsageError(f"{names[one]} and {names[other]} exclude each other", hint="leave one out")
    form: Form = "csv" if given["as_csv"] else "json" if given["as_json"] else "text"
    clock = ((c.TIME,) if given["wall"] else ()) + ((c.SECONDS,) if given["since"] else ())
    return CommonOptions(given, form, given["wide"], clock, _ip(given), click.get_current_context().obj)


def _ip(given: dict[str, Any]) -> int:
    return 4 if given["ipv4"] else 6 if given["ipv6"] else 0


def address_term(field: str, value: str) -> str:
    """A filter term for an address or a network; empty for an empty value.

    Raises:
        UsageError: it is neither.
    """
    if not value:
        return ""
    try:
        return f"{field}:{ipaddress.ip_network(value, strict=False)}"
    except ValueError:
        raise UsageError(f"{value!r} is no address", hint="as in 10.0.0.1, 10.0.0.0/8 or ::1") from None


def _cgroups(path: str) -> frozenset[int]:
    """The id of a cgroup: what lies below it the kernel side finds itself."""
    if not path:
        return frozenset()
    from tcptop_tui.host.cgroups import cgroup_id  # noqa: PLC0415  only where it is asked for

    return frozenset([cgroup_id(path)])
