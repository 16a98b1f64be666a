"""The application: all keys together, and the help made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.widget import Widget
from textual.widgets import Input

from tcptop_tui.dashboard.actions.alerts import Alarming
from tcptop_tui.dashboard.actions.close import Closing
from tcptop_tui.dashboard.actions.copy import Copying
from tcptop_tui.dashboard.actions.export import Exporting
from tcptop_tui.dashboard.actions.filter import Filtering
from tcptop_tui.dashboard.actions.inspect import Looking
from tcptop_tui.dashboard.actions.names import Naming
from tcptop_tui.dashboard.actions.numbers import Adjusting
from tcptop_tui.dashboard.actions.search import Searching
from tcptop_tui.dashboard.actions.setup import Setup
from tcptop_tui.dashboard.views import ViewsApp
from tcptop_tui.drawing.driver import ThinDriver
from tcptop_tui.widgets.details.page import DetailScreen
from tcptop_tui.widgets.dialogs.close import CloseDialog
from tcptop_tui.widgets.dialogs.export import ExportDialog
from tcptop_tui.widgets.dialogs.help import HelpScreen
from tcptop_tui.widgets.dialogs.palette import Actions
from tcptop_tui.widgets.dialogs.saved_filters import SavedFilters
from tcptop_tui.widgets.dialogs.setup import ColumnList, SetupScreen
from tcptop_tui.widgets.dialogs.sort import SortDialog
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.panels.alerts import AlertStrip
from tcptop_tui.widgets.panels.filter_bar import FilterBar, FilterInput
from tcptop_tui.widgets.panels.search_bar import SearchBar
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.views.board import BoardView
from tcptop_tui.widgets.views.connections import ConnectionTable
from tcptop_tui.widgets.views.connects import ConnectsTable, Destinations
from tcptop_tui.widgets.views.ended import SessionsTable
from tcptop_tui.widgets.views.ping import PingView
from tcptop_tui.widgets.views.rtt import RttView

_KEYS = (ViewsApp, Filtering, Searching, Looking, Alarming, Adjusting, Naming, Setup, Exporting, Copying, Closing)
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

_PARTS: tuple[tuple[str, tuple[type[Widget | DetailScreen], ...]], ...] = (
    ("Lists", (Listing,)),
    ("Connections", (ConnectionTable,)),
    ("One connection", (DetailScreen,)),
    ("Connects, closed connections", (ConnectsTable, Destinations, SessionsTable)),
    ("Round-trip times", (RttView,)),
    ("Ping", (PingView,)),
    ("Stuck states", (BoardView,)),
    ("Alerts", (AlertStrip,)),
    ("Transitions", (TransitionLog,)),
    ("Filter line", (FilterBar, FilterInput)),
    ("Search line", (SearchBar,)),
    ("Setup (F2)", (SetupScreen, ColumnList)),
    ("Saved filters (f)", (SavedFilters,)),
    ("Sort (F6), export (e), close (F9)", (SortDialog, ExportDialog, CloseDialog)),
    ("Help (F1)", (HelpScreen,)),
)
"""Titles in the help, and the widgets whose bindings stand below them."""

_AT_ONCE = frozenset({"filter", "export", "search", "alerts", "saved_filters", "view"})


class TcptopApp(Filtering, Searching, Looking, Alarming, Adjusting, Naming, Setup, Exporting, Copying, Closing):
    """The dashboard with its keys: each base class has those of one subject."""

    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {Actions}
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
        if action in _AT_ONCE and (isinstance(self.focused, Input) or len(self.screen_stack) > 1):
            return False
        return super().check_action(action, parameters)

    async def action_help(self) -> None:
        """Show every key, from the bindings that are in force."""
        await self.push_screen(HelpScreen(self._bindings_by_part()))

    def action_redraw(self) -> None:
        """Draw everything again: something else has written on the terminal."""
        if isinstance(self._driver, ThinDriver):
            self._driver.redraw()

    def _bindings_by_part(self) -> Iterator[tuple[str, list[Binding]]]:
        keys = [binding for part in (TcptopApp, *_KEYS) for binding in self._described(part)]
        for title, actions in _GROUPS:
            found = [binding for binding in keys if binding.action.partition("(")[0] in actions]
            if found:
                yield title, found
        for title, parts in _PARTS:
            yield title, [binding for part in parts for binding in self._described(part)]

    def _described(self, part: type[Widget | ViewsApp | DetailScreen]) -> Iterator[Binding]:
        """The bindings of a class that say what they do; none of what ``--readonly`` does not let."""
        if part is not Closing or not self._settings.readonly:
            yield from (binding for binding in Binding.make_bindings(part.BINDINGS) if binding.description)
