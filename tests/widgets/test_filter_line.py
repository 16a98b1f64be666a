"""Hands on the filter line: history, completion, saved filters."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.config.file import load_config
from tcptop_tui.config.filter_history import MAX_ENTRIES, FilterHistory
from tcptop_tui.filters import FIELDS, FilterError, RowContext, completion, expand_saved, parse
from tcptop_tui.filters.completion import Vocabulary, complete, make_vocabulary
from tcptop_tui.records import Flag, State
from tcptop_tui.stream.batches import Names
from tcptop_tui.widgets.dialogs.saved_filters import SavedFiltersDialog
from tcptop_tui.widgets.panels.filter_bar import FilterInput
from tests.support.dashboard import Dashboard, dashboard
from tests.support.samples import NOW, connections, sessions

# -- completion -------------------------------------------------------------------------------

ROWS = connections(
    {"comm": b"nginx"}, {"comm": b"nginx"}, {"comm": b"my prog"}, {"comm": b'q"uote'}, {"comm": b"ssh,d", "lport": 22},
    {"comm": b"\x1b]0;x", "state": State.CLOSE_WAIT, "cgroup": 7, "raddr": "2001:db8::7"},
)  # fmt: skip
ENDED = sessions({"state": State.CLOSE, "flags": Flag.ACTIVE, "err": errno.ECONNREFUSED, "established_ns": 0})
with patch.object(completion, "namespace_names", list):  # not those of this host
    KNOWN = make_vocabulary(
        RowContext(ROWS, 0, names=Names(cgroups={7: "/system.slice/ssh.service"})),
        RowContext(ENDED, 0),
        ["web", "two words"],
    )


def completions(typed: str, known: Vocabulary) -> list[str]:
    found = complete(typed, known, len(typed))
    return [found.text(number) for number in range(len(found.words))]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("comm:", "comm:nginx"), ("comm=n", "comm=nginx"), ("!comm:n", "!comm:nginx"), ("443 sta", "443 state:"),
        ("state:", "state:established"), ("state:estab,cl", "state:estab,close_wait"), ("lport:2", "lport:22"),
        ("ng", "nginx"), ("rtt>10ms !por", "rtt>10ms !port:"), ('comm:"my', 'comm:"my prog"'),
        ('comm:"my p', 'comm:"my prog"'), ('comm:"a b",comm:"my p', 'comm:"a b",comm:"my prog"'),
        ("why:re", "why:refused"), ("sport:4", "sport:443"), ("STATE:EST", "STATE:established"), ("NG", "nginx"),
        ("raddr:2", "raddr:2001:db8::7"), ("laddr:1", "laddr:10.0.0.1"), ("10.", "10.0.0.2"), ("netns:", "netns:1"),
        ("cgroup:/sy", "cgroup:/system.slice/ssh.service"), ("uid:", "uid:0"), ("443 @w", "443 @web"),
    ],
)  # fmt: skip
def test_the_best_completion(typed: str, first: str) -> None:
    assert completions(typed, KNOWN)[0] == first


@pytest.mark.parametrize(
    ("typed", "cursor", "became", "behind"),
    [
        ("sta rtt>1", 3, "state: rtt>1", 6), ("comm:ng,ssh", 7, "comm:nginx,ssh", 10),
        ("comm:ng 443", 7, "comm:nginx 443", 10), ("state:estab", 3, None, 0), ("443", 0, None, 0),
    ],
)  # fmt: skip
def test_in_the_middle(typed: str, cursor: int, became: str | None, behind: int) -> None:
    found = complete(typed, KNOWN, cursor)
    if became is None:
        assert not found.words
    else:
        assert (found.text(0), found.cursor(0)) == (became, behind)


@pytest.mark.parametrize("typed", ["", "443 ", "nosuch:1", "comm:nginx", "!", "@two"])
def test_nothing_to_complete(typed: str) -> None:
    assert completions(typed, KNOWN) == []


def test_strangers_names_do_not_reach_the_line() -> None:
    assert not any("\x1b" in value or "·" in value for values in KNOWN.values_by_field.values() for value in values)


@given(st.lists(st.binary(min_size=1, max_size=15).filter(lambda raw: b"\0" not in raw), min_size=1, max_size=8))
def test_every_name_that_is_offered_means_what_it_says(names: list[bytes]) -> None:
    rows = connections(*({"comm": name} for name in names))
    for typed in completions("comm=", make_vocabulary(RowContext(rows, 0), RowContext(ENDED, 0))):
        assert parse(typed).matches(RowContext(rows, NOW, None, None)).any(), typed


@given(st.text(max_size=30))
def test_whatever_is_typed(typed: str) -> None:
    for completed in completions(typed, KNOWN):
        assert completed != typed


def test_every_field_can_be_completed() -> None:
    for field in FIELDS:
        assert any(one == f"{field.names[0]}:" for one in completions(field.names[0][:2], KNOWN))


def line(board: Dashboard) -> FilterInput:
    return board.app.query_one(FilterInput)


async def test_tab_completes_and_goes_on_to_the_next() -> None:
    async with dashboard() as board:
        await board.press("slash", *"comm:")
        await board.press("tab")
        assert line(board).value == "comm:nginx"
        assert board.row_count == 90
        await board.press("tab")
        assert line(board).value == "comm:sshd"
        assert board.row_count == 10
        await board.press("shift+tab")
        assert line(board).value == "comm:nginx"
        await board.press(*" sta", "right")  # the ghost behind the cursor
        assert line(board).value == "comm:nginx state:"
        await board.press("tab", "tab", "enter")
        assert board.app.view_options.filter.text == "comm:nginx state:close_wait"
        assert board.row_count == 1


async def test_what_tab_would_bring_is_shown() -> None:
    async with dashboard() as board:
        offered = lambda: str(board.app.query_one("#offered").render()).split()  # noqa: E731
        await board.press("slash", *"comm:")
        assert offered() == ["nginx", "sshd"]
        await board.press("s")
        assert offered() == ["sshd"]
        await board.press(*"tate:c")
        assert offered() == []
        await board.press("ctrl+u", *"port:22 st", "left", "left", "left", "backspace", "tab")
        assert line(board).value == "port:22 st"  # the word at the cursor, wherever that is
        assert board.row_count == 100 or line(board).cursor_position == len("port:22")


# -- history ----------------------------------------------------------------------------------


async def test_the_filters_of_before() -> None:
    async with dashboard() as board:
        for typed in ("port:22", "comm:nginx", "port:443"):
            await board.press("slash", "ctrl+u", *typed, "enter")
        await board.press("slash", "ctrl+u", "up")
        assert line(board).value == "port:443"
        await board.press("up", "up")
        assert line(board).value == "port:22"
        assert board.row_count == 10
        await board.press("up", "down")
        assert line(board).value == "comm:nginx"
        await board.press("ctrl+u", *"po", "up", "up")  # only what begins so
        assert line(board).value == "port:22"
        await board.press("down", "down")
        assert line(board).value == "po"
        await board.press("ctrl+u", "enter")


def test_history_lasts(tmp_path: Path) -> None:
    path = tmp_path / "state" / "filters"
    first = FilterHistory(path)
    for entry in ("port:22", "443", "port:22", "", "bad\x1b[31m"):
        first.add(entry)
    assert FilterHistory(path).entries == ["443", "port:22"]
    assert path.stat().st_mode & 0o777 == 0o600
    for number in range(MAX_ENTRIES + 50):
        first.add(f"port:{number}")
    assert len(FilterHistory(path).entries) == MAX_ENTRIES
    path.write_bytes(b"ok\n\x1b[2J\n\xff\xfe\n" + b"x" * 5000 + b"\n443\n")
    assert set(FilterHistory(path).entries) <= {"ok", "443", "��"}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_history_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "filters"
    path.write_text("evil\n")
    os.chown(path, 65534, 65534)
    history = FilterHistory(path)
    assert history.entries == []
    history.add("443")
    assert path.read_text() == "evil\n"
    target = tmp_path / "target"
    target.write_text("precious\n")
    link = tmp_path / "link"
    link.symlink_to(target)
    FilterHistory(link).add("443")
    assert target.read_text() == "precious\n"


# -- saved ------------------------------------------------------------------------------------


async def test_filters_with_names(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    async with dashboard() as board:
        board.app.config_path = path
        await board.press("slash", *"port:22", "enter", "f", *"ssh", "enter")
        assert not isinstance(board.app.screen, SavedFiltersDialog)
        while not any("saved in" in notice.message for notice in board.app._notifications):
            await board.pilot.pause()
        await board.press("slash", "ctrl+u", "enter")
        assert board.row_count == 100
        await board.press("f", "enter")
        assert board.row_count == 10
    config, _ = load_config(path)
    assert config.filters == {"ssh": "port:22"}
    async with dashboard(config=config) as board:
        await board.press("f", "delete", "escape")
        assert board.app.config.filters == {"ssh": "port:22"}
        await board.press("f", "delete", "delete", "escape")
        assert board.app.config.filters == {}
        await board.press("f", "escape")
        assert board.row_count == 100


SAVED = {"web": "port:80,443 !comm:curl", "slow": "rtt>100ms", "long": "x" * 900}


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("@web", "port:80,443 !comm:curl"), ("pid:1 @slow  @web", "pid:1 rtt>100ms port:80,443 !comm:curl"),
        ('"@web"', '"@web"'), ("comm:@web", "comm:@web"), ("443", "443"),
    ],
)  # fmt: skip
def test_a_name_stands_for_its_filter(text: str, meaning: str) -> None:
    assert expand_saved(text, SAVED) == meaning


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@wbe", "did you mean @web?"), ("!@web", "stands by itself"), ("@web,@slow", "stands by itself"),
        ("@long @long", "longer than"), ("@", "no saved filter ''"),
    ],
)  # fmt: skip
def test_what_a_name_cannot_be(text: str, told: str) -> None:
    with pytest.raises(FilterError) as refused:
        expand_saved(text, SAVED)
    assert told in str(refused.value)


async def test_names_in_the_line_and_ctrl_s() -> None:
    async with dashboard() as board:
        await board.press("slash", *"port:22", "ctrl+s", *"ssh", "enter")
        assert board.app.config.filters == {"ssh": "port:22"}
        assert board.row_count == 10
        await board.press("slash", "ctrl+u", *"@s", "tab", "enter")
        assert board.app.view_options.filter.text == "port:22"
        await board.press("slash", "ctrl+u", *"@nosuch", "enter")
        assert board.app.query_one("#complaint").display  # an unknown name does not end the line
        await board.press("escape")
        assert board.row_count == 10
