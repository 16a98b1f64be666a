"""Recordings on full disks, over older ones, cut off, made of holes, with impossible gaps; and how one ends."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tcptop_tui.feed import Feed
from tcptop_tui.model.store import Store
from tcptop_tui.replay.recorder import Recorder
from tcptop_tui.replay.recording import BATCH_HEAD, MAGIC, dtype_layout, read_batches
from tcptop_tui.replay.source import ReplaySource
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Batch, Capture, Loss, Status, Table, Transitions
from tests.support.command_line import run_program
from tests.support.recordings import RECORDED_FIELDS, BatchList, one_row_table, write_recording
from tests.support.samples import NOW, SECOND, UTC, connections, transitions
from tests.support.sockets import listening
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host

SNAPSHOT = ("snapshot", "--backend", "diag", "--after", "0.3")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.tcptop"


MORE = {**RECORDED_FIELDS, "lport": 80}


class Repinning(BatchList):
    """Changes the capture of its feed at the first table, as F does."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed

    def offer(self, batch: Batch) -> bool:
        if isinstance(batch, Table):
            self._feed.set_capture(Capture(lports=frozenset({80})))
        return super().offer(batch)


def test_the_capture_can_be_changed_while_it_plays(path: Path) -> None:
    both = connections(RECORDED_FIELDS, MORE)
    write_recording(path, Table(both, NOW, UTC), Table(both, NOW + 1, UTC + 1))
    feed = Feed("auto", Settings(), Capture(), replay=path)
    sink = Repinning(feed)
    feed.run(sink, lambda _seconds: any(isinstance(batch, Status) and batch.ended for batch in sink.batches))
    assert [batch.rows["lport"].tolist() for batch in sink.batches if isinstance(batch, Table)] == [[22, 80], [80]]


# -- writing -----------------------------------------------------------------------------------


class Full:
    """A file on a disk that takes so many bytes."""

    def __init__(self, path: Path, room: int) -> None:
        self._file = path.open("wb", buffering=0)
        self._room = room

    def write(self, data: bytes) -> int:
        if not self._room:
            raise OSError(28, "No space left on device")
        written = self._file.write(data[: self._room])
        self._room -= written
        return written

    def fileno(self) -> int:
        return self._file.fileno()


@pytest.mark.parametrize("room", [0, 10, len(MAGIC + dtype_layout()), 3000, 3300])
def test_a_full_disk_ends_only_the_recording(path: Path, room: int) -> None:
    sink = BatchList()
    recorder = Recorder(sink, Full(path, room))  # type: ignore[arg-type]
    batches = [
        Status("bpf", "as ever"),
        *[Transitions(transitions(RECORDED_FIELDS))] * 9,
        one_row_table(),
        Loss(1),
        one_row_table(1),
    ]
    assert all(recorder.offer(batch) for batch in batches)
    assert [one for one in sink.batches if not isinstance(one, Status)] == batches[1:]
    last = [one for one in sink.batches if isinstance(one, Status)][-1]
    assert last == Status("bpf", "as ever; the recording stopped: no space left on device")
    whole = path.read_bytes()
    assert len(whole) <= room
    if len(whole) >= len(MAGIC + dtype_layout()):
        assert isinstance(list(read_batches(path)), list)


def test_what_was_behind_is_behind_in_the_replay(path: Path) -> None:
    late = replace(one_row_table(9 * SECOND), events_ns=NOW + 2 * SECOND)
    batches = [one_row_table(), late, one_row_table(10 * SECOND)]
    found = [one for one in read_batches(write_recording(path, *batches)) if isinstance(one, Table)]
    assert [one.events_ns for one in found] == [0, NOW + 2 * SECOND, 0]
    store = Store(Settings())
    behind_s = []
    for batch in found:
        store.apply(batch)
        behind_s.append(store.snapshot().behind_s)
    assert behind_s == [0, 7, 0]


def test_a_recording_from_before_that_was_recorded_is_played(path: Path) -> None:
    write_recording(path, Status("bpf"), one_row_table())
    path.write_bytes(path.read_bytes().replace(MAGIC, b"tcptop-tui recording 1\n"))
    assert [type(batch) for batch in read_batches(path)] == [Status, Table]


def test_times_that_there_are_not(path: Path) -> None:
    """A table is not ahead of itself; damaged bytes end in no number that overflows."""
    write_recording(path, replace(one_row_table(), events_ns=2**64 - 1))
    (found,) = read_batches(path)
    assert isinstance(found, Table)
    assert found.events_ns == NOW


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=$1 none $2 && echo -n precious > $2/r.tcptop && cd $2 || exit 9
shift 2; "$@"; echo "code $?"; ls -A; cat r.tcptop
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.parametrize("size", ["4k", "12k"])
def test_on_a_small_disk_the_old_recording_stays(tmp_path: Path, size: str) -> None:
    """In a mount namespace; the new one has no room for a header, or for a table of so many sockets."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(listening())
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", ON_A_SMALL_DISK, "bash", size, str(folder), sys.executable,
             "-m", "tcptop_tui", *SNAPSHOT, "-o", str(tmp_path / "s.json"), "--record", "r.tcptop"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.stdout == "code 1\nr.tcptop\nprecious"
    assert "no space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "s.json").read_text())["meta"]["backend"] == "diag"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_the_dashboard_goes_on_with_bpf(tmp_path: Path, bpf_possible: None) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = f'mount -t tmpfs -o size=4k none {folder} && exec "$@"'
    program = ("unshare", "--mount", "bash", "-c", script, "bash", sys.executable, "-m", "tcptop_tui")
    terminal = Terminal("--record", str(folder / "r.tcptop"), program=program)
    try:
        terminal.shows("the recording stopped: no space left on device")
        terminal.shows("backend bpf")
        assert "ENDED" not in terminal.text
        terminal.type("q")
        assert terminal.ended() == 0
    finally:
        terminal.close()


def test_an_old_recording_stays_until_a_new_one_works(path: Path) -> None:
    path.write_bytes(b"precious")
    without_a_source = (
        "import sys; from tcptop_tui import feed; feed.Feed._run = lambda *_: None\n"
        "from tcptop_tui.cli.entry import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", without_a_source, *SNAPSHOT, "--record", str(path)]
    nothing = subprocess.run(command, capture_output=True, check=False)
    assert nothing.returncode in {0, 1}
    assert path.read_bytes() == b"precious"
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert run_program(*SNAPSHOT, "--record", str(path)).returncode == 0
    assert any(isinstance(batch, Table) for batch in read_batches(path))
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_place_that_cannot_be_is_said_before_the_screen(tmp_path: Path) -> None:
    terminal = Terminal("--backend", "diag", "--record", str(tmp_path / "missing" / "r"), columns=200)
    try:
        assert terminal.ended() == 1
        assert "no such file or directory" in terminal.text
        assert b"\x1b[?1049h" not in terminal.output
    finally:
        terminal.close()


def test_what_was_recorded_is_there_after_a_kill(path: Path) -> None:
    looking = (*SNAPSHOT[:-1], "60", "--record", str(path))
    command = [sys.executable, "-m", "tcptop_tui", *looking]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (path.exists() and any(isinstance(batch, Table) for batch in read_batches(path))):
            assert process.poll() is None
        process.kill()
    assert run_program("snapshot", "--after", "0.1", "--replay", str(path)).returncode == 0


# -- reading -----------------------------------------------------------------------------------


def sparse(path: Path, kind: int, size: int, times: int) -> Path:
    """Batches of nothing, a hole each."""
    write_recording(path, Status("bpf"), one_row_table())
    with path.open("r+b") as file:
        for _ in range(times):
            file.seek(0, os.SEEK_END)
            file.write(BATCH_HEAD.pack(kind, size, NOW + 1, UTC))
            file.truncate(file.tell() + size)
    return path


MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command and prints its peak memory, KiB. The count begins with that of the process that starts it."""


@pytest.mark.parametrize("kind", [1, 2, 3, 7, 8, 9])
def test_holes_are_no_batches_and_take_no_memory(path: Path, kind: int) -> None:
    item = {1: Transitions(transitions(RECORDED_FIELDS)).rows, 3: one_row_table().rows}.get(kind)
    size = 2**28 - 2**28 % (1 if item is None else item.itemsize)
    sparse(path, kind, size, 2)
    command = [sys.executable, "-m", "tcptop_tui", "snapshot", "--after", "0.5", "--replay", str(path)]
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=False)
    assert int(done.stdout) < 220 * 1024
    assert done.stderr.count("\n") == 1
    assert "damaged" in done.stderr


def played(path: Path, stopped: Callable[[BatchList, float], bool]) -> BatchList:
    sink = BatchList()
    source = ReplaySource(path)
    source.open()
    source.run(sink, lambda wait_s: stopped(sink, wait_s))
    return sink


def test_it_is_asked_to_stop_at_every_batch(path: Path) -> None:
    write_recording(path, Status("bpf"), *[Transitions(transitions(RECORDED_FIELDS))] * 50, one_row_table())
    sink = played(path, lambda sink, _: len(sink.batches) >= 7)
    assert len(sink.batches) == 7


def test_a_table_of_another_century_is_not_waited_for(path: Path) -> None:
    write_recording(
        path, one_row_table(), one_row_table(SECOND // 5), one_row_table(64 * 365 * 86_400 * SECOND), Loss(1)
    )
    waits: list[float] = []

    def stopped(sink: BatchList, wait_s: float) -> bool:
        waits.append(wait_s)
        return bool(sink.batches) and isinstance(sink.batches[-1], Status) and sink.batches[-1].ended

    sink = played(path, stopped)
    assert sink.batches[-1] == Status("replay", "recording r.tcptop: the end", ended=True)
    assert max(waits) <= 1
    assert 0.2 in waits


@pytest.mark.parametrize(
    "batches", [[], [Status("bpf"), Loss(1)], [Transitions(transitions(RECORDED_FIELDS))]], ids=len
)
def test_no_table_at_all_is_said_at_once(path: Path, batches: list[Batch]) -> None:
    write_recording(path, *batches)
    for arguments in (["snapshot"], []):
        told = run_program(*arguments, "--replay", str(path))
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr == f"tcptop-tui: {path} has no table in it: record for longer\n"
    told = run_program("trace", "states", "--json", "--replay", str(path))
    assert told.returncode == (0 if batches and isinstance(batches[0], Transitions) else 1)


@pytest.mark.parametrize("left", [1, 10, 30])
@pytest.mark.parametrize("command", ["snapshot --after 0.5", "trace states --json"])
def test_one_that_was_cut_off_says_so(path: Path, left: int, command: str) -> None:
    write_recording(path, Status("bpf"), Transitions(transitions(RECORDED_FIELDS)), one_row_table(), one_row_table(1))
    os.truncate(path, path.stat().st_size - left)
    told = run_program(*command.split(), "--replay", str(path))
    assert told.returncode == 0
    assert "7001" in told.stdout
    assert "r.tcptop: cut off here, played to where it is whole" in told.stderr


def test_a_signal_ends_a_replay_that_waits(path: Path) -> None:
    write_recording(path, one_row_table(), one_row_table(100 * SECOND))
    command = [sys.executable, "-m", "tcptop_tui", "trace", "states", "--replay", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM


def test_sizes_that_nothing_has(path: Path) -> None:
    write_recording(path, one_row_table())
    with path.open("ab") as file:
        file.write(struct.pack("<BxxxIQQ", 5, 2**30, 0, 0))
    told = run_program("snapshot", "--after", "0.3", "--replay", str(path))
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "damaged: a batch of 1073741824 bytes" in told.stderr
