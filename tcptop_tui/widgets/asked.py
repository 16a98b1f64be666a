"""What kernel and /proc know of one connection, as tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcptop_tui import formats, text
from tcptop_tui.processes import ProcessFacts

_COLUMNS = 3


def process_table(facts: ProcessFacts | None) -> RenderableType:
    """Command line, user, start, what it uses."""
    if facts is None:
        return Text("\nProcess: has ended, or is not known\n")
    used = f"CPU {facts.cpu_s:.0f} s  memory {formats.size_bytes(facts.memory_bytes)}"
    if facts.descriptors >= 0:
        limit = f" of {facts.descriptor_limit:,}" if facts.descriptor_limit > 0 else ""
        used += f"  descriptors {facts.descriptors:,}{limit}"
    began = formats.clock(round(facts.started_s * 1e9))[:-4]
    lines = ["", "Process", text.clean(facts.command), f"user {text.clean(facts.user)}  since {began}  {used}"]
    return Text("\n".join(lines))


def internals_table(known: Mapping[str, int | str]) -> RenderableType:
    """Name and value, some pairs a line; words in a line of their own."""
    table = Table(box=None, show_header=False, pad_edge=False)
    pairs = [
        (Text(_title(name), "bold"), Text(_value(name, value)))
        for name, value in known.items()
        if not isinstance(value, str)
    ]
    for start in range(0, len(pairs), _COLUMNS):
        table.add_row(*(cell for pair in pairs[start : start + _COLUMNS] for cell in pair))
    words = "  ".join(f"{_title(name)} {text.clean(value)}" for name, value in known.items() if isinstance(value, str))
    return Group(Text(f"\nKernel\n{words}"), table)


def _title(name: str) -> str:
    name = name.removeprefix("bytes_")
    for suffix in ("_bytes_s", "_bytes", "_us"):
        name = name.removesuffix(suffix)
    return name


def _value(name: str, value: int) -> str:
    if name.endswith("_us"):
        return formats.rtt_us(value)
    if name.endswith("_bytes_s"):
        return f"{formats.size_bytes(value)}/s"
    return formats.size_bytes(value) if "bytes" in name else formats.count(value)
