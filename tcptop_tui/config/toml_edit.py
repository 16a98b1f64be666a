"""Changes values in a TOML text of the user's; comments, line ends and all else in it stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT


def edit_toml(text: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """``text`` with what differs between ``before`` and ``after`` written into it.

    Raises:
        ValueError: ``text`` is not TOML, or has another kind of value in the place of a table.
    """
    try:
        document = tomlkit.parse(text)
        _merge(document, before, after)
        return _with_line_ends_of(text, tomlkit.dumps(document))
    except TOMLKitError as error:
        raise ValueError(str(error)) from error


def _with_line_ends_of(before: str, after: str) -> str:
    """``after`` with the line ends of ``before``, where these are all CR LF."""
    if "\n" in before and before.count("\n") == before.count("\r\n"):
        return after.replace("\r\n", "\n").replace("\n", "\r\n")
    return after


def _merge(document: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for name, value in after.items():
        if value == before.get(name):
            continue
        present = document.get(name)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(present, before.get(name, {}), value)
        elif isinstance(present, AoT):
            document[name] = _array_of_tables(present, value)
        else:
            document[name] = value
    for name in before.keys() - after.keys():
        document.pop(name, None)


def _array_of_tables(present: AoT, values: Sequence[Mapping[str, Any]]) -> AoT:
    """A table for each of ``values``; a table of ``present`` with the same ``key`` stays, with its comments."""
    tables_by_key = {table.get("key"): table for table in present}
    tables = tomlkit.aot()
    for value in values:
        table = tables_by_key.pop(value["key"], None) or tomlkit.table()
        for name, item in value.items():
            if table.get(name, 0) != item:  # a width of 0 is the default and is left out
                table[name] = item
        tables.append(table)
    return tables
