"""The filter language: one text that chooses connections, ended ones, and transitions.

In ``443 comm:nginx !state:time_wait rtt>10ms`` terms are joined by spaces (and), the values of a term by commas (or),
and ``!`` before a term negates it. ``FIELDS`` has all fields. What is not known matches no comparison. ``!`` gives the
exact complement, so that ``!rtt>10ms`` matches connections without a sample.
"""

from tcptop_tui.fields import RowContext
from tcptop_tui.filters.errors import FilterError
from tcptop_tui.filters.fields import FIELDS
from tcptop_tui.filters.parse import MATCH_ALL, Filter, parse, parse_ports
from tcptop_tui.filters.saved_filters import expand_saved

__all__ = [
    "FIELDS",
    "MATCH_ALL",
    "Filter",
    "FilterError",
    "RowContext",
    "expand_saved",
    "parse",
    "parse_ports",
]
