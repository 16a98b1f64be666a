"""F1: what the screen says, help made from the bindings that are really there, and the filter's own list of fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tcptop_tui.fields import RecordKinds, list_fields
from tcptop_tui.filters import FIELDS
from tcptop_tui.widgets.key_names import key_names

Section = tuple[str, list[tuple[str, str]]]
"""A title, and what stands below it: names and what they mean."""

_EVERYWHERE = 6
"""So many groups of keys work on the whole screen."""

_HEADER: Section = ("The header", [
    ("sockets", "all sockets of the host by state, whatever the filter shows"),
    ("failed/s", "connect() calls that failed in the last second; the bars are the seconds before"),
    ("retrans/s", "segments that were sent again"),
    ("opened/s …", "connections that were established (opened/s) and that ended (closed/s)"),
    ("transitions/s", "changes of state"),
    ("lost", "events that are gone for good: a ring was full, or the kernel ran no program for them"),
    ("missed", "connections that only the comparison with sock_diag found"),
    ("mended", "rows that this comparison corrected"),
    ("map full", "connections without bytes and RTT, because the kernel's map had no room for them"),
    ("behind", "how old the data on the screen is, because reading does not keep up"),
    ("5 of 9 match", "how many connections the filter shows"),
    ("RTT p50 p99", "of what the filter shows: half, and 99 %, of the samples since then were lower"),
])  # fmt: skip

_MARKS: Section = ("Colours and marks", [
    ("red", "do not trust the numbers: something was lost, missed, mended, or is behind"),
    ("amber", "the host has trouble: alerts, failures, resets, CLOSE_WAIT"),
    ("dim", "a connection that has ended"),
    ("▼ ▲", "the list is sorted by this column, largest or smallest first"),
    ("↑12 ↓3", "in view 6: 12 more, 3 fewer than a minute ago"),
    ("3 MORE →", "in view 6: three more states, which the right arrow brings"),
    ("░ ▒ ▓ █", "the RTT heat map: a cell is 5 seconds, darker means more samples; the scale is above it"),
    ("–", "unknown; never 0"),
    ("~", "in the log: found by comparing two polls, not seen when it happened"),
    ("*", "any: the remote end of a listener"),
    ("…", "something was cut or left out here"),
    ("%eth0", "the socket is bound to this device"),
])  # fmt: skip


def _columns() -> Section:
    named = [(field.title, field.meaning) for field in list_fields(RecordKinds.TABLE)]
    return "Columns (F2 chooses)", [(title, told) for title, told in named if title.lower() != told]


class HelpDialog(ModalScreen[None]):
    """What is seen, keys and filter language.

    Args:
        bindings: title and bindings of each part of the screen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,question_mark,h,f10", "dismiss(None)", "Close", tooltip="Close the help")
    ]

    def __init__(self, bindings: Iterable[tuple[str, list[Binding]]]) -> None:
        super().__init__()
        fields = [(field.example, field.filter_help) for field in FIELDS]
        filters = ("Filter: spaces join (and), commas list (or), ! negates", fields)
        keys = [keys_section(*one) for one in bindings]
        # the keys that work everywhere first: somebody has pressed F1 for one of them
        self._sections = [*keys[:_EVERYWHERE], _HEADER, _MARKS, _columns(), *keys[_EVERYWHERE:], filters]

    def compose(self) -> ComposeResult:
        """One page that scrolls, in two columns where there is room."""
        with VerticalScroll(id="dialog") as page:
            page.border_title = "Help"
            page.border_subtitle = "Esc or h closes the help"
            with Horizontal(id="help"):
                for parts in _two_columns(self._sections):
                    with Vertical(classes="column"):
                        for part in parts:
                            yield Static(section_table(*part))


def _two_columns(parts: list[Section]) -> tuple[list[Section], list[Section]]:
    """Two columns of about the same length, in the order of ``parts``."""
    lengths = [len(lines) + 1 for _, lines in parts]
    first = min(range(len(parts)), key=lambda place: abs(sum(lengths[:place]) - sum(lengths[place:])))
    return parts[:first], parts[first:]


def keys_section(title: str, bindings: list[Binding]) -> Section:
    """All keys of each action, and what it does."""
    keys: dict[str, list[str]] = {}
    for binding in bindings:
        keys.setdefault(binding.tooltip or binding.description, []).append(binding.key)
    return title, [(key_names(names), told) for told, names in keys.items()]


def section_table(title: str, lines: list[tuple[str, str]]) -> RenderableType:
    """A title, and a line or more for each name."""
    heading = Text(title, "bold underline")
    table = Table(title=heading, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", min_width=13, max_width=24)
    table.add_column(ratio=1)
    table.expand = True
    for name, told in lines:
        table.add_row(Text(name), Text(told))
    return table
