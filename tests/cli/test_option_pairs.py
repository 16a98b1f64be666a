"""Every option beside every other one changes what comes out, or is refused: all pairs of all commands are tried.

What the kernel side and the files are asked for is compared as it is handed over; what is written is compared byte by
byte, for the same made-up rows.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import pytest

import tcptop_tui.cli.entry as entry  # noqa: PLR0402
import tcptop_tui.cli.headless as headless  # noqa: PLR0402
from tcptop_tui.model.store import Store
from tcptop_tui.records import PING, State
from tcptop_tui.stream.batches import Batch, EndedConnections, Pings, Status, Table, Transitions
from tcptop_tui.trace import commands, options, rtt
from tcptop_tui.trace.stream_loop import StreamRunner
from tests.support.command_line import command_at, leaf_commands
from tests.support.recordings import write_recording
from tests.support.samples import NOW, SECOND, UTC, connections, rows_of, sampled, sessions, transitions, words

ELSEWHERE = {"config_file", "debug", "version", "help"}
"""Not about what is shown."""
SAID_ANYWAY = {
    ("states", "wall", "as_json"), ("life", "wall", "as_json"), ("connect", "wall", "as_json"),
    ("ping", "wall", "as_json"), ("ping", "wall", ""), ("rtt", "wall", "as_json"), ("rtt", "wall", "as_csv"),
}  # fmt: skip
"""The time of day stands there also when nobody asks for it: who asks gets it."""


def batches() -> Iterator[Batch]:
    """Of each process three of everything; of connect() successes and failures."""
    facts = [
        {
            "pid": pid, "uid": pid, "raddr": f"10.0.0.{pid}", "laddr": f"10.0.1.{pid}", "lport": 80, "rport": 3 + pid,
            "id": number,
        } for number, pid in enumerate([*range(1, 11)] * 3, 1)
    ]  # fmt: skip
    yield Status("bpf")
    rows = connections(*facts)
    yield Table(rows, NOW, UTC, sampled(rows, [3, 5], [4, 2]))
    yield Transitions(transitions(*facts))
    refused = {"oldstate": State.SYN_SENT, "newstate": State.CLOSE, "err": 111}
    yield Transitions(transitions(*({**one, **refused, "id": 100 + one["id"]} for one in facts)))
    yield Pings(
        rows_of(
            PING, *({"ts_ns": NOW + one["id"], "saddr": words("::1" if one["id"] % 2 else "10.0.0.1")} for one in facts)
        )
    )
    yield EndedConnections(sessions(*facts))
    for number in range(1, 9):
        yield Table(rows, NOW + number * SECOND, UTC + number * SECOND, sampled(rows, [3, 5], [4 + number, 2]))


class Names:
    lost = 0

    def name_of(self, _words: tuple[int, int], _ts_ns: int) -> tuple[str, float]:
        return "example.org", 1.0

    def refresh(self) -> None:
        pass


class Sent:
    """Takes the place of the journal."""

    refused = 0
    rows = 0

    def send(self, subject: Any) -> None:
        Sent.rows += len(subject.rows)

    def close(self) -> None:
        pass


class Result:
    """What came of a command line, in all that can be told apart."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._seen: list[Any] = []
        self._made = folder / "made.txt"
        self._written = os.open(folder / "output", os.O_RDWR | os.O_CREAT)

        @contextmanager
        def lookups(*, is_wanted: bool) -> Iterator[Names | None]:
            yield Names() if is_wanted else None

        def output(**_: bool) -> Any:
            return open(self._written, "wb", 0, closefd=False)

        def picture(feed: Any, settings: Any, chosen: Any, seconds: float, config: Any) -> Any:
            async def drawn() -> str:
                return repr((vars(feed), settings, chosen, seconds, config))

            return drawn()

        clock = itertools.count(0, 10)
        for where, name, value in (
            (commands, "run_stream", self._stream), (commands, "drop_unneeded", lambda *_, **__: None),
            (commands, "dns_lookups", lookups), (commands, "Journal", Sent), (options, "standard_output", output),
            (headless, "standard_output", output), (headless, "drop_unneeded", lambda *_, **__: None),
            (headless, "_run_feed", self._collect), (headless, "_render_svg", picture),
            (entry, "_dashboard", lambda *given: self._seen.append(_told(given))),
        ):  # fmt: skip
            monkeypatch.setattr(where, name, value)
        monkeypatch.setattr(rtt.time, "monotonic", lambda: float(next(clock)))

    def _stream(self, feed: Any, stream: Any, written: Any, duration_s: float | None, _attached: Any) -> int:
        self._seen += [_told(feed), duration_s]
        runner = StreamRunner(stream, written, None, lambda: None)
        for batch in batches():
            runner.offer(batch)
            if runner.stopped(0):
                break
        if runner.error:
            raise runner.error
        runner.finish()
        return 0

    def _collect(self, feed: Any, settings: Any, seconds: float, _attached: Any) -> Store:
        self._seen += [_told(feed), settings, seconds]
        store = Store(settings)
        for batch in batches():
            store.apply(batch)
        return store

    def of(self, arguments: list[str]) -> tuple[int, str]:
        """Exit code and a text that is the same only where nothing differs."""
        self._seen.clear()
        Sent.rows = 0
        os.ftruncate(self._written, 0)
        os.lseek(self._written, 0, os.SEEK_SET)
        code = entry.main(arguments)
        output = os.pread(self._written, 1 << 22, 0)
        if self._made.exists():
            output += b"in a file: " + self._made.read_bytes()
            self._made.unlink()
        return code, repr((self._seen, Sent.rows, _without_time(output)))


def _without_time(output: bytes) -> bytes:
    """A snapshot says when it was made."""
    return b"\n".join(line for line in output.split(b"\n") if b"created" not in line)


def _told(thing: Any) -> str:
    """All that it was given, to the bottom."""
    if isinstance(thing, tuple):
        return repr([_told(one) for one in thing])
    if is_dataclass(thing):
        return repr([_told(getattr(thing, field.name)) for field in fields(thing)])
    if type(thing).__module__.startswith("tcptop_tui.") and hasattr(thing, "__dict__"):
        return repr({name: _told(value) for name, value in vars(thing).items()})
    return repr(thing)


@pytest.fixture
def value_of(tmp_path: Path) -> Callable[[click.Parameter], list[str]]:
    """An option as it is written, with a value that is not the default."""
    recording = str(write_recording(tmp_path / "r.tcptop", *batches()))
    known = {
        "replay": recording, "record": str(tmp_path / "new"), "cgroup": "/", "laddr": "10.0.1.3", "raddr": "10.0.0.5",
        "uid": "7", "filter_text": "rport:5", "theme": "tcptop-light", "output": str(tmp_path / "made.txt"),
        "lport": "80", "rport": "4", "refresh": "3", "after": "3", "log_size": "100", "cgroupmap": "/pin",
        "mntnsmap": "/pin", "count": "2", "interval": "3", "kind": "csv", "backend": "diag", "pid": "4", "cpu": "0",
        "max_connections": "99", "ring_mb": "1", "duration": "3", "duration_too": "3",
    }  # fmt: skip

    def written(param: click.Parameter) -> list[str]:
        name = max(param.opts, key=len)
        return [name] if getattr(param, "is_flag", False) else [name, known[str(param.name)]]

    return written


@pytest.mark.parametrize("path", [(), *(path for path in leaf_commands() if path != ("doctor",))], ids=" ".join)
def test_no_option_is_without_effect(
    path: tuple[str, ...], value_of: Callable[[click.Parameter], list[str]], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    options = (param for param in command_at(path).params if isinstance(param, click.Option))
    params = [param for param in options if param.name not in ELSEWHERE]
    tried = Result(monkeypatch, tmp_path)
    shown: dict[frozenset[str], tuple[int, str]] = {}

    def outcome(*given: click.Parameter) -> tuple[int, str]:
        key = frozenset(str(param.name) for param in given)
        if key not in shown:
            code, told = tried.of([*path, *(word for param in given for word in value_of(param))])
            captured = capsys.readouterr()
            assert (code, captured.err.count("\n")) in {(0, 0), (0, 1), (2, 1)}, (key, captured.err)
            shown[key] = code, told + captured.out
        return shown[key]

    assert tried.of([*path]) == tried.of([*path])
    without = set()
    for option in params:
        if outcome(option) == outcome():
            without.add((path[-1] if path else "", str(option.name), ""))
    for option, beside in itertools.permutations(params, 2):
        both = outcome(option, beside)
        if both[0] == 0 and both == outcome(beside) and outcome(option) != outcome():
            without.add((path[-1] if path else "", str(option.name), str(beside.name)))
    assert without - SAID_ANYWAY == set()
