"""Private parts of Textual that ``drawing/`` uses: a Textual without them fails here, with their names.

pyproject.toml allows one minor version of Textual; a move to the next one begins with this test.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

ATTRIBUTES = ["_app", "_loop", "_file", "_must_signal_resume", "_writer_thread"]
METHODS: list[tuple[Callable[..., Any], list[str]]] = [
    (LinuxDriver._get_terminal_size, ["self"]),
    (LinuxDriver._sigtstp_application, ["self", "_"]),
    (LinuxDriver._sigcont_application, ["self", "_"]),
    (XTermParser.feed, ["self", "data"]),
]


def assigned_attributes(*classes: type) -> set[str]:
    """Attributes of self that the constructors of these classes assign."""
    found = set()
    for one in classes:
        tree = ast.parse(textwrap.dedent(inspect.getsource(one.__init__)))  # type: ignore[misc]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return found


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_the_driver_has_what_ours_uses(name: str) -> None:
    assert name in assigned_attributes(LinuxDriver, Driver), f"Textual's LinuxDriver has no {name} any more"


@pytest.mark.parametrize(("method", "parameters"), METHODS, ids=lambda value: getattr(value, "__qualname__", ""))
def test_methods_are_called_as_they_are_declared(method: Callable[..., Any], parameters: list[str]) -> None:
    assert list(inspect.signature(method).parameters) == parameters
