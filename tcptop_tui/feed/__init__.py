"""The feed: chooses the source and runs it, and asks the host what no batch says.

``feed`` has the choice of the source, ``host_requests`` what is asked of the host besides: details of one socket,
closing a socket, the ping probe. ``source_run`` opens and runs a source for both.
"""

from tcptop_tui.feed.feed import Backend, Feed
from tcptop_tui.feed.host_requests import HostRequests
from tcptop_tui.feed.source_run import error_text

__all__ = ["Backend", "Feed", "HostRequests", "error_text"]
