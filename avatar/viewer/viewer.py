"""The viewer: a page with the avatar's picture and its controls, on an address of this machine."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.data.checkpoint import load_avatar
from avatar.data.checkpoint_files import checkpoints_in_order
from avatar.data.folders import run_at
from avatar.viewer.cameras import pose_from_viser
from avatar.viewer.gate import is_loopback, listen, start_viser
from avatar.viewer.panel import Panel
from avatar.viewer.quality import Quality
from avatar.viewer.session import Session

if TYPE_CHECKING:
    from viser import CameraHandle, ClientHandle

    from avatar.avatar import Avatar
    from avatar.viewer.live import LiveStage

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
        live: Callable[[Session], LiveStage] | None = None,
    ) -> None:
        """Open a viewer of a run folder and draw its first picture.

        host: the address to listen on; on any but this machine's own, `url` holds a token. port: 0 takes any that is
        free. avatar: that of the run, where it is loaded already. quality: see `Session`. live: makes the stage of a
        live driver, which then has a tab; it is not started here.
        Raises RunError for a run without a checkpoint, ConfigError for a port out of range, InputError for one that is
        in use or an address that this machine does not have.
        """
        run = run_at(run)
        checkpoints_in_order(run)  # what can be told at once is told before anything is loaded
        listener = listen(host, port)
        try:
            self.session = Session(run, avatar or load_avatar(run), quality)
            self.stage = None if live is None else live(self.session)
            token = None if is_loopback(host) else secrets.token_urlsafe(TOKEN_BYTES)
            self.server = start_viser(listener, token)
        except BaseException:
            listener.close()
            raise
        name = socket.gethostname() if host in EVERY_ADDRESS else host
        shown = f"[{name}]" if ":" in name else name
        self.url = f"http://{shown}:{self.server.get_port()}/" + (f"?token={token}" if token else "")
        session, server = self.session, self.server
        self._set_scene()
        self.left: Callable[[], object] = lambda: None
        """Called when the last open page is closed."""
        panel = Panel(server, session, self.stage)
        session.shown, session.told = self._show, panel.tell
        server.on_client_connect(self._connect)
        server.on_client_disconnect(lambda client: self._disconnect())
        session.start()

    def close(self) -> None:
        """End the server, and the drawing in the midst of a picture."""
        self.left = lambda: None
        self.session.close()
        self.server.stop()

    def _disconnect(self) -> None:
        if not self.server.get_clients():
            self.left()

    def _set_scene(self) -> None:
        server, first = self.server, self.session.first
        server.gui.configure_theme(show_share_button=False, show_logo=False)
        server.scene.set_up_direction("+y")
        camera = server.initial_camera
        camera.position = first.world_from_cam[:3, 3]
        camera.look_at = self.session.look_at
        camera.up = -first.world_from_cam[:3, 1]
        camera.fov = first.fov

    def _show(self, image: np.ndarray, full: bool) -> None:
        quality = JPEG_AT_REST if full else JPEG_MOVING
        self.server.scene.set_background_image(image, format="jpeg", jpeg_quality=quality)
        self.server.flush()

    async def _connect(self, client: ClientHandle) -> None:
        async def moved(camera: CameraHandle | Any) -> None:
            pose = pose_from_viser(camera.wxyz, camera.position)
            self.session.move_camera(pose, camera.fov, camera.image_width / max(1, camera.image_height))

        client.camera.on_update(moved)
        await moved(client.camera)
