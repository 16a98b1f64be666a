"""``trace connect -c``: what is beyond the number of destinations that are counted one by one is said."""

from __future__ import annotations

import io
import json

import pytest

from tcptop_tui.filters import parse
from tcptop_tui.records import State
from tcptop_tui.stream.batches import Transitions
from tcptop_tui.trace import connect
from tcptop_tui.trace.output import Layout, Output
from tcptop_tui.trace.stream_loop import LineContext
from tests.support.samples import transitions


class Written(io.BytesIO):
    def fileno(self) -> int:
        return 1


def counted(destinations: int) -> list[dict[str, object]]:
    file = Written()
    stream = connect.ConnectStream(Output(Layout("json", ()), file), parse(""), tally=connect.ConnectCounts())
    outcome = {"oldstate": State.SYN_SENT, "newstate": State.ESTABLISHED}
    rows = transitions(*({**outcome, "rport": 1 + number, "id": number} for number in range(destinations)))
    stream.write_batch(Transitions(rows), LineContext())
    stream.finish(LineContext())
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_connects_beyond_the_limit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(connect, "_MAX_KEYS", 5)
    assert len(counted(5)) == 5
    assert capsys.readouterr().err == ""
    assert len(counted(8)) == 5
    assert "3 connects to other destinations are not listed" in capsys.readouterr().err
