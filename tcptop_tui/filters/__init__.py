"""The filter language: one text that chooses connections, ended ones, and transitions.

``443 comm:nginx !state:time_wait rtt>10ms`` reads: terms joined by spaces (and), the parts of a
term by commas (or), ``!`` before a term negates it. ``FIELDS`` has all fields. What is not known
matches no comparison; ``!`` turns a term's answer round as it is, so ``!rtt>10ms`` includes the
connections without a sample.
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
