"""F3: jump to what matches."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.panels.search_bar import NOT_FOUND, SearchBar
from tcptop_tui.widgets.panels.transitions import TransitionLog


class SearchActions(ViewApp):
    """Search as distinct from filter: nothing is hidden."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f3", "search", "Search", key_display="F3", priority=True),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only where there is a list; the open line has this key for the next match."""
        if action == "search":
            return self._searchable_list is not None and not self.panel(SearchBar).display
        return super().check_action(action, parameters)

    @property
    def _searchable_list(self) -> Listing | TransitionLog | None:
        """The log while it has the keys, or was searched last; else the view's list."""
        log = self.panel(TransitionLog)
        if log.has_focus or log.searching:
            return log
        lists = [one for one in (self.view, *self.view.query(Listing)) if isinstance(one, Listing)]
        return next(iter(lists), None)

    def action_search(self) -> None:
        """Open the search line."""
        if self._searchable_list is not None:
            self._searchable_list.begin_search()
            self._searchable_list.searching = True
            self.panel(SearchBar).open()

    @on(SearchBar.MatchRequested)
    def _search_requested(self, event: SearchBar.MatchRequested) -> None:
        if self._searchable_list is not None:
            # a log is read from its end
            upwards = isinstance(self._searchable_list, TransitionLog) and not event.below
            told = self._searchable_list.find(event.wanted, -event.step if upwards else event.step)
            self.panel(SearchBar).show_result(told, failed=told == NOT_FOUND)

    @on(SearchBar.Closed)
    def _search_closed(self) -> None:
        log = self.panel(TransitionLog)
        if log.searching:
            self.screen.set_focus(log)
        else:
            self.focus_view()
        for one in (*self.query(Listing), log):
            one.searching = False
