"""Names by strangers in every view, page, dialog and notification: shown as they are, obeyed nowhere."""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from textual.app import App

from tcptop_tui import formats
from tcptop_tui.dashboard.app import TcptopApp
from tcptop_tui.drawing.driver import DiffDriver
from tcptop_tui.filters import parse
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.host.processes import ProcessFacts, SocketAnswer
from tcptop_tui.records import PING, State
from tcptop_tui.safe_text import clean
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import EndedConnections, Loss, Names, Pings, Status, Table, Transitions
from tests.support.dashboard import until_painted
from tests.support.hostile_names import NAMES, foreign
from tests.support.hostile_processes import hostile_processes
from tests.support.namespaces import cgroup
from tests.support.samples import NOW, UTC, Script, connections, rows_of, sampled, sessions, transitions
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host


TOUR = ("t", "t", "t", "t", "t", "2", "3", "4", "g", "5", "6", "1", "n", "a", "\x1b", "y", "\x1bOR", "own", "\x1b")


def test_real_processes_in_every_view(bpf_possible: None, tmp_path: Path) -> None:
    """Of the name, in arguments, cgroup and working directory; with the page, a copy, an export and a question."""
    here = tmp_path / "\x1b]0;here\x07\x9b31m\udcff"
    here.mkdir()
    with cgroup("\x1b]0;group\x07\x9bx") as group:
        inner = next(path for path in group.iterdir() if path.is_dir())
        with hostile_processes(b"\x1b]0;own\x07ed", b"[/b]\x9b2J", inside=in_cgroup_of(inner)) as made:
            ports = ",".join(str(one.port) for one in made)
            terminal = Terminal("--filter", f"port:{ports}", cwd=here)
            try:
                terminal.shows("·]0;own·ed")
                terminal.shows("[/b]")
                for key in TOUR:
                    terminal.type(key)
                    terminal.quiet(0.15)
                for one in made:
                    one.go_on()
                terminal.shows("FIN_WAIT2")
                terminal.type("\x1b[F\r")
                terminal.shows("History")
                terminal.shows("·]0;group··x")
                terminal.quiet(0.3)
                terminal.type("\x1b")
                terminal.quiet(0.3)
                terminal.type("e")
                terminal.shows("here")
                terminal.type("\r")
                terminal.shows("wrote")
                terminal.type("q")
                assert terminal.ended() == 0
            finally:
                terminal.close()
    assert foreign(terminal.output) == []
    assert b"\x1b]0;" not in terminal.output
    (copied,) = re.findall(rb"\x1b\]52;c;([^\x07]*)\x07", terminal.output)
    assert base64.b64decode(copied).decode().isprintable()
    assert list(here.glob("tcptop-*.json"))


def in_cgroup_of(group: Path) -> tuple[str, ...]:
    """As ``in_cgroup``, for a path that no shell should read."""
    return (
        sys.executable, "-c",
        "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); os.execvp(sys.argv[2], sys.argv[2:])",
        str(group / "cgroup.procs"),
    )  # fmt: skip


# -- the same without a kernel: all names at once ------------------------------------------------


class Hostile(Script):
    """Answers what a page asks with nothing but names of strangers."""

    def read_details(self, row: object) -> SocketAnswer:
        everything = b" ".join(NAMES).decode(errors="replace")
        facts = ProcessFacts(everything, everything, 1.0, 1.0, 1, 3, 4)
        return SocketAnswer({"congestion": everything, "cwnd": 10}, facts)


def script() -> Hostile:
    several = [
        {"comm": name[:15], "raddr": f"10.0.0.{k}", "netns": k, "cgroup": k, "uid": k} for k, name in enumerate(NAMES)
    ]
    stuck = [{"comm": b"[/b]\x1b[2J", "state": State.CLOSE_WAIT, "rport": k + 1, "id": 100 + k} for k in range(200)]
    rows = connections(*several, *stuck)
    hists, rows["rtt_sum_us"], rows["state_ns"] = sampled(rows, 6, 2), 200, 1
    ended = sessions(*({**one, "err": 111, "established_ns": 0} for one in several))
    called = dict(enumerate(name.decode(errors="surrogateescape") for name in NAMES))
    note = " ".join(called.values())
    return Hostile(
        Status("bpf", note), Names(called, called), EndedConnections(ended), Transitions(transitions(*several)),
        Pings(rows_of(PING, *several)), Table(rows, NOW, UTC, hists), Loss(1, 2, 3, 4, 5, 6, 7),
    )  # fmt: skip


KEYS = (
    "1", "end", "enter", "escape", "t", "t", "t", "t", "t", "2", "enter", "escape", "3", "enter", "escape", "4", "g",
    "g", "g", "5", "6", "enter", "escape", "1", "n", "n", "y", "a", "enter", "escape", "f3", *"nginx", "escape", "f9",
    "escape", "m", "F", "escape",
)  # fmt: skip


def drawn(app: App[None]) -> str:
    return "\n".join(line.text for line in app.screen._compositor.render_strips())


async def test_no_name_is_obeyed_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the terminal nor by Textual's markup, which would run actions."""
    names = [name.decode(errors="surrogateescape") for name in NAMES]
    monkeypatch.setattr(formats, "login_name", lambda uid: names[uid % len(names)])
    app = TcptopApp(script(), Settings(refresh_s=600), names[0], names[1], parse(""))
    app.host_names = HostNames(app._name_found, lambda address: names[hash(address) % len(names)])
    async with app.run_test(size=(160, 50)) as pilot:
        await app.first_table_shown.wait()
        for key in KEYS:
            await pilot.press(key)
            await until_painted(pilot)
            shown = drawn(app)
            assert not [c for c in shown if not c.isprintable() and c != "\n"], key
            assert not [
                segment
                for line in app.screen._compositor.render_strips()
                for segment in line
                if segment.style is not None and "quit" in str(segment.style.meta.get("@click", ""))
            ], key
        picture = app.export_screenshot(title="tcptop-tui")
        assert not [c for c in picture if not c.isprintable() and c != "\n"]
        assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314  we made it


async def test_a_page_of_any_name() -> None:
    """Its title is a str to Textual, which parses markup in those."""
    names = [name[:15] for name in NAMES if b"[" in name]
    rows = connections(*({"comm": name, "rport": k + 1} for k, name in enumerate(names)))
    app = TcptopApp(Script(Status("bpf"), Table(rows, NOW, UTC)), Settings(refresh_s=600), "host", "6.1")
    async with app.run_test(size=(160, 30)) as pilot:
        await app.first_table_shown.wait()
        await until_painted(pilot)
        seen = set()
        for _ in names:
            await pilot.press("enter")
            await pilot.pause()
            title = app.screen.query_one("#dialog")._border_title
            assert title is not None
            assert not any(span.style for span in title.spans)
            seen.add(title.plain.rpartition(" 10.0.0.1:")[0])
            await pilot.press("escape", "down")
        assert seen == set(map(clean, names))


# -- the last barrier -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
async def test_even_what_was_not_cleaned_is_not_obeyed(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(DiffDriver, "_get_terminal_size", lambda _self: (80, 3))
    monkeypatch.setattr(DiffDriver.__bases__[0], "write", lambda _self, data: written.append(data))
    monkeypatch.setattr(os, "environ", {"LC_ALL": "C.UTF-8"})
    driver = DiffDriver(None)  # type: ignore[arg-type]  no application is needed to draw
    driver.write(f"\x1b[1;1H\x1b[31m<{name.decode(errors='surrogateescape')}>\x1b[0m")
    driver.flush()
    assert foreign("".join(written).encode()) == []
    assert "\x1b]0;" not in "".join(written)
