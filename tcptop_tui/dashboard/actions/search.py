"""F3: search in the list or in the log."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.panels.search_bar import NOT_FOUND, SearchBar
from tcptop_tui.widgets.panels.transitions import TransitionLog


class SearchActions(ViewApp):
    """Opens the search line, and takes its searches to the list or the log. Unlike a filter a search hides nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f3", "search", "Search", key_display="F3", priority=True),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Allow F3 where there is a list. While the search line is open, F3 is its own key for the next match."""
        if action == "search":
            return self._searchable_list is not None and not self.panel(SearchBar).display
        return super().check_action(action, parameters)

    @property
    def _searchable_list(self) -> Listing | TransitionLog | None:
        """The log while it has the focus or is searched; else the view's list; None: the view has none."""
        log = self.panel(TransitionLog)
        if log.has_focus or log.is_searched:
            return log
        return next(iter(self.view_lists), None)

    def action_search(self) -> None:
        """Open the search line."""
        if self._searchable_list is not None:
            self._searchable_list.begin_search()
            self.panel(SearchBar).open()

    @on(SearchBar.MatchRequested)
    def _search_requested(self, event: SearchBar.MatchRequested) -> None:
        if self._searchable_list is not None:
            # a log is read from its end
            is_upwards = isinstance(self._searchable_list, TransitionLog) and not event.is_downwards
            result = self._searchable_list.find(event.search, -event.step if is_upwards else event.step)
            self.panel(SearchBar).show_result(result, failed=result == NOT_FOUND)

    @on(SearchBar.Closed)
    def _search_closed(self) -> None:
        log = self.panel(TransitionLog)
        if log.is_searched:
            self.screen.set_focus(log)
        else:
            self.focus_view()
        for searchable in (*self.query(Listing), log):
            searchable.end_search()
