"""The tab of `avatar live`: delay and rate, and the driver's neutral face."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from avatar.viewer.live import LiveStage

if TYPE_CHECKING:
    from viser import ViserServer

NEUTRAL = "This is my neutral face"
HINT = "Hold your face relaxed for a second, looking at the camera, then press"


class LiveTab:
    """Builds the tab's controls; the text is updated from the thread that follows the face."""

    def __init__(self, server: ViserServer, stage: LiveStage, show: Callable[[], None]) -> None:
        """show: shows the live driver again, where something else was chosen. Call inside the tab."""
        server.gui.add_text("Driver", stage.tracker.name, disabled=True)
        self._status: Any = server.gui.add_markdown("starting")
        server.gui.add_button(NEUTRAL, hint=HINT).on_click(lambda event: stage.tracker.renew())
        server.gui.add_button("Show the live driver").on_click(lambda event: show())
        stage.status_changed = self._show

    def _show(self, text: str) -> None:
        self._status.content = "  \n".join(part.strip() for part in text.replace("; ", "\n").split("\n"))
