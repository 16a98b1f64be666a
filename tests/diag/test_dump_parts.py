"""Sockets of a dump, put together part by part."""

from __future__ import annotations

import numpy as np
import pytest

from tcptop_tui.diag.dump import DumpBuilder
from tcptop_tui.records import DUMP_ROW
from tests.support.samples import rows_of


def add(pile: DumpBuilder, *cookies: int) -> None:
    pile.add(rows_of(DUMP_ROW, *({"cookie": cookie} for cookie in cookies)), np.array(cookies, "u4") + 1000)


def piled(pile: DumpBuilder) -> list[int]:
    dump = pile.finish(0, frozenset())
    assert dump.inode.tolist() == (dump.rows["cookie"] + 1000).tolist()
    return dump.rows["cookie"].tolist()


@pytest.mark.parametrize("expected", [0, 100_000])
def test_it_takes_more_than_was_expected(expected: int) -> None:
    pile = DumpBuilder(expected)
    for start in range(0, 9_000, 900):
        add(pile, *range(start, start + 900))
    assert piled(pile) == list(range(9_000))


def test_what_was_cut_off_is_gone() -> None:
    pile = DumpBuilder()
    add(pile, 1, 2, 3)
    pile.truncate(1)
    add(pile, 4)
    assert piled(pile) == [1, 4]


def test_of_one_socket_the_last_reading_stays() -> None:
    """Only of those that came since: another namespace's sockets may have the same numbers; 0 is no number."""
    pile = DumpBuilder()
    add(pile, 5, 6, 0)
    add(pile, 5, 7, 0, 0, 5, 8)
    pile.drop_superseded(3)
    assert piled(pile) == [5, 6, 0, 7, 0, 0, 5, 8]
