"""SGR: what a style is on the terminal, and the shortest way from one to the next (ECMA-48 8.3.117)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

_EXTENDED = {"38", "48"}
_SHOWS_ON_BLANKS = frozenset({"4", "7", "9", "21", "51", "52", "53"})
"""Attributes that a blank shows: underline, reverse, strike and the like."""


@dataclass(frozen=True, slots=True)
class Pen:
    """A style as SGR parameters."""

    attributes: frozenset[str] = frozenset()
    foreground: str = ""
    """As ``38;5;32``; empty: the terminal's own."""
    background: str = ""

    @property
    def parameters(self) -> str:
        """All of them, after a reset."""
        return ";".join(filter(None, [*sorted(self.attributes), self.foreground, self.background]))

    def on_blanks(self) -> Pen:
        """What of it can be seen where there is no character."""
        if self.attributes & _SHOWS_ON_BLANKS:
            return self
        return Pen(background=self.background)


PLAIN = Pen()


@lru_cache(maxsize=4096)
def parse_sgr(parameters: str) -> Pen:
    """The style that ``ESC [ parameters m`` gives to a terminal that was plain before."""
    parts = parameters.split(";")
    attributes: set[str] = set()
    foreground = background = ""
    place = 0
    while place < len(parts):
        length = 1
        if parts[place] in _EXTENDED:
            length = 5 if parts[place + 1 : place + 2] == ["2"] else 3
        code, value = parts[place], ";".join(parts[place : place + length])
        place += length
        if code in {"", "0"}:
            attributes, foreground, background = set(), "", ""
        elif _is_foreground(code):
            foreground = "" if code == "39" else value
        elif _is_background(code):
            background = "" if code == "49" else value
        else:
            attributes.add(code)
    return Pen(frozenset(attributes), foreground, background)


def _is_foreground(code: str) -> bool:
    return len(code) == 2 and code[0] in "39"


def _is_background(code: str) -> bool:
    return (len(code) == 2 and code[0] == "4") or (len(code) == 3 and code.startswith("10"))


def start_with(pen: Pen) -> str:
    """The sequence that makes ``pen`` of whatever the terminal had."""
    return f"\x1b[0;{pen.parameters}m" if pen.parameters else "\x1b[m"


@lru_cache(maxsize=4096)
def transition(before: Pen, after: Pen) -> str:
    """The shortest sequence that makes ``after`` of ``before``."""
    if before == after:
        return ""
    whole = start_with(after)
    if before.attributes - after.attributes:
        return whole
    steps = sorted(after.attributes - before.attributes)
    if before.foreground != after.foreground:
        steps.append(after.foreground or "39")
    if before.background != after.background:
        steps.append(after.background or "49")
    delta = f"\x1b[{';'.join(steps)}m"
    return min(delta, whole, key=len)
