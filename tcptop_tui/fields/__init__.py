"""Everything that is known of a connection, one definition each.

A ``Field`` says where a value is read, when it is known, how it is sorted, shown, parsed in a filter and written to
documents. Lists, filters, snapshots, streams, help and docs are loops over ``FIELDS``.
"""

from tcptop_tui.fields import forms
from tcptop_tui.fields.field import Field, Parse, Records
from tcptop_tui.fields.registry import BY_KEY, FIELDS, documented, listed
from tcptop_tui.fields.subject import Column, Subject

__all__ = ["BY_KEY", "FIELDS", "Column", "Field", "Parse", "Records", "Subject", "documented", "forms", "listed"]
