"""F2 and its file: what is chosen is shown, kept, and read again; nothing that was in the file is lost."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion
from textual.widgets import Checkbox, Input, Select

from tcptop_tui.config.file import ConfigFile, default_path, load_config, save_config
from tcptop_tui.config.schema import ColumnChoice, Config
from tcptop_tui.errors import TcptopError
from tcptop_tui.widgets.dialogs.setup import ColumnList, SetupDialog
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.dashboard import Dashboard, dashboard
from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tcptop-tui" / "config.toml"


CONFIGS = st.builds(
    Config,
    refresh_s=st.floats(0.1, 60),
    log_rows=st.integers(100, 10**6),
    linger_s=st.floats(0, 3600),
    theme=st.text(max_size=20),
    rtt_unit=st.sampled_from(["auto", "us", "ms"]),
    columns=st.dictionaries(
        st.sampled_from(["connections", "sessions"]),
        st.lists(st.builds(ColumnChoice, st.text(max_size=9), st.integers(0, 200)), max_size=4).map(tuple),
    ),
)


@given(CONFIGS, CONFIGS)
def test_what_is_saved_is_read(tmp_path_factory: pytest.TempPathFactory, first: Config, second: Config) -> None:
    file = tmp_path_factory.mktemp("config") / "config.toml"
    save_config(file, Config(), first)
    assert load_config(file) == (first, "")
    save_config(file, first, second)
    assert load_config(file) == (second, "")


def test_what_the_user_wrote_stays(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('# mine\nrefresh_s = 2.0  # slow link\nlater_version = "keeps this"\n\n[columns]\n# none yet\n')
    config, _ = load_config(path)
    assert config.refresh_s == 2
    save_config(path, config, Config(refresh_s=2, theme="tcptop-light"))
    text = path.read_text()
    for kept in ("# mine", "refresh_s = 2.0  # slow link", 'later_version = "keeps this"', "# none yet"):
        assert kept in text
    assert 'theme = "tcptop-light"' in text
    assert "log_rows" not in text  # only what was changed


def test_another_program_that_saved_meanwhile_is_not_undone(path: Path) -> None:
    before = Config()
    save_config(path, before, Config(theme="tcptop-light"))
    save_config(path, before, Config(refresh_s=3))
    assert load_config(path)[0] == Config(theme="tcptop-light", refresh_s=3)


BROKEN = {
    "refresh_s = ": "cannot be used: invalid value",
    "\udcff": "cannot be used: 'utf-8' codec",
    "theme = 'tcptop-light'\nrefresh_s = 'fast'": "refresh_s: expected `float`, got `str`",
    "theme = 'tcptop-light'\nrefresh_s = 0": "refresh_s: expected `float` >= 0.1",
    "theme = 'tcptop-light'\nrefresh_s = nan": "refresh_s: expected `float` >= 0.1",
    "theme = 'tcptop-light'\nlog_rows = 5\nrtt_unit = 'h'": "log_rows: expected `int` >= 100, rtt_unit: invalid",
    "theme = 'tcptop-light'\ncolumns = 3": "columns: expected `object`",
    "theme = 'tcptop-light'\ncolumns.connections = 3": "columns.connections: it is not a list",
    "theme = 'tcptop-light'\nfilters.a = 3": "filters.a: it is not a text",
    "theme = 'tcptop-light'\ncolumns = [{key = 3}, 4]": "columns: expected `object`",
    "a = " + "[" * 200_000: "nested too deeply",
    "a = " + "{a=" * 100_000: "nested too deeply",
    "a." * 200_000 + "b = 1": "too many parts",
    "[" + "a." * 200_000 + "b]": "too many parts",
    "x = {" + "a." * 200_000 + "b = 1}": "too many parts",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", list(BROKEN), ids=lambda text: ascii(text)[:60])
def test_what_cannot_be_is_said_in_a_line_and_the_rest_counts(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_bytes(text.encode(errors="surrogateescape"))
    config, note = load_config(path)
    assert config == (Config(theme="tcptop-light") if "theme" in text else Config()), note
    assert BROKEN[text].lower() in note.lower()
    assert str(path) in note
    assert note.isprintable()


def test_dots_of_comments_and_of_texts_are_no_names(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(f"# {'.' * 300}\n[filters]\nours = '{' '.join(['10.0.0.1'] * 60)}'  # {'1.2.3.4 ' * 60}\n")
    config, note = load_config(path)
    assert not note
    assert config.filters["ours"].startswith("10.0.0.1 ")


def test_columns_and_filters_that_can_be_used_are(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(
        "[filters]\na = 1\nb = '443'\n[columns]\nsessions = 1\n"
        "connections = [{key='comm', width='x'}, {key=1}, {key='pid'}]\n"
    )
    config, note = load_config(path)
    assert config.filters == {"b": "443"}
    assert config.columns == {"connections": (ColumnChoice("comm"), ColumnChoice("pid"))}
    assert note.count("expected") == 2


def test_no_file_is_said_where_one_was_named(path: Path) -> None:
    assert load_config(path) == (Config(), "")
    assert load_config(path, is_explicit=True) == (Config(), f"{path} does not exist, so the defaults are used")


def test_dev_null_is_an_empty_file_and_stays_what_it_is() -> None:
    null = Path(os.devnull)
    assert load_config(null, is_explicit=True) == (Config(), "")
    assert ConfigFile(null).save_path is None
    with pytest.raises(TcptopError, match="not a plain file"):
        save_config(null, Config(), Config(refresh_s=3))
    assert null.is_char_device()


def test_the_dashboard_starts_and_says_what_is_wrong(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("refresh_s = 'fast'\n")
    terminal = Terminal("--config", str(path), "--backend", "diag")
    try:
        terminal.shows("refresh_s: expected")
        terminal.shows("Connections")
    finally:
        terminal.close()


def test_what_is_saved_beside_a_wrong_value_costs_nothing_else(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(
        "# mine\nrefresh_s = 'fast'  # wrong\nother = 1\n\n"
        "[[columns.connections]]\n# who\nkey = 'comm'  # c\nlater = 2\n"
        "[[columns.connections]]\nkey = 'pid'\nwidth = 7  # w\n[[columns.sessions]]\nkey = 'comm'  # stays\n"
    )
    before, _ = load_config(path)
    columns = {**before.columns, "connections": (ColumnChoice("pid", 9), ColumnChoice("comm"), ColumnChoice("rport"))}
    after = msgspec.structs.replace(before, theme="tcptop-light", columns=columns)
    save_config(path, before, after)
    assert load_config(path)[0] == after
    text = path.read_text()
    for kept in ("# mine", "refresh_s = 'fast'  # wrong", "other = 1", "# who", "# c", "later = 2", "# w", "# stays"):
        assert kept in text


def test_a_file_is_private_and_whole(path: Path) -> None:
    save_config(path, Config(), Config(refresh_s=3))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["config.toml"]


def test_no_link_is_written_through(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "target").write_text("precious = true\n")
    path.symlink_to(tmp_path / "target")
    with pytest.raises(TcptopError, match="symbolic link"):
        save_config(path, Config(), Config(refresh_s=3))
    assert (tmp_path / "target").read_text() == "precious = true\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@pytest.mark.parametrize("whose", ["folder", "file"])
def test_what_belongs_to_somebody_else_decides_nothing(path: Path, whose: str) -> None:
    path.parent.mkdir()
    path.write_text("refresh_s = 9\n")
    os.chown(path if whose == "file" else path.parent, NOBODY, NOBODY)
    config, note = load_config(path)
    assert config == Config()
    assert "belongs to another user" in note
    with pytest.raises(TcptopError, match="another user"):
        save_config(path, Config(), Config(refresh_s=3))


def test_it_lies_where_the_platform_has_such_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
    assert default_path() == Path("/somewhere/tcptop-tui/config.toml")


# -- the dialog -------------------------------------------------------------------------------


def titles(board: Dashboard) -> list[str]:
    return board.lines(ConnectionTable)[0].replace("▼", "").split()


async def opened(board: Dashboard, key: str = "f2") -> ColumnList:
    await board.pilot.press(key)
    while not isinstance(board.app.screen, SetupDialog):
        await board.pilot.pause()
    await board.pilot.pause()
    return board.app.screen.query_one(ColumnList)


@pytest.mark.parametrize("key", ["f2", "S"])
async def test_columns_are_chosen_ordered_and_widened(key: str, path: Path) -> None:
    async with dashboard() as board:
        board.app.config_path = path
        await opened(board, key)
        await board.press("space")  # no PID
        assert "PID" not in titles(board)
        await board.press("home", "down", "down", "right_square_bracket")  # LADDR behind LPORT
        assert titles(board)[:3] == ["PROCESS", "LPORT", "LADDR"]
        await board.press("f7")
        assert titles(board)[:3] == ["PROCESS", "LADDR", "LPORT"]
        await board.press("f8", *["plus"] * 5, *["minus"] * 2)
        await board.press("down", *["plus"] * 9, "0", "up")  # the next one as it was
        await board.press("f10")
        while not any("saved in" in notice.message for notice in board.app._notifications):
            await board.pilot.pause()
        assert not isinstance(board.app.screen, SetupDialog)
    config, _ = load_config(path)
    chosen = config.columns["connections"]
    assert [choice.key for choice in chosen][:3] == ["comm", "lport", "laddr"]
    assert [choice.width for choice in chosen][:4] == [0, 0, 18, 0]
    async with dashboard(config=config) as board:  # the next start
        assert titles(board)[:3] == ["PROCESS", "LPORT", "LADDR"]
        await board.press("greater_than_sign")
        assert board.app.view_options.order.key in {choice.key for choice in chosen}


async def test_escape_puts_everything_back(path: Path) -> None:
    async with dashboard() as board:
        board.app.config_path = path
        before = titles(board)
        await opened(board)
        await board.press("space", "down", "space")
        board.app.screen.query_one("#theme", Select).value = "tcptop-light"
        board.app.screen.query_one("#refresh_s", Input).value = "7"
        await board.press("f12")
        assert board.app.theme == "tcptop-light"
        assert board.app._settings.refresh_s == 7
        await board.press("escape")
        assert titles(board) == before
        assert board.app.theme == "tcptop-dark"
        assert board.app._settings.refresh_s == Config().refresh_s
    assert load_config(path) == (Config(), "")


async def test_what_is_on_is_told_without_colours() -> None:
    async with dashboard() as board:
        await opened(board)
        names = board.app.screen.query_one("#names", Checkbox)
        names.focus()
        assert str(names.render()).startswith("[ ]")
        await board.press("space")
        assert str(names.render()).startswith("[x]")
        assert board.app.view_options.names


async def test_time_wait_is_left_out_from_the_start_on(path: Path) -> None:
    async with dashboard() as board:
        board.app.config_path = path
        await opened(board)
        board.app.screen.query_one("#time_wait", Checkbox).focus()
        await board.press("space")
        assert not board.app.view_options.show_time_wait
        await board.press("f10")
        while not any("saved in" in notice.message for notice in board.app._notifications):
            await board.pilot.pause()
    config, _ = load_config(path)
    assert not config.time_wait
    async with dashboard(config=config) as board:
        assert not board.app.view_options.show_time_wait
        await board.press("T")
        assert board.app.view_options.show_time_wait
        await opened(board)
        board.app.screen.query_one("#names", Checkbox).focus()
        await board.press("space")
        assert board.app.view_options.show_time_wait  # as the key has it


async def test_impossible_numbers_are_said_and_not_taken() -> None:
    async with dashboard() as board:
        await opened(board)
        for value, told in (("0", "Expected `float` >= 0.1"), ("x", "must be a number"), ("", "must be a number")):
            board.app.screen.query_one("#refresh_s", Input).value = value
            await board.press("f12")
            assert told in str(board.app.screen.query_one("#complaint").render())
        assert board.app._settings.refresh_s == 600


async def test_other_lists_and_back_to_the_default() -> None:
    async with dashboard() as board:
        columns = await opened(board)
        board.app.screen.query_one("#list", Select).value = "sessions"
        await board.press("f12")
        await board.press("space")
        assert next(choice.key for choice in board.app.config.columns["sessions"]) == "pid"
        await board.press("r")
        assert "sessions" not in board.app.config.columns
        assert columns.highlighted == 0


async def test_faster_and_slower() -> None:
    async with dashboard() as board:
        board.app.set_refresh(1)
        await board.press("plus")
        assert board.app._settings.refresh_s == 0.5
        await board.press("minus", "minus")
        assert board.app._settings.refresh_s == 2
        await board.press(*["plus"] * 9)
        assert board.app._settings.refresh_s == 0.1


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (40, 10)], ids=["80x24", "160x50", "40x10"])
async def test_as_text(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with dashboard(size) as board:
        await opened(board)
        lines = board.app.screen._compositor.render_strips()
        assert "\n".join(line.text.rstrip() for line in lines) == snapshot


def test_in_a_terminal(bpf_possible: None, path: Path) -> None:
    with listening() as listener:
        kept = pair(listener)
        for visit in range(2):
            terminal = Terminal("--config", str(path), "--filter", f"port:{port(listener)}")
            try:
                terminal.shows("Connections 3")
                terminal.shows("LISTEN ")
                assert ("LADDR" in terminal.text) == (visit == 0)
                if not visit:
                    terminal.type("\x1b[12~")  # F2
                    terminal.shows("F10 saves")
                    terminal.type("\x1b[B\x1b[B ")
                    terminal.shows("[ ] LADDR")
                    terminal.type("\x1b[21~")  # F10
                    terminal.shows("saved in")
                terminal.type("q")
                assert terminal.ended() == 0
            finally:
                terminal.close()
        del kept


# -- what reviews found -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        Config(theme="gone"),
        Config(columns={"connections": (ColumnChoice("comm"), ColumnChoice("comm", 9), ColumnChoice("nosuch"))}),
    ],
)
async def test_strange_settings_open(config: Config) -> None:
    async with dashboard(config=config) as board:
        await opened(board)
        await board.press("escape")
        assert board.app.is_running


@pytest.mark.parametrize("value", ["inf", "1e400", "nan", "-1", "1e9"])
async def test_numbers_that_are_none(value: str) -> None:
    async with dashboard() as board:
        await opened(board)
        for name in ("log_rows", "linger_s", "refresh_s"):
            board.app.screen.query_one(f"#{name}", Input).value = value
            await board.press("f12")
            assert str(board.app.screen.query_one("#complaint").render())
        assert board.app.config == Config()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_a_link_of_somebody_else_leads_nowhere(tmp_path: Path) -> None:
    """Under sudo with the user's HOME: he could lead root into root's own files."""
    precious = tmp_path / "containerd"
    precious.mkdir()
    (precious / "config.toml").write_text("version = 2\n")
    theirs = tmp_path / "home"
    theirs.mkdir()
    (theirs / "tcptop-tui").symlink_to(precious)
    os.chown(theirs, NOBODY, NOBODY)
    os.chown(theirs / "tcptop-tui", NOBODY, NOBODY, follow_symlinks=False)
    path = theirs / "tcptop-tui" / "config.toml"
    assert "another user" in load_config(path)[1]
    with pytest.raises(TcptopError, match="another user"):
        save_config(path, Config(), Config(refresh_s=3))
    assert (precious / "config.toml").read_text() == "version = 2\n"
    (theirs / "tcptop-tui").unlink()
    with pytest.raises(TcptopError, match="another user"):
        save_config(path, Config(), Config(refresh_s=3))
    assert not path.parent.exists()
