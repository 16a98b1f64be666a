"""Ctrl+P finds every action, from the bindings themselves."""

from __future__ import annotations

from textual.command import CommandPalette

from tcptop_tui.settings import Settings
from tcptop_tui.widgets.dialogs.palette import ActionProvider
from tests.support.dashboard import dashboard


async def offered(board: object) -> dict[str, str]:
    provider = ActionProvider(board.app.screen, None)  # type: ignore[attr-defined]
    return {str(hit.display): str(hit.help) async for hit in provider.discover()}


async def test_every_binding_that_is_in_force_is_there() -> None:
    async with dashboard() as board:
        found = await offered(board)
        for one in board.app.screen.active_bindings.values():
            if one.binding.description and one.enabled and one.node is not board.app.screen:
                assert (one.binding.tooltip or one.binding.description) in found
        assert found["Quit"].startswith("q F10")
        assert "Theme tcptop-light" in found
        board.app._settings = Settings(readonly=True)
        assert "Close the connection (asks first)" in found
        assert "Close the connection (asks first)" not in await offered(board)


async def test_an_action_is_found_and_done() -> None:
    async with dashboard() as board:
        hits = [hit async for hit in ActionProvider(board.app.screen, None).search("ended connections")]
        best = max(hits, key=lambda hit: hit.score)
        assert str(best.help) == "3"
        await best.command()
        await board.press("f12")
        assert board.app.view_options.view == "sessions"
        await board.pilot.press("ctrl+p")
        await board.pilot.pause()
        assert isinstance(board.app.screen, CommandPalette)
        await board.pilot.press("escape")


async def test_a_theme_is_chosen() -> None:
    async with dashboard() as board:
        provider = ActionProvider(board.app.screen, None)
        (hit,) = [hit async for hit in provider.search("tcptop-light")]
        hit.command()
        assert board.app.theme == "tcptop-light"


async def test_redrawing_is_harmless_without_a_terminal() -> None:
    async with dashboard() as board:
        await board.press("ctrl+l")
        assert board.row_count == 100
