"""View 6, the board: a row for each process, a column for each state that connections get stuck in."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from textual.binding import Binding, BindingType

from tcptop_tui import formats
from tcptop_tui.fields import BY_KEY, Field, FieldValues, RecordKinds, RowContext
from tcptop_tui.fields.formatters import as_is
from tcptop_tui.filters.process_names import process_filter
from tcptop_tui.model.board import BOARD_STATES, STUCK_STATES
from tcptop_tui.model.frame import Frame
from tcptop_tui.records import State
from tcptop_tui.widgets.lists.columns import PlacedColumn, place_columns
from tcptop_tui.widgets.lists.frame_listing import FrameListing
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.list_rows import ListRows
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.panels.panel import empty_text
from tcptop_tui.widgets.state_style import STATE_CLASSES, state_style

_CELLS = 18
MORE = "more"
"""Key of the column that stands for the states that have no room; nothing can be sorted by it."""
_MORE_CELLS = 9


def _state_field(state: State, rank: int) -> Field:
    """``214 ↑12   3h``: number of connections, how many more than a minute ago, and the oldest one's age.

    The arrow differs from the sort mark.
    """

    def read_counts(context: RowContext) -> FieldValues:
        counts = context.rows["count"][:, state]
        return FieldValues(counts, counts >= 0)

    def show_counts(context: RowContext, counts: FieldValues) -> list[str]:
        growths, since_ns = (context.rows[name][:, state].tolist() for name in ("grown", "since_ns"))
        return [
            _state_text(*row, context.now_ns) for row in zip(counts.values.tolist(), growths, since_ns, strict=True)
        ]

    return Field(key=state.name.lower(), records=RecordKinds(0), read=read_counts, write=as_is, show=show_counts,
                 title=state.name, width=_CELLS, rank=rank, changes_with_time=True)  # fmt: skip


def _state_text(count: int, growth: int, since_ns: int, now_ns: int) -> str:
    if not count:
        return ""
    arrow = f"↑{growth:,}" if growth > 0 else f"↓{-growth:,}" if growth < 0 else ""
    age = formats.age_ns(now_ns - since_ns) if since_ns else formats.UNKNOWN
    return f"{count:,} {arrow:<4} {age:>6}"


@lru_cache(maxsize=64)
def _more_column(hidden: tuple[State, ...], cells: int) -> Field:
    """A process's connections in states that are not on the screen: ``TIME_WAIT 349, LISTEN 2``, or ``+351``."""

    def show_hidden(context: RowContext, values: FieldValues) -> list[str]:
        del values
        return [
            _counts_text(dict(zip(hidden, counts, strict=True)))
            for counts in context.rows["count"][:, list(hidden)].tolist()
        ]

    def _counts_text(counts: dict[State, int]) -> str:
        text = ", ".join(f"{state.name} {count:,}" for state, count in counts.items() if count)
        return text if len(text) <= cells else f"+{sum(counts.values()):,}"

    return Field(key=MORE, records=RecordKinds(0), write=as_is, show=show_hidden, title=f"{len(hidden)} MORE →",
                 width=cells, right=False)  # fmt: skip


class BoardView(FrameListing):
    """Shows ``Frame.board``."""

    VIEW = 5
    HELP = "Connections by process and state: how many, how many more (↑) or fewer (↓) than a minute ago, oldest age."
    COLUMNS: ClassVar[tuple[Field, ...]] = (
        BY_KEY["comm"],
        BY_KEY["pid"],
        *(_state_field(state, rank) for rank, state in enumerate(BOARD_STATES, start=1)),
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {*STATE_CLASSES}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Connections", tooltip="Show the connections of the row")
    ]

    class Opened(Listing.ConnectionsRequested):
        """A row of the board was opened."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._empty_keys: set[str] = set()
        """Keys of the columns of states in which no process has a connection."""

    def _make_content(self, frame: Frame) -> ListContent:
        board, options = frame.board, frame.view_options
        totals = board["count"].sum(axis=0)
        self._empty_keys = {state.name.lower() for state in BOARD_STATES if not totals[state]}
        stuck = int(board["count"][:, list(STUCK_STATES)].sum())
        stuck_text = f"Stuck {stuck:,} connection{'' if stuck == 1 else 's'}" if stuck else "Nothing is stuck"
        owners = int((board["pid"] != 0).sum())
        title = f"{stuck_text}, {owners:,} process{'' if owners == 1 else 'es'}"
        self.set_title(title if frame.snapshot.has_table else f"Stuck {formats.UNKNOWN}")
        return ListContent(
            np.arange(len(board)),
            board["id"],
            self._select_rows,
            options.orders["board"],
            empty_text(frame.snapshot, "no connection"),
            (options, frozenset(self._empty_keys)),
        )

    @property
    def available_columns(self) -> tuple[Field, ...]:
        """Those of ``columns`` that any process has a connection in; most states have none."""
        return tuple(column for column in self.columns if column.key not in self._empty_keys)

    @property
    def placed_columns(self) -> tuple[PlacedColumn, ...]:
        """The columns on the screen. Where not all states fit, the last column counts those in the other states."""
        columns = super().placed_columns
        if not self._hidden_states(columns):
            return columns
        columns = place_columns(
            self.available_columns,
            self.PINNED,
            max(1, self.size.width - _MORE_CELLS - 1),
            self._skip,
            exact=self.columns != self.COLUMNS,
            sort=self._content.sort_key,
        )
        left = columns[-1].left + columns[-1].width + 1 if columns else 0
        cells = self.size.width - left
        return (*columns, PlacedColumn(_more_column(self._hidden_states(columns), cells), left, cells))

    def _hidden_states(self, columns: tuple[PlacedColumn, ...]) -> tuple[State, ...]:
        """The states that → brings: those right of ``columns``; before → was pressed, all that are not among them."""
        keys = [column.key for column in self.available_columns]
        visible_keys = {placed.column.key for placed in columns}
        last = max((number for number, key in enumerate(keys) if key in visible_keys), default=0)
        hidden_keys = {*(keys[last + 1 :] if self._skip else keys)} - visible_keys
        return tuple(state for state in BOARD_STATES if state.name.lower() in hidden_keys)

    def _select_rows(self, rows: NDArray[np.intp]) -> ListRows:
        return ListRows(self._frame.board[rows], self._frame.snapshot.now_ns)

    def cell_style(self, row: int, key: str) -> Style | None:
        """The colours of states."""
        del row
        states = {state.name.lower(): state for state in BOARD_STATES}
        return state_style(self, states[key]) if key in states else None

    def action_open(self) -> None:
        """Show the connections of the process that are stuck; all of them when none is."""
        if self.selected_row is None:
            return
        row = self._frame.board[self.selected_row]
        owner = process_filter(int(row["pid"]), bytes(row["comm"])) or "!pid>0 !comm:/./"  # without an owner
        states = ",".join(state.name.lower() for state in STUCK_STATES if row["count"][state])
        terms = filter(None, [owner, f"state:{states}" if states else ""])
        self.post_message(self.Opened(" ".join(terms)))
