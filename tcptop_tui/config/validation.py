"""Takes the valid settings out of a TOML document: a wrong value costs that value, not the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tcptop_tui.config.schema import ColumnChoice, Config


def valid_settings(document: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """The settings of ``document``, and a complaint (where, why) for each value that the default replaces."""
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for field in msgspec.structs.fields(Config):
        if field.name not in document:
            continue
        given = document[field.name]
        try:
            values[field.name] = msgspec.convert(given, field.type)
        except msgspec.ValidationError as error:
            if field.name in {"columns", "filters"} and isinstance(given, dict):
                continue  # part by part, below
            wrong.append(_complaint(field.name, error))
    if "columns" not in values and isinstance(document.get("columns"), dict):
        values["columns"] = _columns(document, wrong)
    if "filters" not in values and isinstance(document.get("filters"), dict):
        values["filters"] = _filters(document["filters"], wrong)
    return Config(**values), wrong


def column_choices(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every entry of the lists of columns, with its location, as in ``columns.sessions[2]``."""
    lists = document.get("columns")
    for name, choices in lists.items() if isinstance(lists, dict) else ():
        for index, choice in enumerate(choices if isinstance(choices, list) else ()):
            yield f"columns.{name}[{index}]", choice


def _columns(document: Mapping[str, Any], wrong: list[str]) -> dict[str, tuple[ColumnChoice, ...]]:
    """The lists without columns that cannot be read; a wrong width is the column's own. Complaints go to ``wrong``."""
    columns: dict[str, list[ColumnChoice]] = {}
    for name, choices in document["columns"].items():
        if isinstance(choices, list):
            columns[name] = []
        else:
            wrong.append(f"columns.{name}: it is not a list")
    for location, given in column_choices(document):
        choice, complaint = _column(given)
        if choice is not None:
            columns[location.removeprefix("columns.").rpartition("[")[0]].append(choice)
        if complaint:
            wrong.append(f"{location}: {complaint}")
    return {name: tuple(choices) for name, choices in columns.items()}


def _column(given: Any) -> tuple[ColumnChoice | None, str]:
    try:
        return msgspec.convert(given, ColumnChoice), ""
    except msgspec.ValidationError as error:
        key = given.get("key") if isinstance(given, dict) else None
        return ColumnChoice(key) if isinstance(key, str) else None, _line(error)


def _filters(given: Mapping[str, Any], wrong: list[str]) -> dict[str, str]:
    wrong += [f"filters.{name}: it is not a text" for name, value in given.items() if not isinstance(value, str)]
    return {name: value for name, value in given.items() if isinstance(value, str)}


def _complaint(name: str, error: Exception) -> str:
    return f"{name}: {_line(error)}"


def _line(error: Exception) -> str:
    """Msgspec's message in one line, without its capital letter."""
    text = " ".join(str(error).split())
    return text[:1].lower() + text[1:]
