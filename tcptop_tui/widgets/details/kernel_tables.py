"""What kernel and /proc know of one connection, as tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from tcptop_tui import formats, safe_text
from tcptop_tui.host.processes import ProcessFacts
from tcptop_tui.widgets.details.text import pairs_table

_NAMES = {
    "accept_queue": "waiting for accept()", "backlog": "room for waiting ones", "rx_queue_bytes": "not read yet",
    "tx_queue_bytes": "not acknowledged", "ca_state": "congestion state", "options": "options agreed on",
    "congestion": "congestion control", "rcvbuf_bytes": "receive buffer", "sndbuf_bytes": "send buffer",
    "drops": "dropped, no buffer", "rto_us": "retransmit timeout", "mss_bytes": "largest segment",
    "unacked": "segments in flight", "lost": "segments lost", "pmtu_bytes": "path MTU", "rtt_us": "smoothed RTT",
    "rttvar_us": "RTT variation", "ssthresh": "slow start until", "cwnd": "congestion window",
    "reordering": "reordering seen", "retrans": "retransmits now", "pacing_bytes_s": "paced to",
    "bytes_acked": "acknowledged", "bytes_received": "received", "segs_out": "segments sent",
    "segs_in": "segments received", "notsent_bytes": "not sent yet", "min_rtt_us": "least RTT",
    "delivery_bytes_s": "delivery rate", "busy_us": "busy sending", "rwnd_limited_us": "held by peer's window",
    "sndbuf_limited_us": "held by send buffer", "dsack_dups": "duplicates (DSACK)", "ooopack": "out of order",
    "snd_wnd_bytes": "peer's window", "last_sent_us": "last sent, ago", "last_received_us": "last received, ago",
    "last_ack_us": "last ACK, ago",
}  # fmt: skip
"""What ``diag.tcp_info`` gives, in words."""


def process_table(facts: ProcessFacts | None) -> RenderableType:
    """Command line, user, start, what it uses."""
    if facts is None:
        return Text.assemble(("\nProcess\n", "bold"), "has ended, or was never seen")
    used = f"CPU {facts.cpu_s:.0f} s  memory {formats.size_bytes(facts.memory_bytes)}"
    if facts.descriptors >= 0:
        limit = f" of {facts.descriptor_limit:,}" if facts.descriptor_limit > 0 else ""
        used += f"  descriptors {facts.descriptors:,}{limit}"
    began = formats.clock(round(facts.started_s * 1e9))[:-4]
    lines = [safe_text.clean(facts.command), f"user {safe_text.clean(facts.user)}  since {began}  {used}"]
    return Text.assemble(("\nProcess\n", "bold"), "\n".join(lines))


def tcp_info_table(known: Mapping[str, int | str], width: int) -> RenderableType:
    """Names spelled out and values, for ``width`` cells."""
    pairs = [
        (_NAMES.get(name, name), safe_text.clean(value) if isinstance(value, str) else _value(name, value))
        for name, value in known.items()
    ]
    return Group(Text("\nKernel", "bold"), pairs_table(pairs, width))


def _value(name: str, value: int) -> str:
    if name.endswith("_us"):
        return formats.rtt_us(value)
    if name.endswith("_bytes_s"):
        return f"{formats.size_bytes(value)}/s"
    return formats.size_bytes(value) if "bytes" in name else formats.count(value)
