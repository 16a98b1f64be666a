"""Everything that is known of a connection, one definition each.

A ``Field`` says where a value is read, when it is known, how it is sorted, shown, parsed in a filter and written to
documents. Lists, filters, snapshots, streams, help and docs are loops over ``FIELDS``.
"""

from tcptop_tui.fields import formatters
from tcptop_tui.fields.field import Field, RecordKinds, ValueKind
from tcptop_tui.fields.registry import BY_KEY, FIELDS, document_fields, list_fields
from tcptop_tui.fields.row_context import FieldValues, RowContext

__all__ = [
    "BY_KEY",
    "FIELDS",
    "Field",
    "FieldValues",
    "RecordKinds",
    "RowContext",
    "ValueKind",
    "document_fields",
    "formatters",
    "list_fields",
]
