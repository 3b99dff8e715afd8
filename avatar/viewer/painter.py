"""Draws a view state: the head's parameters, the avatar's picture and what is laid over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar.animation.backgrounds import Behind, choose_background, source_of
from avatar.animation.driving import posed_by
from avatar.animation.expressions import expression_vector, jaw_share_of
from avatar.animation.options import Retarget
from avatar.animation.path_faces import AT_REST, OWN_CLIP
from avatar.animation.reanimate import performed
from avatar.base.provenance import Source
from avatar.flame.mean_pose import mean_pose
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera
from avatar.geometry.meshes import face_normals
from avatar.media.images import to_uint8
from avatar.viewer.cameras import view_camera
from avatar.viewer.state import LIVE, ViewState

if TYPE_CHECKING:
    from avatar.animation.driver_files import Driver
    from avatar.avatar import Avatar, Posed
    from avatar.flame.model import HeadParameters

MESH_SHARE = 0.6
"""Opacity of the mesh that is laid over the picture."""
OUTLINE = (0, 255, 170)
"""Colour of the silhouette's outline, sRGB."""


@dataclass(frozen=True)
class Performance:
    """Frames that can be shown and played: parameters of N frames on the avatar's identity, and their rate."""

    params: HeadParameters
    fps: float

    def __len__(self) -> int:
        return len(self.params)


class Painter:
    """Draws states of one avatar. Not for several threads at once."""

    def __init__(self, avatar: Avatar, own_fps: float, drivers: Mapping[str, Driver] | None = None) -> None:
        """own_fps: frames per second of the avatar's clip. drivers: other performances by name."""
        self.avatar = avatar
        self.own = avatar.parameters
        self.rest = mean_pose(self.own)
        self.jaw_share = jaw_share_of(self.own, avatar.asset)
        resting = Performance(self.rest, own_fps)
        # a live driver's frames come in the state; until the first one the avatar rests
        self.performances = {AT_REST: resting, OWN_CLIP: Performance(self.own, own_fps), LIVE: resting}
        self.drivers: dict[str, Driver] = {}
        for name, driver in (drivers or {}).items():
            self.add_driver(name, driver)
        self._behind: dict[str, Behind] = {}
        self._posed: tuple[Any, Posed] | None = None

    def add_driver(self, name: str, driver: Driver) -> None:
        """Make a driver's performance available under a name, as `avatar reanimate` would show it."""
        params = performed(self.own, driver, self.avatar.asset, Retarget())
        self.drivers[name] = driver
        self.performances[name] = Performance(params, driver.fps)

    def parameters(self, state: ViewState) -> HeadParameters:
        """One frame (N = 1): that of the performance with the sliders' expression and head pose on top.

        Raises ConfigError for an expression that the head does not have.
        """
        performance = self.performances.get(state.performance, self.performances[AT_REST])
        if state.performance == LIVE and state.live is not None:
            frame = state.live.params
        else:
            frame = performance.params.frame(min(max(state.frame, 0), len(performance) - 1))
        added = expression_vector(state.amounts, self.avatar.asset, jaw_share=self.jaw_share)
        return posed_by(frame, added, state.turn, state.shift)

    def camera(self, state: ViewState, height: int) -> Camera:
        """The camera of a picture of this height in pixels."""
        return view_camera(state.world_from_cam, state.fov, state.aspect, height, self.avatar.camera)

    def source_of(self, state: ViewState) -> Source:
        """What the picture of a state is, for its manifest."""
        return source_of(self.avatar, state.background)

    def draw(self, state: ViewState, height: int, between: Callable[[], None]) -> np.ndarray:
        """uint8 `[height, W, 3]` of a state; `between` is called now and then, and may raise to end the work."""
        between()
        camera = self.camera(state, height)
        if state.background not in self._behind:
            self._behind[state.background] = choose_background(self.avatar, state.background)
        background = self._behind[state.background](camera)
        posed = self._pose(state)
        shown = self.avatar.render_frame(posed, camera, background=background, between=between)
        image = to_uint8(shown.image.float().cpu().numpy())
        if state.mesh:
            image = self._with_mesh(image, posed.params, camera)
        if state.silhouette:
            image = with_outline(image, shown.mask.cpu().numpy())
        return image

    def _pose(self, state: ViewState) -> Posed:
        """The posed head of a state: the last one where only the camera has changed."""
        number = None if state.live is None else state.live.number
        key = (state.performance, state.frame, number, sorted(state.amounts.items()), state.turn, state.shift)
        if self._posed is None or self._posed[0] != key:
            self._posed = (key, self.avatar.pose(self.parameters(state)))
        return self._posed[1]

    @torch.no_grad()
    def _with_mesh(self, image: np.ndarray, params: HeadParameters, camera: Camera) -> np.ndarray:
        identity = self.avatar.identity
        vertices = self.avatar.head(identity.with_identity(params)).vertices[0]
        seen = rasterize(identity.query, vertices, camera, backend=identity.rasteriser)
        mask = seen.mask.cpu().numpy()
        normals = torch.nn.functional.normalize(face_normals(vertices, identity.query.faces), dim=-1)
        forward = torch.tensor(camera.world_from_cam[:3, 2].copy(), dtype=normals.dtype, device=normals.device)
        shade = (0.25 + 0.75 * (normals @ forward).abs())[seen.face.clamp_min(0).long()].cpu().numpy() * 255
        mixed = (1 - MESH_SHARE) * image + MESH_SHARE * shade[..., None]
        return np.where(mask[..., None], mixed, image).astype(np.uint8)


def with_outline(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture `[H, W, 3]` uint8 with the inner border of a mask `[H, W]` bool in colour."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outlined = image.copy()
    outlined[mask & ~inside] = OUTLINE
    return outlined
