"""``tcptop-tui trace``: the field's tools as line-by-line streams."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from tcptop_tui.errors import UsageError
from tcptop_tui.feed import Feed
from tcptop_tui.host.privileges import drop_unneeded
from tcptop_tui.options.option_rules import CheckedCommand, Seconds, refuse_ignored
from tcptop_tui.trace import connect, life, ping, rtt, states
from tcptop_tui.trace.journal import Journal
from tcptop_tui.trace.options import CommonOptions, address_term, check_options, common_options
from tcptop_tui.trace.probes import PingFeed, dns_lookups
from tcptop_tui.trace.stream_loop import LineStream, run_stream

F = TypeVar("F", bound=Callable[..., Any])
AnyFeed = TypeVar("AnyFeed", bound=Feed | PingFeed)


def _ports(*names: str, which: str) -> Callable[[F], F]:
    """An option that takes a list of ports and ranges."""
    return click.option(*names, default="", metavar="PORTS", help=f"These {which} ports only, as in 80,8000-8010.")


class _Streams(click.Group):
    command_class = CheckedCommand


@click.group(name="trace", cls=_Streams, invoke_without_command=True)
@click.pass_context
def trace(context: click.Context) -> None:
    """Streams of lines for pipes and scripts, like bcc's tcpstates, tcplife, tcpconnect and tcprtt.

    Ctrl-C ends a stream with a line of counts and losses on stderr.
    """
    if context.invoked_subcommand is None:
        refuse_ignored(context)
        click.echo(context.get_help())


def _run(feed: Feed | PingFeed, stream: LineStream, given: CommonOptions, output: Any) -> None:
    code = run_stream(
        feed, stream, output, given.options["duration"], lambda: feed.drop_capabilities(feed.privileges_needed)
    )
    if code:
        raise click.exceptions.Exit(code)


def _narrowed(feed: AnyFeed) -> AnyFeed:
    """The same, with the privileges that it needs and no others."""
    drop_unneeded(feed.privileges_needed, in_two_steps=True)
    return feed


def _printed(given: dict[str, Any]) -> bool:
    """For ``--ebpf``: the C source, and whether that was all."""
    if given["ebpf"]:
        from tcptop_tui.bpf.program import source_text  # noqa: PLC0415  numpy: not for --help

        sys.stdout.write(source_text())
    return bool(given["ebpf"])


@contextmanager
def _journal(*, wanted: bool) -> Iterator[Journal | None]:
    journal = Journal() if wanted else None
    try:
        yield journal
    finally:
        if journal is not None:
            journal.close()


@trace.command(name="states")
@_ports("-L", "--localport", "lport", which="local")
@_ports("-D", "--remoteport", "rport", which="remote")
@click.option("-Y", "--journal", "to_journal", is_flag=True, help="Send each line to the systemd journal too.")
@click.option("--context", is_flag=True, help="Show who was on the CPU as well: in softirq that is a bystander.")
@common_options()
def states_command(lport: str, rport: str, *, to_journal: bool, context: bool, **given: Any) -> None:
    """Every change of a TCP state, as tcpstates shows it.

    PID and COMM are the connection's owner; MS was spent in OLDSTATE; a close says how.
    """
    if _printed(given):
        return
    asked = check_options(given)
    output = asked.output(states.columns(asked.form, wide=asked.wide, context=context, clock=asked.clock))
    capture = asked.capture(lport, rport, context=context)
    with _journal(wanted=to_journal) as journal:
        stream = states.StatesStream(output, asked.filter(), journal)
        _run(_narrowed(asked.feed(capture, asked.settings())), stream, asked, output)


@trace.command(name="life")
@_ports("-L", "--localport", "lport", which="local")
@_ports("-D", "--remoteport", "rport", which="remote")
@common_options()
def life_command(lport: str, rport: str, **given: Any) -> None:
    """Every connection when it ends: bytes, duration, why, as tcplife shows it."""
    if _printed(given):
        return
    asked = check_options(given)
    output = asked.output(life.columns(asked.form, wide=asked.wide, clock=asked.clock))
    feed = _narrowed(asked.feed(asked.capture(lport, rport), asked.settings()))
    _run(feed, life.LifeStream(output, asked.filter()), asked, output)


@trace.command(name="connect")
@_ports("-P", "--port", "rport", which="remote")
@click.option("-L", "--lport", is_flag=True, help="Show the local port.")
@click.option("-U", "--print-uid", is_flag=True, help="Show the user's number.")
@click.option("-u", "--uid", type=click.IntRange(0, 2**32 - 2), default=None, help="This user only.")
@click.option("-c", "--counts", is_flag=True, help="Count by addresses and remote port; printed at the end.")
@click.option("-d", "--dns", is_flag=True, help="Show the name that was likely looked up.")
@common_options()
def connect_command(
    rport: str, *, lport: bool, print_uid: bool, uid: int | None, counts: bool, dns: bool, **given: Any
) -> None:
    """Every connect() with its outcome: connected, or why not, and how long that took.

    What nobody has answered yet is listed at the end as waiting.
    """
    if _printed(given):
        return
    if counts and dns:
        raise UsageError("-c and -d exclude each other", hint="leave one out")
    asked = check_options(given)
    output = asked.output(
        connect.columns(asked.form, wide=asked.wide, clock=asked.clock, lport=lport, uid=print_uid, dns=dns)
    )
    chosen = asked.filter("" if uid is None else f"uid:{uid}")
    feed = _narrowed(asked.feed(asked.capture(rports=rport, connects=True), asked.settings()))
    if counts:
        _run(feed, connect.ConnectStream(output, chosen, tally=connect.ConnectCounts()), asked, output)
        return
    with dns_lookups(wanted=dns) as found:
        _run(feed, connect.ConnectStream(output, chosen, queries=found), asked, output)


@trace.command(name="rtt")
@click.option("-i", "--interval", type=Seconds(0.1), default=None, metavar="S",
              help="A summary each S seconds; without it one at the end.")  # fmt: skip
@click.option("-d", "duration_too", type=Seconds(0.1), default=None, metavar="S", help="As --duration.")
@click.option("-m", "--milliseconds", is_flag=True, help="Histograms in ms.")
@_ports("-p", "--lport", which="local")
@_ports("-P", "--rport", which="remote")
@click.option("-a", "--laddr", default="", metavar="ADDR", help="This local address or network only.")
@click.option("-A", "--raddr", default="", metavar="ADDR", help="This remote address or network only.")
@click.option("-b", "--byladdr", is_flag=True, help="One histogram for each local address.")
@click.option("-B", "--byraddr", is_flag=True, help="One histogram for each remote address.")
@click.option("-e", "--extension", is_flag=True, help="Show average and count.")
@click.option("-D", "--show-ebpf", is_flag=True, help="Print the kernel program first.")
@common_options(pid="")
def rtt_command(  # noqa: PLR0913  one argument an option
    interval: float | None, duration_too: float | None, lport: str, rport: str, laddr: str, raddr: str,
    *, milliseconds: bool, byladdr: bool, byraddr: bool, extension: bool, show_ebpf: bool, **given: Any,
) -> None:  # fmt: skip
    """Log2 histograms of smoothed round-trip times, one sample a received segment, as tcprtt shows them."""
    if _printed(given | {"ebpf": given["ebpf"] or show_ebpf}) and given["ebpf"]:
        return
    if byladdr and byraddr:
        raise UsageError("-b and -B exclude each other", hint="leave one out")
    if milliseconds and given["replay"]:
        raise UsageError("a recording has its histograms in µs", hint="leave -m out")
    given["duration"] = given["duration"] or duration_too
    asked = check_options(given)
    wish = rtt.RttOptions(
        by="laddr" if byladdr else "raddr" if byraddr else None,
        unit="ms" if milliseconds else "us",
        extension=extension,
        timestamp=given["wall"] or given["since"],
        interval_s=interval,
    )
    output = asked.output(())
    chosen = asked.filter(address_term("laddr", laddr), address_term("raddr", raddr))
    capture = asked.capture(lport, rport, rtt_unit_us=1000 if milliseconds else 1)
    feed = _narrowed(asked.feed(capture, asked.settings(min(1.0, (interval or 4.0) / 4))))
    _run(feed, rtt.RttStream(output, chosen, wish, asked.form), asked, output)


@trace.command(name="ping")
@click.option("--cpu", type=click.IntRange(0), default=None, help="This CPU only.")
@common_options()
def ping_command(cpu: int | None, **given: Any) -> None:
    """Whom the softirq interrupted to answer an ICMP echo request (IPv4 and IPv6).

    PID 0 is an idle CPU; -p takes the interrupted process.
    """
    if _printed(given):
        return
    asked = check_options(given)
    _check_ping(given)
    output = asked.output(ping.columns(asked.form, wide=asked.wide, clock=asked.clock))
    feed = _narrowed(PingFeed(asked.settings(), given["pid"][0] if given["pid"] else None, cpu))
    _run(feed, ping.PingStream(output, asked.ip), asked, output)


def _check_ping(given: dict[str, Any]) -> None:
    """An echo request has no socket: what asks for one's properties has nothing to ask.

    Raises:
        UsageError: such an option.
    """
    for name, option in (
        ("filter_text", "--filter"), ("cgroup", "--cgroup"), ("cgroupmap", "--cgroupmap"), ("mntnsmap", "--mntnsmap"),
        ("replay", "--replay"),
    ):  # fmt: skip
        if given[name]:
            raise UsageError(f"trace ping has no {option}: an echo request belongs to no socket", hint="leave it out")
    if given["backend"] == "diag":
        raise UsageError("trace ping needs BPF: sock_diag knows no packets", hint="leave --backend diag out")
    if len(given["pid"]) > 1:
        raise UsageError("trace ping takes one -p", hint="leave the others out")
