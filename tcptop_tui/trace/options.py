"""The options that every stream has, and what they say together: form, filter, capture filter, settings, feed."""

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
from tcptop_tui.options import shared_options as shared
from tcptop_tui.options.option_rules import Seconds
from tcptop_tui.replay.recording import check_recording
from tcptop_tui.safe_text import clean
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture
from tcptop_tui.trace import columns as c
from tcptop_tui.trace.columns import Column
from tcptop_tui.trace.output import Form, Layout, Output

F = TypeVar("F", bound=Callable[..., Any])

_REFRESH_S = 1.0

_STREAM_ONLY = (
    click.option("-T", "--time", "wall", is_flag=True, help="Begin with the time of day (ms)."),
    click.option("-t", "--timestamp", "since", is_flag=True, help="Begin with the seconds since the first line."),
    click.option("-w", "--wide", is_flag=True, help="Room for IPv6, and more columns."),
    click.option("-s", "--csv", "as_csv", is_flag=True, help="CSV; with -w more columns behind bcc's."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line, everything in it."),
    click.option("--duration", type=Seconds(0.1), default=None, metavar="S", help="End after S seconds."),
    click.option("--count", type=click.IntRange(1), default=None, metavar="N", help="End after N lines."),
)
_CGROUPS_AND_NAMESPACES = (
    click.option("--cgroup", default="", metavar="PATH", help="Capture only sockets of this cgroup (v2) and below."),
    click.option("--cgroupmap", default="", metavar="PIN", help="Capture only cgroups in this pinned BPF map."),
    click.option("--mntnsmap", default="", metavar="PIN", help="Capture only mount namespaces in this pinned BPF map."),
)
_EBPF = click.option("--ebpf", is_flag=True, hidden=True, help="Print the kernel program and end.")


def stream_options(*, short_pid: str = "-p") -> Callable[[F], F]:
    """A decorator that adds the options that every stream has.

    Args:
        short_pid: the short name of ``--pid``; empty where it has none, as in tcprtt, whose ``-p`` is a port.
    """
    return shared.with_options(
        *_STREAM_ONLY,
        shared.FILTER,
        shared.pid_option(*filter(None, [short_pid])),
        shared.IPV4,
        shared.IPV6,
        *_CGROUPS_AND_NAMESPACES,
        shared.REPLAY,
        shared.BACKEND,
        shared.RING_MB,
        shared.MAX_CONNECTIONS,
        _EBPF,
        shared.DEBUG,
    )


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What the options of ``stream_options`` say, checked."""

    values: dict[str, Any]
    """Of the command's options, by parameter name."""
    form: Form
    wide: bool
    clock: tuple[Column, ...]
    """The columns of time that lines begin with."""
    ip: int
    """4, 6 or 0 for both."""
    config: ConfigFile

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> StreamOptions:
        """Check what the types of the options cannot.

        Raises:
            UsageError: options that contradict each other.
        """
        ip = shared.ip_version(values)
        if values["as_csv"] and values["as_json"]:
            raise UsageError("--csv and --json exclude each other", hint="leave one out")
        form: Form = "csv" if values["as_csv"] else "json" if values["as_json"] else "text"
        clock = ((c.TIME,) if values["wall"] else ()) + ((c.SECONDS,) if values["since"] else ())
        return cls(values, form, values["wide"], clock, ip, click.get_current_context().obj)

    def output(self, columns: tuple[Column, ...]) -> Output:
        """Lines to standard output, in the form that was asked for."""
        return Output(Layout(self.form, columns, self.wide), standard_output(buffered=False), self.values["count"])

    def capture(
        self, lports: str = "", rports: str = "", *, context: bool = False, connects: bool = False, rtt_unit_us: int = 1
    ) -> Capture:
        """The capture filter of these options and of a command's own."""
        return Capture(
            lports=parse_ports(lports),
            rports=parse_ports(rports),
            pids=chosen_processes(self.values["pid"]),
            ip=self.ip,
            cgroups=_cgroups(self.values["cgroup"]),
            cgroup_map_path=self.values["cgroupmap"],
            mntns_map_path=self.values["mntnsmap"],
            context=context,
            connects=connects,
            rtt_unit_us=rtt_unit_us,
        )

    def filter(self, *terms: str) -> Filter:
        """The filter of ``--filter`` and ``terms``; with ``--pid`` only rows that surely belong to these processes.

        Raises:
            UsageError: it does not parse, or asks for what streams do not read.
        """
        text = self.values["filter_text"]
        saved_filters, note = self.config.saved_filters(text)
        if note:
            click.echo(f"tcptop-tui: {clean(note)}", err=True)
        line_filter = parse(" ".join(filter(None, [expand_saved(text, saved_filters), *terms])))
        unread = [BY_KEY[key].names[0] for key in sorted(line_filter.keys) if BY_KEY[key].detail]
        if unread:
            raise UsageError(f"streams do not read {', '.join(unread)}", hint="use the dashboard, or snapshot")
        return line_filter.of_processes(chosen_processes(self.values["pid"]))

    def settings(self, refresh_s: float = _REFRESH_S) -> Settings:
        """Periods, and sizes of what the kernel side has."""
        return shared.kernel_settings(self.values, refresh_s)

    def feed(self, capture: Capture, settings: Settings) -> Feed:
        """What the stream listens to."""
        return Feed(self.values["backend"], settings, capture, check_recording(self.values["replay"], lines=True))


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
    """The id of the cgroup with this path; the kernel side finds the cgroups below it itself."""
    if not path:
        return frozenset()
    from tcptop_tui.host.cgroups import cgroup_id  # noqa: PLC0415  only where it is asked for

    return frozenset([cgroup_id(path)])
