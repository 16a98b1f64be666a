"""No byte of a paste is a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.events import Paste

from tcptop_tui.drawing.pastes import PasteParser

BEGIN, END = "\x1b[200~", "\x1b[201~"


def parts(*pieces: str) -> list[str]:
    """Keys as they are, joined; each paste in brackets."""
    pastes, found = PasteParser(), [""]
    for part in (*(part for piece in pieces for part in pastes.feed(piece)), *pastes.flush()):
        if isinstance(part, Paste):
            found += [f"[{part.text}]", ""]
        else:
            found[-1] += part
    return [part for part in found if part]


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        (["ab", "c"], ["abc"]),
        ([f"a{BEGIN}\x1bq\x03\x1b[A{END}b"], ["a", "[\x1bq\x03\x1b[A]", "b"]),
        (["a\x1b[2", "00~x", "y\x1b[20", "1~q"], ["a", "[xy]", "q"]),
        (["\x1b[2", "~"], ["\x1b[2~"]),
        ([f"{BEGIN}never ended"], ["[never ended]"]),
        ([f"{BEGIN}{END}"], ["[]"]),
    ],
)
def test_what_is_typed_and_what_is_pasted(pieces: list[str], found: list[str]) -> None:
    assert parts(*pieces) == found


@given(st.lists(st.sampled_from(["a", "q", "\x1b", "[", BEGIN, END, "\x1b[A", "200~"]), max_size=12), st.data())
def test_in_whatever_pieces_it_comes(typed: list[str], data: st.DataObject) -> None:
    text = "".join(typed)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    # an Escape at the end of a piece is a key: nothing is waited for then
    cuts = [cut for cut in cuts if not text[:cut].endswith("\x1b") or text[cut - 1 :][:2] != "\x1b["]
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parts(*pieces) == parts(text)


def test_an_escape_by_itself_does_not_wait() -> None:
    assert list(PasteParser().feed("\x1b")) == ["\x1b"]
