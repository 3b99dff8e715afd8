"""The tab Drive: whose performance the avatar shows."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avatar.animation.path_faces import AT_REST, OWN_CLIP
from avatar.base.errors import InputError
from avatar.base.files import write_bytes
from avatar.viewer.controls import Controls

TAKEN = "A video, a capture or run folder, a Live Link Face .csv or an .npz, on the viewer's machine"
UPLOADS = "avatar-view-"
"""How folders of files begin that were sent from a page."""


class DriveTab:
    """Chooses, tracks and plays performances."""

    def __init__(
        self,
        controls: Controls,
        changed: Callable[[], None],
        performances: tuple[str, ...] = (AT_REST, OWN_CLIP),
    ) -> None:
        """changed: called when another performance is shown. performances: those to choose from at first."""
        self.controls, self.session, self._changed = controls, controls.session, changed
        self._uploads: Path | None = None
        gui, session = controls.server.gui, controls.session
        self._performance: Any = gui.add_dropdown("Performance", performances, initial_value=performances[0])
        controls.on(self._performance, self.perform)
        controls.press("Play / pause", self.play_or_pause, hint="Key: L")
        self._loop = gui.add_checkbox("Loop", True)
        with gui.add_folder("Another driver"):
            self._source = gui.add_text("File or folder", "", hint=TAKEN)
            controls.press("Open", lambda: self._open(self._source.value))
            self._upload = gui.add_upload_button("Send a file", hint="From the computer of this page")
            self._upload.on_upload(lambda event: self._take_upload())
            self._thorough = gui.add_checkbox(
                "Thorough", False, hint="Track a video as avatar reanimate does: a little better, many times slower"
            )
            self._doing = gui.add_markdown("", visible=False)
            self._progress = gui.add_progress_bar(0.0, visible=False)
            self._stop = controls.press("Stop", session.driving.stop, visible=False)
        session.driving.progressed = self._show_progress

    def show(self) -> None:
        """Show the state's performance in the list."""
        self._performance.value = self.session.store.state.performance

    def play_or_pause(self) -> None:
        if self.session.player.is_playing:
            self.session.pause()
            return
        self.session.play(self._loop.value)
        self.show()
        self._changed()

    def close(self) -> None:
        """Remove what was sent from pages."""
        if self._uploads is not None:
            shutil.rmtree(self._uploads, ignore_errors=True)

    def perform(self, name: str) -> None:
        """Show a performance from its beginning."""
        self.session.perform(name)
        self.show()
        self._changed()

    def _take_upload(self) -> None:
        sent = self._upload.value
        try:
            self._uploads = self._uploads or Path(tempfile.mkdtemp(prefix=UPLOADS))
            # its own name, for the list of performances, without what could lead elsewhere
            name = Path(sent.name.replace("\\", "/")).name.lstrip(".") or "driver"
            self._open(str(write_bytes(self._uploads / name, sent.content)))
        except Exception as error:
            self.controls.failed(error)

    def _open(self, source: str) -> None:
        """Read a driver beside everything else, and show it."""
        if not source.strip():
            raise InputError("no driver was named", expected=TAKEN)
        thorough = self._thorough.value

        def work() -> None:
            name = self.session.load_performance(source, thorough=thorough)
            if name not in self._performance.options:
                self._performance.options = (*self._performance.options, name)
            self.perform(name)

        self.session.driving.start(work, self.controls.failed, self._done)
        self._show_progress("reading", None)

    def _show_progress(self, label: str, share: float | None) -> None:
        self._doing.content = f"{label} …" if share is None else f"tracking, {label}: {share:.0%}"
        self._progress.value = 100 * (share or 0.0)
        for control in (self._doing, self._progress, self._stop):
            control.visible = True

    def _done(self, stopped: bool) -> None:
        for control in (self._doing, self._progress, self._stop):
            control.visible = False
        if stopped:
            self.controls.tell("stopped; nothing was changed")
