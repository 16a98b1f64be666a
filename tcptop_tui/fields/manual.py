"""Makes docs/fields.md, the table of all fields; a test compares the file with it."""

from __future__ import annotations

from tcptop_tui.fields.field import Field, RecordKinds
from tcptop_tui.fields.registry import FIELDS

_HEAD = """\
# Fields

Made from `tcptop_tui/fields/registry.py`; a test compares them. JSON and CSV have the first name, lists the column, the
filter language the names under *filter*. *in*: documents have it of connections (t: table), ended ones (e), state
transitions (s), connects (c). What is not known is null, empty in CSV and `–` on the screen, matches no filter and is
sorted last. † marks optional columns. ‡ marks those that are read from sock_diag only while a column, the order, the
filter or an export needs them; `details_age_s` says how old they are. Streams do not read them.

| JSON, CSV | column | filter | in | the kernel's | what it is |
| --- | --- | --- | --- | --- | --- |
"""
_LETTERS = {RecordKinds.TABLE: "t", RecordKinds.ENDED: "e", RecordKinds.TRANSITIONS: "s", RecordKinds.CONNECTS: "c"}


def manual() -> str:
    """The page as Markdown."""
    return _HEAD + "".join(f"| {' | '.join(_cells(field))} |\n" for field in FIELDS)


def _cells(field: Field) -> list[str]:
    marks = "‡" if field.detail else "†" if field.optional else ""
    names = " ".join(f"`{name}`" for name in field.names)
    kinds = "".join(letter for records, letter in _LETTERS.items() if field.records & records)
    meaning = field.filter_help or field.meaning
    return [f"`{field.json}`" if field.json else "", field.title + marks, names, kinds, field.source, meaning]
