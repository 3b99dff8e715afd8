"""What all tabs of the panel use: controls that act on the session, messages, and cameras of pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.base.errors import AvatarError
from avatar.viewer.session import Session
from avatar.viewer.state import ViewState

if TYPE_CHECKING:
    from viser import CameraHandle, ClientHandle, ViserServer


class Controls:
    """Controls of all pages. The page on which a person uses one leads from then on (`Store`)."""

    def __init__(self, server: ViserServer, session: Session) -> None:
        self.server, self.session = server, session

    @property
    def page(self) -> ClientHandle | None:
        """The page that was used last."""
        page = self.session.store.state.page
        return None if page is None else self.server.get_clients().get(page)

    def place_camera(self) -> None:
        """Put the leading page's own camera, about which its mouse turns, to where the picture is seen from."""
        if self.page is not None:
            place(self.page.camera, self.session.store.state)

    def tell(self, text: str, bad: bool = False) -> None:
        """Show people a message in every open page."""
        title, colour = ("This did not work", "red") if bad else ("avatar", "green")
        for client in self.server.get_clients().values():
            client.add_notification(title, text, color=colour, auto_close_seconds=15.0 if bad else 6.0)

    def failed(self, error: Exception) -> None:
        """Show an error as a message."""
        known = isinstance(error, (AvatarError, OSError))
        self.tell(str(error) if known else f"internal error: {error!r}", bad=True)

    def on(self, handle: Any, act: Callable[[Any], object]) -> None:
        """Have `act` take a control's value where a person changes it; what the program sets itself is left alone.

        On the server's event loop, so that the values of a drag arrive in order.
        """

        async def changed(event: Any) -> None:
            if event.client is not None:
                self.session.store.lead(event.client.client_id)
                self._try(lambda: act(event.target.value))

        handle.on_update(changed)

    def press(self, label: str, act: Callable[[], object], **options: Any) -> Any:
        """A button. What it does runs in a thread of viser's. options: of viser's `add_button`."""
        button = self.server.gui.add_button(label, **options)
        button.on_click(lambda event: self._pressed(event, act))
        return button

    def key(self, label: str, act: Callable[[], object], hotkey: Any, modifier: Any = None) -> None:
        """A key that does something; it is listed in the page's palette of commands (Ctrl-K)."""
        command = self.server.gui.add_command(label, hotkey=hotkey, modifier=modifier)
        command.on_trigger(lambda event: self._pressed(event, act))

    def _pressed(self, event: Any, act: Callable[[], object]) -> None:
        if event.client is not None:
            self.session.store.lead(event.client.client_id)
        self._try(act)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (AvatarError, OSError) as error:
            self.failed(error)


def place(camera: CameraHandle, state: ViewState) -> None:
    """Put a page's camera to a state's. It keeps its distance to the point about which it turns."""
    with camera.client.atomic():
        camera.wxyz = quaternion_of(state.world_from_cam)
        camera.position = state.world_from_cam[:3, 3]
        camera.fov = state.fov


def quaternion_of(world_from_cam: np.ndarray) -> np.ndarray:
    """The rotation of a pose `[4, 4]` as viser's quaternion `[4]` (w x y z)."""
    from viser.transforms import SO3

    return SO3.from_matrix(world_from_cam[:3, :3]).wxyz
