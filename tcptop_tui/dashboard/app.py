"""The application: all keys together, and the help made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.widget import Widget
from textual.widgets import Input

from tcptop_tui.dashboard.actions.alerts import AlertActions
from tcptop_tui.dashboard.actions.close import CloseActions
from tcptop_tui.dashboard.actions.copy import CopyActions
from tcptop_tui.dashboard.actions.export import ExportActions
from tcptop_tui.dashboard.actions.filter import FilterActions
from tcptop_tui.dashboard.actions.inspect import PauseAndOpenActions
from tcptop_tui.dashboard.actions.names import NameActions
from tcptop_tui.dashboard.actions.numbers import DisplayActions
from tcptop_tui.dashboard.actions.search import SearchActions
from tcptop_tui.dashboard.actions.setup import SetupActions
from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.drawing.driver import DiffDriver
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.dialogs.close import CloseDialog
from tcptop_tui.widgets.dialogs.export import ExportDialog
from tcptop_tui.widgets.dialogs.help import HelpDialog
from tcptop_tui.widgets.dialogs.palette import ActionProvider
from tcptop_tui.widgets.dialogs.saved_filters import SavedFiltersDialog
from tcptop_tui.widgets.dialogs.setup import ColumnList, SetupDialog
from tcptop_tui.widgets.dialogs.sort import SortDialog
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.panels.alerts import AlertStrip
from tcptop_tui.widgets.panels.filter_bar import FilterBar, FilterInput
from tcptop_tui.widgets.panels.search_bar import SearchBar
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.views.board import BoardView
from tcptop_tui.widgets.views.connections import ConnectionTable
from tcptop_tui.widgets.views.connects import ConnectsTable, DestinationsTable
from tcptop_tui.widgets.views.ended import EndedTable
from tcptop_tui.widgets.views.ping import PingView
from tcptop_tui.widgets.views.rtt import RttView

_KEYS = (
    ViewApp,
    FilterActions,
    SearchActions,
    PauseAndOpenActions,
    AlertActions,
    DisplayActions,
    NameActions,
    SetupActions,
    ExportActions,
    CopyActions,
    CloseActions,
)
"""Whose keys work on the whole main screen."""

_GROUPS: tuple[tuple[str, frozenset[str]], ...] = (
    ("General", frozenset({
        "help", "redraw", "command_palette", "suspend_process", "quit", "pause", "pace",
    })),
    ("Views and panels", frozenset({
        "view", "log", "alerts", "rtt_parts", "app.focus_next", "app.focus_previous",
    })),
    ("Filter and search", frozenset({"filter", "saved_filters", "search", "time_wait", "hide_own", "pin"})),
    ("Sort, group, columns", frozenset({
        "pick_sort", "sort_next", "invert", "group", "setup", "names", "rtt_unit",
    })),
    ("Export, copy, clear", frozenset({"export", "copy", "clear"})),
    ("Close a connection", frozenset({"close_connection"})),
)  # fmt: skip
"""Titles in the help, and the actions that stand below them: what people look for, not how the code has it."""

_HELP_SECTIONS: tuple[tuple[str, tuple[type[Widget | DetailScreen], ...]], ...] = (
    ("Lists", (Listing,)),
    ("Connections", (ConnectionTable,)),
    ("One connection", (DetailScreen,)),
    ("Connects, closed connections", (ConnectsTable, DestinationsTable, EndedTable)),
    ("Round-trip times", (RttView,)),
    ("Ping", (PingView,)),
    ("Stuck states", (BoardView,)),
    ("Alerts", (AlertStrip,)),
    ("Transitions", (TransitionLog,)),
    ("Filter line", (FilterBar, FilterInput)),
    ("Search line", (SearchBar,)),
    ("Setup (F2)", (SetupDialog, ColumnList)),
    ("Saved filters (f)", (SavedFiltersDialog,)),
    ("Sort (F6), export (e), close (F9)", (SortDialog, ExportDialog, CloseDialog)),
    ("Help (F1)", (HelpDialog,)),
)
"""Titles in the help, and the widgets whose bindings stand below them."""

_PRIORITY_ACTIONS = frozenset({"filter", "export", "search", "alerts", "saved_filters", "view"})


class TcptopApp(
    FilterActions,
    SearchActions,
    PauseAndOpenActions,
    AlertActions,
    DisplayActions,
    NameActions,
    SetupActions,
    ExportActions,
    CopyActions,
    CloseActions,
):
    """The dashboard with its keys: each base class has those of one subject."""

    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {ActionProvider}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark,h", "help", "Help", key_display="F1"),
        Binding("ctrl+l", "redraw", "Redraw the screen", show=False),
        Binding("ctrl+p", "command_palette", "Search all commands", show=False),
        Binding("ctrl+z", "suspend_process", "Suspend to the shell; fg resumes", show=False, priority=True),
        Binding("q,f10,ctrl+c", "quit", "Quit", key_display="F10"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is typed, letters are letters.

        The keys that give the keys to somebody else have priority: only so has he them before the
        next key of a fast hand is looked at.
        """
        if action in _PRIORITY_ACTIONS and (isinstance(self.focused, Input) or len(self.screen_stack) > 1):
            return False
        return super().check_action(action, parameters)

    async def action_help(self) -> None:
        """Show every key, from the bindings that are in force."""
        await self.push_screen(HelpDialog(self._bindings_by_section()))

    def action_redraw(self) -> None:
        """Draw everything again: something else has written on the terminal."""
        if isinstance(self._driver, DiffDriver):
            self._driver.redraw()

    def _bindings_by_section(self) -> Iterator[tuple[str, list[Binding]]]:
        keys = [binding for part in (TcptopApp, *_KEYS) for binding in self._described(part)]
        for title, actions in _GROUPS:
            found = [binding for binding in keys if binding.action.partition("(")[0] in actions]
            if found:
                yield title, found
        for title, parts in _HELP_SECTIONS:
            yield title, [binding for part in parts for binding in self._described(part)]

    def _described(self, part: type[Widget | ViewApp | DetailScreen]) -> Iterator[Binding]:
        """The bindings of a class that say what they do; none of what ``--readonly`` does not let."""
        if part is not CloseActions or not self._settings.readonly:
            yield from (binding for binding in Binding.make_bindings(part.BINDINGS) if binding.description)
