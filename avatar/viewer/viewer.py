"""The viewer: a page with the avatar's picture and its controls, on an address of this machine.

Nothing heavy is imported before the page can be opened.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.data.checkpoint_files import checkpoints_in_order, has_checkpoint
from avatar.viewer.gate import is_loopback, listen, start_viser
from avatar.viewer.preview import covered, keep_preview, preview_of

if TYPE_CHECKING:
    from viser import CameraHandle, ClientHandle

    from avatar.animation.driver_files import TrackVideo
    from avatar.animation.path_files import View
    from avatar.avatar import Avatar
    from avatar.viewer.live import LiveStage
    from avatar.viewer.panel import Panel
    from avatar.viewer.quality import Quality
    from avatar.viewer.session import Session

JPEG_MOVING, JPEG_AT_REST = 80, 95
"""Quality of the pictures sent to the page."""
TOKEN_BYTES = 16
EVERY_ADDRESS = ("0.0.0.0", "::")
"""Hosts to listen on that are none to open."""


class Viewer:
    """An open viewer. `close` ends its server and its threads."""

    def __init__(
        self,
        run: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        avatar: Avatar | None = None,
        quality: Quality | None = None,
        track: TrackVideo | None = None,
        live: Callable[[Session], LiveStage] | None = None,
    ) -> None:
        """Open a page for a run folder. It shows a picture from before until `load` has been called.

        host: the address to listen on; on any but this machine's own, `url` holds a token. port: 0 takes any that is
        free. avatar: that of the run, where it is loaded already; `load` need not be called then. quality, track: see
        `Session`; without `track` no videos can be opened. live: makes the stage of a live driver, which then has a
        tab; it is not started here.
        Raises RunError for a run without a checkpoint, ConfigError for a port out of range, InputError for one that is
        in use or an address that this machine does not have.
        """
        self.run = _run_at(run)
        self._quality, self._track, self._live = quality, track, live
        checkpoints_in_order(self.run)  # what can be told at once is told before anything is loaded
        listener = listen(host, port)
        try:
            token = None if is_loopback(host) else secrets.token_urlsafe(TOKEN_BYTES)
            self.server = start_viser(listener, token, lambda page: covered(page, preview_of(self.run)))
        except BaseException:
            listener.close()
            raise
        name = socket.gethostname() if host in EVERY_ADDRESS else host
        shown = f"[{name}]" if ":" in name else name
        self.url = f"http://{shown}:{self.server.get_port()}/" + (f"?token={token}" if token else "")
        self.stage: LiveStage | None = None
        """Of the live driver; there after `load`."""
        self.left: Callable[[], object] = lambda: None
        """Called when the last open page is closed."""
        self._session: Session | None = None
        self._panel: Panel | None = None
        self._reported: dict[int, View] = {}
        self._last: np.ndarray | None = None
        self._shown_in_full = self._closing = False
        self.server.gui.configure_theme(show_share_button=False, show_logo=False)
        self.server.scene.set_up_direction("+y")
        if avatar is not None:
            self.load(avatar)
            return
        self._waiting = self.server.gui.add_markdown("Loading the avatar …")

    @property
    def session(self) -> Session:
        """What the page acts on; there after `load`."""
        assert self._session is not None, "Viewer.load comes first"
        return self._session

    @property
    def is_loaded(self) -> bool:
        return self._session is not None

    def load(self, avatar: Avatar | None = None) -> None:
        """Load the avatar, draw its first picture, and show the controls. avatar: where it is there already.

        Raises as `load_avatar`; the viewer has to be closed then.
        """
        from avatar.data.checkpoint import load_avatar
        from avatar.viewer.panel import Panel
        from avatar.viewer.session import Session

        loading = avatar is None
        avatar = avatar or load_avatar(self.run)
        self._session = session = Session(self.run, avatar, self._quality, self._track)
        self.stage = None if self._live is None else self._live(session)
        if loading:
            self._waiting.remove()
        first, camera = session.first, self.server.initial_camera
        camera.position = first.world_from_cam[:3, 3]
        camera.look_at = session.look_at
        camera.up = -first.world_from_cam[:3, 1]
        camera.fov = first.fov
        self._panel = Panel(self.server, session, self.stage)
        session.shown, session.told = self._show, self._panel.tell
        self.server.on_client_disconnect(self._disconnect)
        if self.server.get_clients():  # they wait for a picture: the first is theirs, at once
            self.server.on_client_connect(self._connect)
            session.start(draw=False)
        else:
            session.start()
            self.server.on_client_connect(self._connect)

    def close(self) -> None:
        """End the server, and the drawing in the midst of a picture."""
        self.left = lambda: None
        self._last, self._closing = None, True
        if self._session is not None:
            self._session.close()
        if self._panel is not None:
            self._panel.close()
        self.server.stop()

    def _show(self, page: int | None, image: np.ndarray, full: bool) -> None:
        shown = self.server if page is None else self.server.get_clients().get(page)
        if shown is None or self._closing:
            return  # the page was closed meanwhile, or all is
        quality = JPEG_AT_REST if full else JPEG_MOVING
        shown.scene.set_background_image(image, format="jpeg", jpeg_quality=quality)
        shown.flush()
        self._last = image
        if full and not self._shown_in_full:
            self._shown_in_full = True
            keep_preview(self.run, image)

    async def _connect(self, client: ClientHandle) -> None:
        """A page was opened, or opened again: it goes on where the last one was."""
        from avatar.animation.path_files import View
        from avatar.viewer.cameras import pose_from_viser
        from avatar.viewer.controls import place
        from avatar.viewer.state import same_view

        def view(camera: CameraHandle | Any) -> View:
            aspect = camera.image_width / max(1, camera.image_height)
            return View(pose_from_viser(camera.wxyz, camera.position), camera.fov, aspect)

        async def moved(camera: CameraHandle | Any) -> None:
            now, before = view(camera), self._reported.get(client.client_id)
            self._reported[client.client_id] = now
            if before is None or not same_view(now, before):  # a page whose camera the path moves says the same again
                self.session.path_player.stop()
                self.session.store.move(client.client_id, now)

        page = client.client_id
        self._reported[page] = view(client.camera)
        place(client.camera, self.session.store.enter(page, self._reported[page].aspect))
        client.camera.on_update(moved)

    async def _disconnect(self, client: ClientHandle) -> None:
        self._reported.pop(client.client_id, None)
        self.session.leave(client.client_id)
        if not self.session.store.pages and self._last is not None:  # for the next page, until its own is drawn
            self.server.scene.set_background_image(self._last, format="jpeg", jpeg_quality=JPEG_MOVING)
        if not self.server.get_clients():
            self.left()


def _run_at(run: Path) -> Path:
    """The run that a path means."""
    if has_checkpoint(run):
        return Path(run)
    from avatar.data.folders import run_at

    return run_at(run)
