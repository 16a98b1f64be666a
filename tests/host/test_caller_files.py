"""Files are written whole or not at all, and only where the caller could have meant."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

from tcptop_tui.export.render import default_path
from tcptop_tui.host.caller_files import ExportError, calling_user, resolve_path, write_export

pytestmark = pytest.mark.host

STRANGER = 12345

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a stranger's files")


@pytest.fixture(autouse=True)
def no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.delenv("SUDO_GID", raising=False)


def sudo_by(monkeypatch: pytest.MonkeyPatch, uid: str, gid: str) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", gid)


def link(place: Path, target: Path | str, owner: int = 0) -> Path:
    place.symlink_to(target)
    if os.geteuid() == 0:
        os.lchown(place, owner, owner)
    return place


def contents(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("umask", [0, 0o777])
def test_a_new_file_is_private_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        written = write_export(tmp_path / "s.json", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert written.stat().st_uid == os.geteuid()
    assert contents(tmp_path) == ["s.json"]


def test_the_old_file_stays_whole_for_who_has_it_open(tmp_path: Path) -> None:
    target = tmp_path / "s.json"
    target.write_bytes(b"old and long")
    with target.open("rb") as reader:
        write_export(target, b"new")
        assert reader.read() == b"old and long"
    assert target.read_bytes() == b"new"


def test_another_name_of_the_old_file_is_not_written(tmp_path: Path) -> None:
    target, other = tmp_path / "s.json", tmp_path / "other"
    other.write_bytes(b"precious")
    target.hardlink_to(other)
    write_export(target, b"new")
    assert other.read_bytes() == b"precious"


@needs_root
@pytest.mark.parametrize(
    ("uid", "gid", "expected"),
    [
        ("1000", "1001", (1000, 1001)),
        ("0", "0", (0, 0)),
        ("1000", "", (0, 0)),
        ("-1", "5", (0, 0)),
        ("4294967295", "5", (0, 0)),  # chown's "leave it"
        ("99999999999999999999", "5", (0, 0)),
        ("1e3", "5", (0, 0)),
        ("١٠", "5", (0, 0)),  # decimal digits to str.isdecimal
    ],
)
def test_who_called(
    uid: str, gid: str, expected: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sudo_by(monkeypatch, uid, gid)
    assert calling_user() == expected
    found = write_export(tmp_path / "s.json", b"x").stat()
    assert (found.st_uid, found.st_gid) == expected


@needs_root
def test_the_caller_s_own_file_may_be_replaced_a_stranger_s_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "s.json"
    target.write_bytes(b"old")
    os.chown(target, STRANGER, STRANGER)
    with pytest.raises(ExportError, match="belongs to another user"):
        write_export(target, b"new")
    sudo_by(monkeypatch, str(STRANGER), str(STRANGER))
    write_export(target, b"new")
    assert target.read_bytes() == b"new"


@needs_root
def test_links_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for name, target in (("absolute", real), ("relative", "real"), ("roundabout", "real/../real/./")):
        write_export(link(tmp_path / name, target) / name, b"x")
    assert contents(real) == ["absolute", "relative", "roundabout"]
    theirs = link(tmp_path / "theirs", real, STRANGER)
    with pytest.raises(ExportError, match="symbolic link of another user"):
        write_export(theirs / "no", b"x")
    sudo_by(monkeypatch, str(STRANGER), str(STRANGER))
    write_export(theirs / "now mine", b"x")
    assert contents(real) == ["absolute", "now mine", "relative", "roundabout"]


@needs_root
@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_stranger_s_link_behind_a_trusted_one_is_refused(below: str, tmp_path: Path) -> None:
    (tmp_path / "real" / "deeper").mkdir(parents=True)
    link(tmp_path / "theirs", "real", STRANGER)
    ours = link(tmp_path / "ours", tmp_path / "theirs" / below)
    with pytest.raises(ExportError, match="symbolic link of another user"):
        write_export(ours / "s.json", b"x")
    assert contents(tmp_path / "real") == ["deeper"]
    assert contents(tmp_path / "real" / "deeper") == []


def test_links_in_a_circle(tmp_path: Path) -> None:
    link(tmp_path / "a", "b", os.geteuid())
    link(tmp_path / "b", "a", os.geteuid())
    with pytest.raises(ExportError, match=os.strerror(errno.ELOOP).lower()):
        write_export(tmp_path / "a" / "s.json", b"x")


def test_nothing_stays_open_or_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    link(tmp_path / "away", "nowhere", os.geteuid())
    before = open_files()
    bad = ("no/s.json", "file/s.json", "away/s.json", "away", "x" * 300, "a\0b", "\ud800", "..")
    for name in bad:
        with pytest.raises(ExportError) as caught:
            write_export(tmp_path / name, b"x")
        assert str(caught.value).startswith("cannot write ")
        assert str(caught.value).isprintable()
    write_export(tmp_path / "good", b"x")
    assert open_files() == before
    assert contents(tmp_path) == ["away", "file", "good"]


@pytest.mark.parametrize("device", ["/dev/zero", "/proc/self/mem", "/sys/x.json", "/"])
def test_no_place_for_files(device: str) -> None:
    with pytest.raises(ExportError, match="cannot write /"):
        write_export(Path(device), b"x")
    assert stat.S_ISCHR(Path("/dev/zero").stat().st_mode)


def test_messages_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        write_export(tmp_path / "no" / "s.json", b"x")
    assert str(caught.value) == (
        f"cannot write {tmp_path}/no/s.json: no such file or directory: make the folder first, or choose another one"
    )


def test_a_folder_s_name_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        write_export(tmp_path / "\x1b[2J\n" / "s.json", b"x")
    assert "·[2J·/s.json" in str(caught.value)


@needs_root
def test_full_and_read_only_disks(small_disk: Path) -> None:
    target = write_export(small_disk / "s.json", b"first")
    with pytest.raises(ExportError, match=r"no space left on device: free some space or choose another folder$"):
        write_export(target, b"x" * 2**20)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ExportError, match=r"read-only file system: choose a folder on another disk$"):
        write_export(target, b"second")
    assert target.read_bytes() == b"first"
    assert contents(small_disk) == ["s.json"]


@needs_root
def test_home_is_the_caller_s(monkeypatch: pytest.MonkeyPatch) -> None:
    user = pwd.getpwnam("nobody")
    monkeypatch.setenv("HOME", "/elsewhere")
    assert resolve_path("~/x.json") == Path(pwd.getpwuid(0).pw_dir) / "x.json"
    sudo_by(monkeypatch, str(user.pw_uid), str(user.pw_gid))
    assert resolve_path("~/x.json") == Path(user.pw_dir) / "x.json"
    assert resolve_path("~x.json") == Path.cwd() / "~x.json"


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert default_path("h", 0, "json") == gone / "tcptop-h-19700101T000000Z.json"
    gone.rmdir()
    assert default_path("h", 0, "json").name == "tcptop-h-19700101T000000Z.json"
    with pytest.raises(ExportError, match="no such file or directory"):
        resolve_path("s.json")
    assert resolve_path(str(tmp_path / "s.json")) == tmp_path / "s.json"
