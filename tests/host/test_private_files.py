"""Settings, history, recordings: read only from where nobody else has a hand in, written nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tcptop_tui.config.file import load_config, save_config
from tcptop_tui.config.filter_history import FilterHistory
from tcptop_tui.config.schema import Config
from tcptop_tui.errors import TcptopError
from tcptop_tui.replay.recording import check_recording
from tests.support.privileges import recorded

pytestmark = pytest.mark.host

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "tcptop-tui"
    folder.mkdir()
    return folder / "config.toml"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tcptop_tui", *arguments],
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip


# -- what is no file ---------------------------------------------------------------------------


def test_a_fifo_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    for code, arguments in (
        (0, ["--config", str(path), "snapshot", "--backend", "diag", "--after", "0.1"]),
        (2, ["--replay", str(path)]),
        (2, ["snapshot", "--replay", str(path)]),
    ):
        told = run(*arguments)
        assert told.returncode == code
        assert told.stderr.count("\n") == 1
        assert "not a plain file" in told.stderr
    assert FilterHistory(path).entries == []
    with pytest.raises(TcptopError, match="not a plain file"):
        save_config(path, Config(), Config(refresh_s=3))


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/tty", "/"])
def test_devices(device: str) -> None:
    told = run("--config", device)
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1


def test_more_than_settings_can_be(path: Path) -> None:
    path.write_text("refresh_s = 3\n" + "# x\n" * (1 << 18))
    assert load_config(path) == (Config(), f"the settings in {path} cannot be used: it is larger than 1 MiB")
    before = path.read_bytes()
    with pytest.raises(TcptopError, match="larger than 1 MiB"):
        save_config(path, Config(), Config(refresh_s=4))
    assert path.read_bytes() == before
    path.write_text("refresh_s = 3\n".ljust(1 << 20, "#"))
    assert load_config(path)[0].refresh_s == 3


# -- whose it is -------------------------------------------------------------------------------


@needs_root
def test_a_folder_above_that_is_somebody_elses(tmp_path: Path) -> None:
    """They could put another one in its place between a look and a write."""
    theirs = tmp_path / "theirs"
    ours = theirs / "ours"
    ours.mkdir(parents=True)
    (ours / "config.toml").write_text("refresh_s = 9\n")
    (ours / "filters").write_text("443\n")
    os.chown(theirs, NOBODY, NOBODY)
    (tmp_path / "way").symlink_to(ours)
    for folder in (ours, tmp_path / "way"):
        config, note = load_config(folder / "config.toml")
        assert config == Config()
        assert note == f"{theirs} belongs to another user: the settings in it are not used"
        with pytest.raises(TcptopError, match="belongs to another user"):
            save_config(folder / "config.toml", Config(), Config(refresh_s=3))
        history = FilterHistory(folder / "filters")
        assert history.entries == []
        history.add("80")
    assert (ours / "filters").read_text() == "443\n"


@needs_root
def test_an_own_link_to_somebody_elses_file(path: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.toml"
    theirs.write_text("refresh_s = 9\n")
    path.symlink_to(theirs)
    assert load_config(path)[0].refresh_s == 9
    os.chown(theirs, NOBODY, NOBODY)
    config, note = load_config(path)
    assert config == Config()
    assert "belongs to another user" in note


@needs_root
def test_what_may_not_be_looked_at_is_a_note(tmp_path: Path) -> None:
    """Started as somebody else with root's HOME."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    script = (
        "import sys; from pathlib import Path; from tcptop_tui.config.file import load_config\n"
        "print(load_config(Path(sys.argv[1]) / 'a' / 'c.toml'))"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", script, str(closed)],
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    if "No module named" in done.stderr:
        pytest.skip("nobody may not read this working copy")
    assert "the settings in it are not used" in done.stdout, done.stderr


@needs_root
def test_recordings_under_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = recorded(tmp_path)
    assert check_recording(str(recording)) == recording
    os.chown(recording, NOBODY, NOBODY)
    told = run("snapshot", "--replay", str(recording))
    assert told.returncode == 2
    assert told.stderr == (
        f"tcptop-tui: {recording} belongs to another user: replay it without sudo: nothing in it needs root\n"
    )
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY))
    assert check_recording(str(recording)) == recording


# -- what is in it -----------------------------------------------------------------------------


def test_what_nobody_knows_is_said_in_one_line(path: Path) -> None:
    path.write_text(
        'refresh = 2\n"two\\nlines" = 1\nrefresh_s = 2\n'
        '[[columns.connections]]\nkey = "comm"\nwidht = 9\n[later]\na = 1\n'
    )
    config, note = load_config(path)
    assert config.refresh_s == 2
    names = r"refresh, 'two\nlines', later, columns.connections[0].widht"
    assert note == f"{path} has unknown settings, which have no effect: {names}"
    path.write_text("".join(f"a{number} = 1\n" for number in range(9)))
    assert load_config(path)[1].endswith("a0, a1, a2, a3, a4 and 4 more")


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_line_ends_stay(path: Path, end: str) -> None:
    path.write_bytes(f"# mine{end}refresh_s = 2.0{end}{end}[columns]{end}# none{end}".encode())
    save_config(path, Config(refresh_s=2), Config(refresh_s=3, theme="tcptop-light", filters={"web": "443"}))
    text = path.read_bytes().decode()
    assert text.count("\n") == text.count(end) > 6
    assert "\r\r" not in text
    assert load_config(path)[0] == Config(refresh_s=3, theme="tcptop-light", filters={"web": "443"})


def test_mixed_line_ends_stay_where_they_are(path: Path) -> None:
    path.write_bytes(b"# mine\r\nrefresh_s = 2.0\n")
    save_config(path, Config(refresh_s=2), Config(refresh_s=3))
    assert path.read_bytes() == b"# mine\r\nrefresh_s = 3\n"


@pytest.mark.parametrize(
    "broken", ["refresh_s = \n", "a = " + "[" * 90_000, "a." * 90_000 + "b = 1"], ids=lambda text: text[:9]
)
def test_a_file_that_was_broken_meanwhile_is_not_saved_over(path: Path, broken: str) -> None:
    path.write_text(broken)
    with pytest.raises(TcptopError, match=r"the settings are not saved in .*: correct the file") as told:
        save_config(path, Config(), Config(theme="tcptop-light"))
    assert "\n" not in str(told.value)
    assert path.read_text() == broken
    assert [one.name for one in path.parent.iterdir()] == ["config.toml"]


# -- doctor ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file, so the defaults hold"),
        ("refresh_s = 3\n", "valid"),
        ("refresh_s = \n", "cannot be used"),
        ("refresh_s = 0\n", "refresh_s: expected"),
        ("refesh_s = 3\n", "have no effect: refesh_s"),
    ],
)
def test_doctor_names_the_file(path: Path, text: str | None, said: str, bpf_possible: None) -> None:
    if text is not None:
        path.write_text(text)
    told = run("--config", str(path), "doctor")
    assert told.returncode == 0
    (line,) = (line for line in told.stdout.splitlines() if line.strip().startswith("settings"))
    assert str(path) in line
    assert said in line
    assert (" not ok " in line) == (said not in {"valid", "no such file, so the defaults hold"})


def test_the_byte_order_mark_of_an_editor_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbfrefresh_s = 2.0\r\n")
    config, note = load_config(path)
    assert (config.refresh_s, note) == (2.0, "")
    save_config(path, config, Config(refresh_s=3.0))
    assert path.read_bytes() == b"\xef\xbb\xbfrefresh_s = 3.0\r\n"


def test_a_file_that_takes_seconds_to_edit_is_left_alone(path: Path) -> None:
    """All of a large file is read; only what F2 changes is not written into it."""
    text = "refresh_s = 2.0\n[filters]\n" + "".join(f"f{number} = 'lport:22'\n" for number in range(10_000))
    path.write_text(text)
    config, note = load_config(path)
    assert (config.refresh_s, len(config.filters), note) == (2.0, 10_000, "")
    with pytest.raises(TcptopError) as told:
        save_config(path, config, Config(refresh_s=3.0))
    assert str(told.value) == f"the settings are not saved: {path} has more than 128 KiB: make it smaller"
    assert path.read_text() == text
