"""``tcptop-tui trace``: a command for each line stream, with the options of the bcc tool that it is like."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from tcptop_tui.errors import UsageError
from tcptop_tui.feed import Feed
from tcptop_tui.host.privileges import drop_unneeded
from tcptop_tui.options.option_rules import CheckedCommand, Seconds, refuse_ignored
from tcptop_tui.options.shared_options import port_option
from tcptop_tui.trace import connect, life, ping, rtt, states
from tcptop_tui.trace.journal import Journal
from tcptop_tui.trace.options import StreamOptions, address_term, stream_options
from tcptop_tui.trace.output import Output
from tcptop_tui.trace.probes import PingFeed, dns_lookups
from tcptop_tui.trace.stream_loop import LineStream, run_stream

AnyFeed = TypeVar("AnyFeed", bound=Feed | PingFeed)


class _Streams(click.Group):
    """Its commands refuse options that have no effect."""

    command_class = CheckedCommand


@click.group(name="trace", cls=_Streams, invoke_without_command=True)
@click.pass_context
def trace(context: click.Context) -> None:
    """Streams of lines for pipes and scripts, like bcc's tcpstates, tcplife, tcpconnect and tcprtt.

    Ctrl-C ends a stream with a line of counts and losses on stderr.
    """
    if context.invoked_subcommand is None:
        refuse_ignored(context)
        names = ", ".join(trace.list_commands(context))
        raise UsageError("trace needs a command", hint=f"one of {names}; trace --help explains them")


def _run(feed: Feed | PingFeed, stream: LineStream, options: StreamOptions, output: Output) -> None:
    """Write ``stream`` to its end; a code other than 0 ends the command with it."""
    code = run_stream(
        feed, stream, output, options.values["duration"], lambda: feed.drop_capabilities(feed.privileges_needed)
    )
    if code:
        raise click.exceptions.Exit(code)


def _with_dropped_privileges(feed: AnyFeed) -> AnyFeed:
    """``feed``, after this process has given up every privilege that the feed does not need."""
    drop_unneeded(feed.privileges_needed, in_two_steps=True)
    return feed


def _print_program() -> None:
    """Write the C source of the kernel programs, for ``--ebpf``."""
    from tcptop_tui.bpf.program import source_text  # noqa: PLC0415  numpy: not for --help

    sys.stdout.write(source_text())


@contextmanager
def _open_journal(*, is_wanted: bool) -> Iterator[Journal | None]:
    """A ``Journal`` for as long as it is needed; None if it is not wanted."""
    journal = Journal() if is_wanted else None
    try:
        yield journal
    finally:
        if journal is not None:
            journal.close()


@trace.command(name="states")
@port_option("-L", "--localport", "lport", side="local")
@port_option("-D", "--remoteport", "rport", side="remote")
@click.option("-Y", "--journal", "to_journal", is_flag=True, help="Send each line to the systemd journal too.")
@click.option("--context", is_flag=True, help="Show who was on the CPU as well: in softirq that is a bystander.")
@stream_options()
def states_command(lport: str, rport: str, *, to_journal: bool, context: bool, **values: Any) -> None:
    """Every change of a TCP state, as tcpstates shows it.

    PID and COMM are the connection's owner; MS was spent in OLDSTATE; a close says how.
    """
    if values["ebpf"]:
        _print_program()
        return
    options = StreamOptions.from_values(values)
    output = options.output(states.columns(options.form, wide=options.wide, context=context, clock=options.clock))
    capture = options.capture(lport, rport, context=context)
    with _open_journal(is_wanted=to_journal) as journal:
        stream = states.StatesStream(output, options.filter(), journal)
        _run(_with_dropped_privileges(options.feed(capture, options.settings())), stream, options, output)


@trace.command(name="life")
@port_option("-L", "--localport", "lport", side="local")
@port_option("-D", "--remoteport", "rport", side="remote")
@stream_options()
def life_command(lport: str, rport: str, **values: Any) -> None:
    """Every connection when it ends: bytes, duration, why, as tcplife shows it."""
    if values["ebpf"]:
        _print_program()
        return
    options = StreamOptions.from_values(values)
    output = options.output(life.columns(options.form, wide=options.wide, clock=options.clock))
    feed = _with_dropped_privileges(options.feed(options.capture(lport, rport), options.settings()))
    _run(feed, life.LifeStream(output, options.filter()), options, output)


@trace.command(name="connect")
@port_option("-P", "--port", "rport", side="remote")
@click.option("-L", "--lport", is_flag=True, help="Show the local port.")
@click.option("-U", "--print-uid", is_flag=True, help="Show the user's number.")
@click.option("-u", "--uid", type=click.IntRange(0, 2**32 - 2), default=None, help="This user only.")
@click.option("-c", "--counts", is_flag=True, help="Count by addresses and remote port; printed at the end.")
@click.option("-d", "--dns", is_flag=True, help="Show the name that was likely looked up.")
@stream_options()
def connect_command(
    rport: str, *, lport: bool, print_uid: bool, uid: int | None, counts: bool, dns: bool, **values: Any
) -> None:
    """Every connect() with its outcome: connected, or why not, and how long that took.

    What nobody has answered yet is listed at the end as waiting.
    """
    if values["ebpf"]:
        _print_program()
        return
    if counts and dns:
        raise UsageError("-c and -d exclude each other", hint="leave one out")
    options = StreamOptions.from_values(values)
    output = options.output(
        connect.columns(options.form, wide=options.wide, clock=options.clock, lport=lport, uid=print_uid, dns=dns)
    )
    line_filter = options.filter("" if uid is None else f"uid:{uid}")
    feed = _with_dropped_privileges(options.feed(options.capture(rports=rport, connects=True), options.settings()))
    if counts:
        _run(feed, connect.ConnectStream(output, line_filter, tally=connect.ConnectCounts()), options, output)
        return
    with dns_lookups(is_wanted=dns) as lookups:
        _run(feed, connect.ConnectStream(output, line_filter, queries=lookups), options, output)


@trace.command(name="rtt")
@click.option("-i", "--interval", type=Seconds(0.1), default=None, metavar="S",
              help="A summary each S seconds; without it one at the end.")  # fmt: skip
@click.option("-d", "duration_too", type=Seconds(0.1), default=None, metavar="S", help="The same as --duration.")
@click.option("-m", "--milliseconds", is_flag=True, help="Histograms in ms.")
@port_option("-p", "--lport", side="local")
@port_option("-P", "--rport", side="remote")
@click.option("-a", "--laddr", default="", metavar="ADDR", help="This local address or network only.")
@click.option("-A", "--raddr", default="", metavar="ADDR", help="This remote address or network only.")
@click.option("-b", "--byladdr", is_flag=True, help="One histogram for each local address.")
@click.option("-B", "--byraddr", is_flag=True, help="One histogram for each remote address.")
@click.option("-e", "--extension", is_flag=True, help="Show average and count.")
@click.option("-D", "--show-ebpf", is_flag=True, help="Print the kernel program first.")
@stream_options(short_pid="")
def rtt_command(  # noqa: PLR0913  one argument an option
    interval: float | None, duration_too: float | None, lport: str, rport: str, laddr: str, raddr: str,
    *, milliseconds: bool, byladdr: bool, byraddr: bool, extension: bool, show_ebpf: bool, **values: Any,
) -> None:  # fmt: skip
    """Log2 histograms of smoothed round-trip times, one sample a received segment, as tcprtt shows them."""
    if values["ebpf"] or show_ebpf:
        _print_program()
    if values["ebpf"]:
        return
    if byladdr and byraddr:
        raise UsageError("-b and -B exclude each other", hint="leave one out")
    if milliseconds and values["replay"]:
        raise UsageError("a recording has its histograms in µs", hint="leave -m out")
    values["duration"] = values["duration"] or duration_too
    options = StreamOptions.from_values(values)
    histogram_options = rtt.RttOptions(
        by="laddr" if byladdr else "raddr" if byraddr else None,
        unit="ms" if milliseconds else "us",
        extension=extension,
        timestamp=values["wall"] or values["since"],
        interval_s=interval,
    )
    output = options.output(())
    line_filter = options.filter(address_term("laddr", laddr), address_term("raddr", raddr))
    capture = options.capture(lport, rport, rtt_unit_us=1000 if milliseconds else 1)
    feed = _with_dropped_privileges(options.feed(capture, options.settings(min(1.0, (interval or 4.0) / 4))))
    _run(feed, rtt.RttStream(output, line_filter, histogram_options, options.form), options, output)


@trace.command(name="ping")
@click.option("--cpu", type=click.IntRange(0), default=None, help="This CPU only.")
@stream_options()
def ping_command(cpu: int | None, **values: Any) -> None:
    """Whom the softirq interrupted to answer an ICMP echo request (IPv4 and IPv6).

    PID 0 is an idle CPU; -p takes the interrupted process.
    """
    if values["ebpf"]:
        _print_program()
        return
    options = StreamOptions.from_values(values)
    _check_ping(values)
    output = options.output(ping.columns(options.form, wide=options.wide, clock=options.clock))
    feed = _with_dropped_privileges(PingFeed(options.settings(), values["pid"][0] if values["pid"] else None, cpu))
    _run(feed, ping.PingStream(output, options.ip), options, output)


def _check_ping(values: dict[str, Any]) -> None:
    """Refuse options about sockets: an echo request has none.

    Raises:
        UsageError: such an option is given.
    """
    for name, option in (
        ("filter_text", "--filter"), ("cgroup", "--cgroup"), ("cgroupmap", "--cgroupmap"), ("mntnsmap", "--mntnsmap"),
        ("replay", "--replay"),
    ):  # fmt: skip
        if values[name]:
            raise UsageError(f"trace ping has no {option}: an echo request belongs to no socket", hint="leave it out")
    if values["backend"] == "diag":
        raise UsageError("trace ping needs BPF: sock_diag knows no packets", hint="leave --backend diag out")
    if len(values["pid"]) > 1:
        raise UsageError("trace ping takes one -p", hint="leave the others out")
