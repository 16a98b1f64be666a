"""Files and streams with names by strangers in them, and files by strangers: damaged, cut off, made up."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcptop_tui.errors import UsageError
from tcptop_tui.export.render import HostInfo, render
from tcptop_tui.filters import parse
from tcptop_tui.model.frame import Frame, ViewOptions, make_frame
from tcptop_tui.model.grouping import GROUPINGS
from tcptop_tui.model.store import Store
from tcptop_tui.records import ENDED, PING, ROW, TRANSITION, Rows
from tcptop_tui.replay.recorder import Recorder
from tcptop_tui.replay.recording import MAGIC as _MAGIC
from tcptop_tui.replay.recording import dtype_layout as _layout
from tcptop_tui.replay.recording import read_batches
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, EndedConnections, Loss, Names, Pings, Status, Table, Transitions
from tests.support.hostile_names import COMMS, NAMES, TEXTS, foreign
from tests.support.hostile_processes import hostile_processes
from tests.support.recordings import BatchList
from tests.support.samples import NOW, UTC, connections, rows_of, sessions, transitions
from tests.support.terminal import Terminal

FORMULA = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
VIEWS = ("connections", "connects", "sessions", "rtt-view", "ping-view", "board")
EASY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def frames(*batches: Batch) -> list[Frame]:
    """As every view, grouping and a filter show them."""
    store = Store(Settings())
    for batch in batches:
        store.apply(batch)
    facts = store.snapshot()
    looks = [ViewOptions(view=view, rtt_by="comm") for view in VIEWS] + [
        ViewOptions(group=group) for group in GROUPINGS
    ]
    return [make_frame(facts, look) for look in (*looks, ViewOptions(filter=parse("rtt>1ms !comm:nginx")))]


def checked(data: bytes) -> str:
    """Text without anything that a terminal obeys."""
    words = data.decode()
    assert not [c for c in words if not c.isprintable() and c != "\n"]
    return words


def check_csv(words: str) -> None:
    """No cell is a formula, nor is one in what stands above the table, which a spreadsheet reads, too."""
    comments = [line for line in words.splitlines() if line.startswith("# ")]
    rows = list(csv.reader(io.StringIO("\n".join(words.splitlines()[len(comments) :]))))
    assert len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(tuple(FORMULA)) or re.fullmatch(r"-?[\d.]+", cell)
    for part in (part for line in comments for part in re.split("[,;]", line)):
        assert not part.strip().startswith(tuple(FORMULA))


@EASY
@given(st.lists(COMMS, min_size=1, max_size=6), st.lists(TEXTS, min_size=5, max_size=5))
def test_documents(comms: list[bytes], texts: list[str]) -> None:
    host, kernel, note, netns, cgroup = texts
    several = [{"comm": comm, "netns": 1, "cgroup": 1} for comm in comms]
    frame, *_ = frames(
        Status("bpf", note), Names({1: netns}, {1: cgroup}), Transitions(transitions(*several)),
        EndedConnections(sessions(*several)), Table(connections(*several), NOW, UTC),
    )  # fmt: skip
    origin = HostInfo(host, kernel)
    document = json.loads(checked(render(frame, origin, "json", "")))
    assert len(document["connections"]) == len(comms)
    check_csv(checked(render(frame, origin, "csv", "")))
    checked(render(frame, origin, "txt", ""))


# -- recordings -----------------------------------------------------------------------------------


def recording(*batches: Batch) -> bytes:
    file = io.BytesIO()
    recorder = Recorder(BatchList(), file)
    for batch in batches:
        recorder.offer(batch)
    return file.getvalue()


def any_rows(dtype: np.dtype, seed: random.Random) -> Rows:  # type: ignore[type-arg]
    """Random bytes: every number that there is, at every place."""
    rows = np.frombuffer(seed.randbytes(dtype.itemsize * 8), dtype).copy()
    for name in {"comm", "bystander_comm"}.intersection(dtype.names or ()):
        rows[name] = [seed.choice(NAMES)[:15] for _ in rows]
    return rows


def made_up(seed: random.Random) -> list[Batch]:
    called = dict(enumerate(name.decode(errors="replace") for name in NAMES))
    now_ns, utc_ns = seed.choice([(NOW, UTC), (0, 0), (2**64 - 1, 0), (0, 2**64 - 1), (2**63, 2**63)])
    return [
        Status("bpf\x1b[2J", called[0]), Names(called, called), Transitions(any_rows(TRANSITION, seed)),
        EndedConnections(any_rows(ENDED, seed)), Pings(any_rows(PING, seed)), Table(any_rows(ROW, seed), NOW, UTC),
        Loss(*(seed.randrange(-(2**40), 2**40) for _ in range(7))), Transitions(any_rows(TRANSITION, seed)),
        Table(any_rows(ROW, seed), now_ns, utc_ns),
    ]  # fmt: skip


def plausible() -> list[Batch]:
    return [
        Status("bpf"), Names({1: "blue"}, {5: "/a"}), Transitions(transitions({}, {"rport": 1})),
        EndedConnections(sessions({})), Pings(rows_of(PING, {})), Table(connections({}, {"rport": 1}), NOW, UTC),
        Loss(1),
        Table(connections({}), NOW + 9, UTC),
    ]  # fmt: skip


def damaged(number: int) -> bytes:
    """A recording with bits turned over, a part cut out or the end missing; or one that nobody recorded."""
    seed = random.Random(number)
    data = bytearray(recording(*(seed.choice([made_up, lambda _: plausible()])(seed))))
    start = len(_MAGIC + _layout()) if seed.randrange(10) else 0
    for _ in range(seed.choice([0, 1, 8, 200])):
        data[seed.randrange(start, len(data))] ^= 1 << seed.randrange(8)
    cut = seed.randrange(start, len(data))
    return bytes(seed.choice([data, data[:cut], data[:start] + data[cut:], data + data[start:]]))


@EASY
@given(st.integers(0, 2**32))
def test_any_recording_is_shown_or_refused_in_one_line(number: int) -> None:
    data = damaged(number)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        batches = []
        try:
            batches += list(read_batches(Path(file.name)))
        except UsageError as error:
            assert "recording" in str(error) or "recorded" in str(error) or "damaged" in str(error)
        for frame in frames(*batches):
            for kind in ("json", "csv", "txt"):
                words = checked(render(frame, HostInfo("host", "6.1"), kind, ""))
            json.loads(render(frame, HostInfo("host", "6.1"), "json", ""))
            check_csv(render(frame, HostInfo("host", "6.1"), "csv", "").decode())
            assert words


def headed(kind: int, payload: bytes, size: int | None = None) -> bytes:
    return _MAGIC + _layout() + struct.pack("<BxxxIQQ", kind, len(payload) if size is None else size, 0, 0) + payload


HAND_MADE = {
    "no such kind": headed(99, b""), "too large": headed(3, b"", 2**32 - 1),
    "larger than the file": headed(3, b"", 2**29), "no whole rows": headed(3, b"x"),
    "deep": headed(7, b'{"netns":' * 100_000), "no UTF-8": headed(5, b'{"backend":"\xff"}'),
    "half a character": headed(5, b'{"backend":"\\ud800"}'), "no number": headed(4, b'{"ring_full":1e999}'),
    "large number": headed(4, b'{"ring_full":' + b"9" * 5000 + b"}"), "empty": b"",
    "only the first line": _MAGIC, "another version": _MAGIC + struct.pack("<H", 3) + b"abc",
    "nothing in it": _MAGIC + _layout(),
}  # fmt: skip


@pytest.mark.parametrize("data", HAND_MADE.values(), ids=HAND_MADE)
def test_made_by_hand(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "\x1b]0;it\x07.tcptop"
    path.write_bytes(data)
    run = [sys.executable, "-m", "tcptop_tui", "trace", "states", "--json", "--duration", "1", "--replay", str(path)]
    done = subprocess.run(run, capture_output=True, timeout=30, check=False)
    assert done.returncode in {0, 1, 2}
    assert b"Traceback" not in done.stderr
    assert b"unexpected" not in done.stderr
    assert foreign(done.stdout + done.stderr) == []
    assert done.stdout == b""


@pytest.mark.parametrize("number", range(2))
def test_every_view_of_a_made_up_recording_in_a_terminal(number: int, tmp_path: Path) -> None:
    path = tmp_path / "\x1b]0;it\x07.tcptop"
    path.write_bytes(recording(*made_up(random.Random(number))))
    terminal = Terminal("--replay", str(path), cwd=tmp_path)
    try:
        terminal.shows("ENDED")  # at its end, or refused from some table on
        for key in (*"ttttt23ggg4561nya", "\x1b", "\r", "\x1b", "3", "\r", "\x1b", "2", "\r", "\x1b", "1", "e", "\r"):
            terminal.type(key)
            terminal.quiet(0.1)
        terminal.process.terminate()
        assert terminal.ended() == 128 + signal.SIGTERM
    finally:
        terminal.close()
    assert foreign(terminal.output) == []
    assert b"\x1b]0;" not in terminal.output


# -- streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [(), ("-s",), ("--json",)], ids=["text", "csv", "json"])
def test_streams_of_hostile_names(form: tuple[str, ...], tmp_path: Path) -> None:
    several = [
        {"comm": name[:15], "bystander_comm": name[:15], "netns": k, "cgroup": k} for k, name in enumerate(NAMES)
    ]
    called = dict(enumerate(name.decode(errors="replace") for name in NAMES))
    path = tmp_path / "it.tcptop"
    path.write_bytes(
        recording(Names(called, called), Table(connections({}), NOW, UTC), Transitions(transitions(*several)),
                  EndedConnections(sessions(*several)), Table(connections({}), NOW + 9, UTC + 9))
    )  # fmt: skip
    wide = () if "--json" in form else ("-w",)
    for command in (("states", *wide), ("life", *wide), ("connect", *wide), ("rtt", "-B")):
        run = [sys.executable, "-m", "tcptop_tui", "trace", *command, *form, "--replay", str(path)]
        done = subprocess.run(run, capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        assert foreign(done.stdout + done.stderr) == []
        if form == ("--json",):
            assert all(json.loads(line) for line in done.stdout.splitlines())
        elif form:
            for cell in (cell for row in csv.reader(io.StringIO(done.stdout.decode())) for cell in row):
                assert not cell.startswith(tuple(FORMULA))


def test_a_stream_of_a_real_process(bpf_possible: None) -> None:
    with hostile_processes(b"=\x1b]0;own\x07\x9b2J") as (one,):
        run = [sys.executable, "-m", "tcptop_tui", "trace", "states", "-s", "-D", str(one.port), "-f", "comm:own"]
        stream = subprocess.Popen([*run, "--count", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        assert stream.stdout is not None
        header = stream.stdout.readline()
        one.go_on()  # it connects once more: whose that is the kernel side knows at once
        told, said = stream.communicate(timeout=30)
    assert foreign(header + told + said) == []
    assert b",'=\xc2\xb7]0;own" in told


def test_what_is_said_of_a_path(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\x1b]0;x\x07\x9b\xff"
    Path(os.fsdecode(folder)).mkdir()
    for output in (folder + b"/it.json", folder + b"/none/it.json"):
        run = [sys.executable, "-m", "tcptop_tui", "snapshot", "--after", "0.1", "--backend", "diag", "-o", output]
        done = subprocess.run(run, capture_output=True, timeout=30, check=False)
        assert foreign(done.stdout + done.stderr) == []
        assert b"it.json" in done.stderr
