"""Snapshots: what they say, and where they may be written."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import stat
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from tcptop_tui.errors import TcptopError
from tcptop_tui.export.document import DocumentInput, build_document
from tcptop_tui.export.writers import default_name, format_of, json_schema, to_csv, to_json, to_text
from tcptop_tui.fields import FIELDS, RowContext
from tcptop_tui.host.caller_files import ExportError, resolve_path, write_export
from tcptop_tui.model.alert_kinds import CloseWaitAlert
from tcptop_tui.model.wall_clock import WallClock
from tcptop_tui.records import HOLDING, RTT_SLOTS, Flag, HolderLookup, Rows, State
from tcptop_tui.stream.batches import Loss, Names
from tests.support.samples import NOW, UNKNOWN, UTC, connections, sessions, transitions

pytestmark = pytest.mark.host

NAMES = [
    "pid",
    "comm",
    "uid",
    "user",
    "netns",
    "ip",
    "laddr",
    "lport",
    "raddr",
    "rport",
    "state",
    "state_age_s",
    "age_s",
    "tx_bytes",
    "rx_bytes",
    "tx_bytes_per_s",
    "rx_bytes_per_s",
    "srtt_us",
    "retrans",
    "netns_name",
    "cgroup",
    "opened",
    "retrans_in",
    "dev",
    "ifindex",
    "holders",
    *(field.json for field in FIELDS if field.detail),
]


NAMED = Names(netns={1: "blue"}, cgroups={5: "/a"}, devices={1: {3: "=v\x1b0"}, 2: {3: "other"}})


def about(rows: Rows) -> RowContext:
    return RowContext(rows, NOW, names=NAMED, utc_ns=WallClock().with_reading(NOW, UTC).utc_ns)


def given(**changes: object) -> DocumentInput:
    hist = np.zeros(RTT_SLOTS, np.uint64)
    hist[4] = 10
    rows = connections(
        {"tx_bytes": 7, "rx_bytes": 8, "retrans": 1, "srtt_us": 20, "laddr": "::1", "raddr": "::1"},
        {"comm": b"=cmd|x\x1b[31m", "dev": 3},
        UNKNOWN,
    )
    made = DocumentInput(
        table=RowContext(rows, NOW, np.array([1.5, 0, np.nan]), np.array([0, 0, np.nan]), NAMED),
        transitions=about(transitions({}, {**UNKNOWN, "flags": Flag.DELAYED})),
        ended=about(sessions({"comm": b"ended", "state": State.CLOSE, "err": 111, "flags": Flag.ACTIVE}, UNKNOWN)),
        hist=hist, hist_sum_us=200,
        loss=Loss(ring_full=3, skipped=2, mended=1), utc_ns=UTC,
        host="h\x07ost", kernel="6.1",
        backend="bpf", backend_note="", filter_text="443", hidden_text="lport:22", connections_total=9,
        alerts=(CloseWaitAlert(key="k", filter="comm=a", comm=b"a\x1bb", pid=0, count=20, oldest_age_ns=None),),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def test_who_has_a_socket_open() -> None:
    rows = connections(
        {"id": 4, "pid": 812, "holders": 2, "holder_lookup": HolderLookup.DONE},
        {"id": 2, "pid": 9, "holders": 1, "holder_lookup": HolderLookup.DONE},
        {"id": 3, "pid": 9, "holder_lookup": HolderLookup.NO_INODE},
        {"id": 5, "pid": 9},
    )
    holders = np.array([(3, 1, 0, b"x"), (4, 812, 0, b"nginx"), (4, 813, 0, b"=w\x1bx"), (7, 1, 0, b"x")], HOLDING)
    nothing = np.zeros(4)
    named = given(table=RowContext(rows, NOW, nothing, nothing, holders=holders))
    made = build_document(named)
    data = json.loads(to_json(made))
    jsonschema.validate(data, json.loads(json_schema()))
    assert [row["holders"] for row in data["connections"]] == [
        [{"pid": 812, "comm": "nginx"}, {"pid": 813, "comm": "=w·x"}], [{"pid": 9, "comm": "nginx"}], [], None,
    ]  # fmt: skip
    lines = [line for line in to_csv(made).decode().splitlines() if line[0] != "#"]
    told = [row["holders"] for row in csv.DictReader(lines)]
    assert told == ["812=nginx 813==w·x", "9=nginx", "", ""]
    assert "nginx +1" in to_text(named)


def test_json_names_and_nulls() -> None:
    data = json.loads(to_json(build_document(given())))
    jsonschema.validate(data, json.loads(json_schema()))
    first, hostile, unknown = data["connections"]
    assert list(first) == NAMES
    assert first["ip"] == 6
    assert (first["tx_bytes"], first["tx_bytes_per_s"], first["age_s"], first["state_age_s"]) == (7, 1.5, 60.0, 5.0)
    assert first["user"] == "root"
    assert "\x1b" not in hostile["comm"]
    assert (hostile["dev"], hostile["ifindex"], hostile["laddr"]) == ("=v·0", 3, "10.0.0.1")
    assert "10.0.0.1%=v·0" in to_text(given())
    known = {"netns", "netns_name", "ip", "laddr", "raddr", "state", "retrans_in"}
    assert all(unknown[name] is None for name in NAMES if name not in known)
    assert data["meta"]["time"] == "2026-11-18T11:06:40.000000Z"
    assert data["meta"]["host"] == "h·ost"
    assert (data["meta"]["filter"], data["meta"]["connections_total"], data["meta"]["connections_shown"]) == (
        "443",
        9,
        3,
    )
    assert data["loss"]["lost"] == 5
    assert data["rtt"]["count"] == 10
    assert data["rtt"]["avg"] == 20.0
    assert data["rtt"]["buckets"][4] == {"low": 16, "high": 31, "count": 10}
    assert data["rtt"]["buckets"][-1]["high"] is None
    assert data["transitions"][0]["time"] == "2026-11-18T11:06:39.000000Z"
    assert data["transitions"][0]["ms"] == 2000.0
    assert data["transitions"][1]["ms"] is None
    assert data["transitions"][1]["delayed"]
    assert data["connections"][0]["netns_name"] == "blue"
    assert [(one["comm"], one["why"], one["opened"]) for one in data["sessions"]] == [
        ("ended", "refused", "connect"), (None, None, None),
    ]  # fmt: skip
    assert data["schema_version"] == 1
    assert data["meta"]["hidden"] == "lport:22"
    assert data["alerts"] == [{"text": "a·b: 20 in CLOSE_WAIT", "filter": "comm=a", "severe": True}]
    assert "alert: a·b: 20 in CLOSE_WAIT" in to_text(given()).splitlines()


def test_csv_is_a_table_with_its_origin() -> None:
    lines = to_csv(build_document(given())).decode().splitlines()
    origin = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    assert origin["host"] == "h·ost"
    assert origin["lost"] == "5"
    rows = list(csv.DictReader(io.StringIO("\n".join(line for line in lines if not line.startswith("#")))))
    assert list(rows[0]) == NAMES
    assert rows[0]["tx_bytes"] == "7"
    assert rows[1]["comm"].startswith("'=cmd")
    assert (rows[1]["dev"], rows[0]["dev"]) == ("'=v·0", "")
    assert rows[2]["pid"] == rows[2]["srtt_us"] == ""


def test_text_has_table_log_and_histogram() -> None:
    told = to_text(given())
    assert "filter: 443" in told
    assert "ESTABLISHED" in told
    assert "16 -> 31         : 10       |****************************************|" in told
    assert "\x1b" not in told


def test_nothing_at_all_is_a_document_too() -> None:
    empty = given(table=RowContext(connections(), NOW, np.zeros(0), np.zeros(0)), transitions=about(transitions()),
                  hist=np.zeros(RTT_SLOTS, np.uint64), hist_sum_us=0)  # fmt: skip
    assert to_json(build_document(empty))
    assert to_csv(build_document(empty))
    assert to_text(empty)


def test_names_and_formats() -> None:
    assert default_name("a/b c", UTC, "json") == "tcptop-a_b_c-20261118T110640Z.json"
    assert [format_of(name) for name in ("x.json", "x.CSV", "x.txt", "x.svg", "x.doc", "x")] == [
        "json", "csv", "txt", "svg", None, None,
    ]  # fmt: skip


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".tcptop")]


def test_written_whole_and_private(tmp_path: Path) -> None:
    target = tmp_path / "s.json"
    target.write_text("old")
    target.chmod(0o644)
    write_export(target, b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not leftovers(tmp_path)


def test_owned_by_the_user_who_called_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    found = write_export(tmp_path / "s.json", b"x").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65534)


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo", "missing", "name too long", "stranger"])
def test_refused_with_one_line(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "s.json"
    victim = tmp_path / "victim"
    victim.write_text("precious")
    if kind == "link":
        target.symlink_to(victim)
    elif kind == "dangling":
        target.symlink_to(tmp_path / "nothing")
    elif kind == "folder":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "missing":
        target = tmp_path / "no" / "s.json"
    elif kind == "name too long":
        target = tmp_path / ("x" * 300)
    elif os.geteuid():
        pytest.skip("only root can make a stranger's file")
    else:
        target.write_text("theirs")
        os.chown(target, 12345, 12345)
    with pytest.raises(ExportError) as caught:
        write_export(target, b"new")
    assert "cannot write" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert victim.read_text() == "precious"
    assert not leftovers(tmp_path)
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_a_stranger_linked_is_refused(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make a stranger's link")
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    write_export(link / "s.json", b"root's own link is fine")
    os.lchown(link, 12345, 12345)
    with pytest.raises(ExportError, match="symbolic link of another user"):
        write_export(link / "t.json", b"x")


def test_a_full_disk_keeps_what_was_there(small_disk: Path) -> None:
    target = small_disk / "s.json"
    write_export(target, b"first")
    with pytest.raises(ExportError, match="no space left on device"):
        write_export(target, b"x" * 2**20)
    assert target.read_bytes() == b"first"
    assert not leftovers(small_disk)


def test_paths_as_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_path("x.json") == tmp_path / "x.json"
    assert resolve_path("/a/b") == Path("/a/b")
    assert resolve_path("~/x").is_absolute()
    for bad in ("", "  ", "a\0b"):
        with pytest.raises(TcptopError):
            resolve_path(bad)


def test_the_schema_in_the_docs_is_the_one_in_force() -> None:
    assert (Path(__file__).parents[2] / "docs/snapshot.schema.json").read_bytes() == json_schema()
