"""View 6: the stuck-state board."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui import formats
from tcptop_tui.fields import BY_KEY, Field, FieldValues, RecordKinds, RowContext
from tcptop_tui.fields.formatters import as_is
from tcptop_tui.filters.process_names import process_filter
from tcptop_tui.model.board import BOARD_STATES, STUCK_STATES
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import State
from tcptop_tui.widgets.lists.columns import PlacedColumn, place_columns
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.lists.page import RowTexts
from tcptop_tui.widgets.panels.panel import empty_text
from tcptop_tui.widgets.state_style import STATE_CLASSES, state_style

_CELLS = 18
MORE = "more"
"""Key of the column that stands for the states that have no room; nothing can be sorted by it."""
_MORE_CELLS = 9


def _state_cell(state: State, rank: int) -> Field:
    """``214 ↑12   3h``: how many, how many more than a minute ago, and the oldest's age.

    The arrow is not the sort mark's.
    """

    def counts(subject: RowContext) -> FieldValues:
        count = subject.rows["count"][:, state]
        return FieldValues(count, count >= 0)

    def shown(subject: RowContext, column: FieldValues) -> list[str]:
        grown, began_ns = (subject.rows[name][:, state].tolist() for name in ("grown", "since_ns"))
        return [_cell(*one, subject.now_ns) for one in zip(column.values.tolist(), grown, began_ns, strict=True)]

    return Field(key=state.name.lower(), records=RecordKinds(0), read=counts, write=as_is, show=shown, title=state.name,
                 width=_CELLS, rank=rank, changes_with_time=True)  # fmt: skip


def _cell(count: int, grown: int, began_ns: int, now_ns: int) -> str:
    if not count:
        return ""
    growth = f"↑{grown:,}" if grown > 0 else f"↓{-grown:,}" if grown < 0 else ""
    age = formats.age_ns(now_ns - began_ns) if began_ns else formats.UNKNOWN
    return f"{count:,} {growth:<4} {age:>6}"


@lru_cache(maxsize=64)
def _more_column(hidden: tuple[State, ...], cells: int) -> Field:
    """What a process has in the states that are not on the screen: ``TIME_WAIT 349, LISTEN 2``, or ``+351``."""

    def shown(subject: RowContext, column: FieldValues) -> list[str]:
        del column
        return [
            _more(dict(zip(hidden, counts, strict=True))) for counts in subject.rows["count"][:, list(hidden)].tolist()
        ]

    def _more(counts: dict[State, int]) -> str:
        told = ", ".join(f"{state.name} {count:,}" for state, count in counts.items() if count)
        return told if len(told) <= cells else f"+{sum(counts.values()):,}"

    return Field(key=MORE, records=RecordKinds(0), write=as_is, show=shown, title=f"{len(hidden)} MORE →",
                 width=cells, right=False)  # fmt: skip


class BoardView(Listing):
    """Shows ``Frame.board``."""

    VIEW = 5
    HELP = "Connections by process and state: how many, how many more (↑) or fewer (↓) than a minute ago, oldest age."
    COLUMNS: ClassVar[tuple[Field, ...]] = (
        BY_KEY["comm"],
        BY_KEY["pid"],
        *(_state_cell(state, rank) for rank, state in enumerate(BOARD_STATES, start=1)),
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--sorted", "table--cursor", *STATE_CLASSES}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Connections", tooltip="Show the connections of the row")
    ]

    class Opened(Message):
        """The user wants to see what a row counts."""

        def __init__(self, wanted: str) -> None:
            self.filter = wanted
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._frame = Frame()
        self._empty: set[str] = set()

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self._frame = frame
        stuck = int(frame.board["count"][:, list(STUCK_STATES)].sum())
        counts = frame.board["count"].sum(axis=0)
        self._empty = {state.name.lower() for state in BOARD_STATES if not counts[state]}
        told = f"Stuck {stuck:,} connection{'' if stuck == 1 else 's'}" if stuck else "Nothing is stuck"
        owners = int((frame.board["pid"] != 0).sum())
        title = f"{told}, {owners:,} process{'' if owners == 1 else 'es'}"
        self.set_title(title if frame.snapshot.has_table else f"Stuck {formats.UNKNOWN}")
        order = np.arange(len(frame.board))
        by = frame.view_options.board
        told = empty_text(frame.snapshot, "no connection")
        look = (frame.view_options, frozenset(self._empty))
        self.show_sheet(ListContent(order, frame.board["id"], self._page, by.key, by.descending, told, look))

    @property
    def available_columns(self) -> tuple[Field, ...]:
        """Without the states that no process has a connection in: that is most of them."""
        return tuple(column for column in self.columns if column.key not in self._empty)

    @property
    def placed(self) -> tuple[PlacedColumn, ...]:
        """Where not all states have room, the last column tells what is in the others."""
        placed = super().placed
        if not self._hidden(placed):
            return placed
        exact = self.columns != self.COLUMNS
        room = max(1, self.size.width - _MORE_CELLS - 1)
        placed = place_columns(
            self.available_columns, self.PINNED, room, self._skip, exact=exact, sort=self._sheet.sort
        )
        left = placed[-1].left + placed[-1].width + 1 if placed else 0
        cells = self.size.width - left
        return (*placed, PlacedColumn(_more_column(self._hidden(placed), cells), left, cells))

    def _hidden(self, placed: tuple[PlacedColumn, ...]) -> tuple[State, ...]:
        """The states that → brings: those to the right, at first all that are not among ``placed``."""
        keys = [column.key for column in self.available_columns]
        there = {spot.column.key for spot in placed}
        last = max((place for place, key in enumerate(keys) if key in there), default=0)
        right = keys[last + 1 :] if self._skip else keys
        return tuple(state for state in BOARD_STATES if state.name.lower() in right and state.name.lower() not in there)

    def _page(self, rows: NDArray[np.intp]) -> RowTexts:
        return RowTexts(self._frame.board[rows], self._frame.snapshot.now_ns)

    def cell_style(self, row: int, key: str) -> Style | None:
        """States in their colours."""
        del row
        names = {state.name.lower(): state for state in BOARD_STATES}
        return state_style(self, names[key]) if key in names else None

    def action_open(self) -> None:
        """Show the connections that are stuck; all of the process when none is."""
        if self.selected_row is None:
            return
        row = self._frame.board[self.selected_row]
        owner = process_filter(int(row["pid"]), bytes(row["comm"])) or "!pid>0 !comm:/./"  # nobody's
        states = ",".join(state.name.lower() for state in STUCK_STATES if row["count"][state])
        self.post_message(self.Opened(" ".join(filter(None, [owner, f"state:{states}" if states else ""]))))
