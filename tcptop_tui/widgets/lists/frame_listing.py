"""A list of rows of a frame: keeps the latest frame, and paints what of it is the list's own."""

from __future__ import annotations

from tcptop_tui.fields import Field, RowContext
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.list_rows import ListRows
from tcptop_tui.widgets.lists.listing import Listing


class FrameListing(Listing):
    """Base of the lists that are made from a frame.

    Args:
        hosts: host and service names, which the user can have shown; None: the list shows no addresses.
    """

    def __init__(self, hosts: HostNames | None = None, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts
        self._frame = Frame()

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self._frame = frame
        self.show_content(self._make_content(frame))

    def _make_content(self, frame: Frame) -> ListContent:
        """Set the title, and return what the list shows of ``frame``."""
        raise NotImplementedError

    def title(self, column: Field) -> str:
        """The column's title, with the unit that round-trip times are shown in."""
        return column.title_with_unit(self._frame.view_options.rtt_unit)

    def _list_rows(self, context: RowContext) -> ListRows:
        """``context`` with the units and names that the user wants."""
        return ListRows.from_context(context, self._frame.view_options, self._hosts)
