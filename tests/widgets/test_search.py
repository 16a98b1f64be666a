"""F3: finding without hiding."""

from __future__ import annotations

import pytest

from tcptop_tui.filters.addresses import network_from_prefix
from tcptop_tui.widgets.panels.search_bar import SearchBar
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.dashboard import Dashboard, dashboard, transition_batch


def told(board: Dashboard) -> str:
    return str(board.app.panel(SearchBar).query_one("#found").render())


def at(board: Dashboard) -> int:
    """Remote port of the row under the cursor: the k-th connection has 50,000 + k."""
    rows = board.app.panel(ConnectionTable)
    assert rows.selected_connection is not None
    return int(rows.selected_connection["rport"][0]) - 50_000


async def test_each_keystroke_goes_to_the_first_match() -> None:
    async with dashboard() as board:
        await board.press("I")  # by a column where all are equal: the k-th row is connection k
        await board.press("down", "f3", *"sshd")
        assert at(board) == 10
        assert told(board) == "2 of 10"
        assert board.row_count == 100
        await board.press("f3")
        assert at(board) == 20
        await board.press("enter", "down")
        assert at(board) == 40
        await board.press("shift+f3", "up")
        assert at(board) == 20
        await board.press("up", "up", "up")
        assert at(board) == 90
        assert told(board) == "10 of 10 (wrapped)"
        await board.press("down")
        assert (at(board), told(board)) == (0, "1 of 10 (wrapped)")
        await board.press("escape")
        assert not board.app.panel(SearchBar).display
        assert isinstance(board.app.focused, ConnectionTable)
        assert at(board) == 0


@pytest.mark.parametrize(
    ("typed", "row"), [("50037", 37), ("close_wait", 3), ("10.0.1.42", 42), ("srtt>198us", 99), ("lport:443 !50001", 2)]
)
async def test_what_can_be_looked_for(typed: str, row: int) -> None:
    async with dashboard() as board:
        await board.press("I", "f3", *typed)
        assert at(board) == row


async def test_what_is_not_there_and_what_is_wrong() -> None:
    async with dashboard() as board:
        await board.press("I", "down", "f3", *"nobody")
        assert (told(board), at(board)) == ("not found", 1)
        await board.press("ctrl+u", *"foo:1")
        assert "no field 'foo'" in told(board)
        # the text is there again the next time, and a first key replaces it
        await board.press("escape", "f3", "5", *"0005")
        assert at(board) == 5


async def test_in_groups_and_other_lists() -> None:
    async with dashboard() as board:
        await board.press("t", "f3", *"50020")
        assert at(board) == 20
        await board.press("escape", "3", "f3", *"nginx")
        assert told(board) == "1 of 1"
        await board.press("escape", "4", "f3")  # no list: nothing to search
        assert not board.app.panel(SearchBar).display


@pytest.mark.parametrize(
    ("typed", "network"),
    [
        ("10.", "10.0.0.0/8"), ("192.168", "192.168.0.0/16"), ("192.168.", "192.168.0.0/16"),
        ("10.0.1.", "10.0.1.0/24"), ("10.0.0.0/8", ""),
        ("2001:db8", "2001:db8::/32"), ("2001:db8:", "2001:db8::/32"), ("fe80::", "fe80::/16"),
        ("10", ""), ("10.0.0.1", ""), ("999.", ""), ("1.2.3.4.", ""), ("::1", ""), ("lport:22", ""),
    ],
)  # fmt: skip
def test_an_address_that_is_being_typed(typed: str, network: str) -> None:
    assert network_from_prefix(typed) == network


async def test_addresses_are_found_while_they_are_typed() -> None:
    async with dashboard() as board:
        await board.press("f3", *"10.0.1.")
        assert told(board).endswith("of 100")
        await board.press("ctrl+u", *"10.9.")
        assert told(board) == "not found"
        assert board.app.panel(SearchBar).query_one("#found").has_class("-failed")
        await board.press("ctrl+u", *"10.0.")
        assert not board.app.panel(SearchBar).query_one("#found").has_class("-failed")


async def test_in_the_log_from_its_end() -> None:
    """Its k-th line has port 50,000 + k."""
    async with dashboard() as board:
        log = board.app.panel(TransitionLog)
        log.focus()
        found = lambda: int(board.app.frame.snapshot.log["rport"][log._match_number]) - 50_000  # noqa: E731
        await board.press("f3", *"rport:50003,50010,50020")
        assert (told(board), found()) == ("3 of 3", 20)
        await board.press("f3")
        assert (told(board), found()) == ("2 of 3", 10)
        await board.press("enter", "enter")
        assert (told(board), found()) == ("3 of 3 (wrapped)", 20)
        await board.press("up")
        assert found() == 10
        await board.press("down", "shift+f3")
        assert (told(board), found()) == ("1 of 3 (wrapped)", 3)
        top = log.scroll_offset.y
        await board.deliver(transition_batch(5))  # what comes does not carry the found line away
        assert log.scroll_offset.y == top
        await board.press("escape")
        assert board.app.focused is log
        await board.press("ctrl+u", "1", "f3", *"sshd")
        assert told(board).endswith("of 10")  # the list's, now that it has the keys
