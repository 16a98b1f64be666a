"""The filter language: one text that chooses connections, ended ones, and transitions.

``443 comm:nginx !state:time_wait rtt>10ms`` reads: terms joined by spaces (and), values by commas
(or), ``!`` negates. ``FIELDS`` has the whole of it.
"""

from tcptop_tui.filters.fields import FIELDS, Field
from tcptop_tui.filters.parse import MATCH_ALL, Filter, FilterError, parse, parse_ports
from tcptop_tui.filters.subject import Subject

__all__ = ["FIELDS", "MATCH_ALL", "Field", "Filter", "FilterError", "Subject", "parse", "parse_ports"]
