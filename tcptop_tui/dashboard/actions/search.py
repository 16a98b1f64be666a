"""F3: jump to what matches."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewsApp
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.panels.search_bar import NOT_FOUND, SearchBar
from tcptop_tui.widgets.panels.transitions import TransitionLog


class Searching(ViewsApp):
    """Search as distinct from filter: nothing is hidden."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f3", "search", "Search", key_display="F3", priority=True),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only where there is a list; the open line has this key for the next match."""
        if action == "search":
            return self._list is not None and not self.panel(SearchBar).display
        return super().check_action(action, parameters)

    @property
    def _list(self) -> Listing | TransitionLog | None:
        """The log while it has the keys, or was searched last; else the view's list."""
        log = self.panel(TransitionLog)
        if log.has_focus or log.searching:
            return log
        lists = [one for one in (self.view, *self.view.query(Listing)) if isinstance(one, Listing)]
        return next(iter(lists), None)

    def action_search(self) -> None:
        """Open the search line."""
        if self._list is not None:
            self._list.begin_search()
            self._list.searching = True
            self.panel(SearchBar).open()

    @on(SearchBar.Wanted)
    def _search_wanted(self, event: SearchBar.Wanted) -> None:
        if self._list is not None:
            # a log is read from its end
            upwards = isinstance(self._list, TransitionLog) and not event.below
            told = self._list.find(event.wanted, -event.step if upwards else event.step)
            self.panel(SearchBar).say(told, failed=told == NOT_FOUND)

    @on(SearchBar.Closed)
    def _search_closed(self) -> None:
        log = self.panel(TransitionLog)
        if log.searching:
            self.screen.set_focus(log)
        else:
            self.focus_view()
        for one in (*self.query(Listing), log):
            one.searching = False
