"""A trained avatar: everything needed to render a person from any camera with any expression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from avatar.base.errors import InputError
from avatar.config import Config
from avatar.field.frame_states import CanonicalSamples, FrameStates, Rays
from avatar.field.identity import Identity
from avatar.field.picture_edge import PictureEdge
from avatar.field.ray_sampling import field_functions, march_rays, sample_rays
from avatar.field.room import RoomField
from avatar.field.scene import Scene
from avatar.field.warp import rigid_inverse
from avatar.flame.mean_pose import mean_pose
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera, image_rays
from avatar.geometry.rotations import matrix_to_axis_angle
from avatar.kernels.mesh.op import MeshQuery
from avatar.rendering.background import Background, pull_push, same_view
from avatar.rendering.occupancy import dilate
from avatar.rendering.rays import render_visible
from avatar.rendering.sampling import ray_box
from avatar.rendering.volume import over

HAIR = 0.03
"""Metres off the head's mesh up to which hair that no training frame sees is shown to other cameras."""
SHELL = 3
"""Cells behind what training frames see that are shown to other cameras."""
ROOM_CHUNK = 16384
"""Rays at a time through the room."""
DARK = 0.004
"""Transmittance below which a ray ends: less than a step of 8-bit colour."""


@dataclass
class RenderedFrame:
    """One rendered image of an avatar, as tensors."""

    image: Tensor
    """`[H, W, 3]` sRGB in [0, 1], composited over the background."""
    opacity: Tensor
    """`[H, W]` opacity of the person in [0, 1]."""
    mask: Tensor
    """`[H, W]` bool silhouette of the posed FLAME head."""
    depth: Tensor
    """`[H, W]` expected distance along the ray in metres, zero where the opacity is."""


class Picture(NamedTuple):
    """One rendered image of an avatar, as NumPy arrays."""

    colour: np.ndarray
    """`[H, W, 3]` float32 sRGB in [0, 1], composited over the background."""
    alpha: np.ndarray
    """`[H, W]` float32 opacity of the person."""
    depth: np.ndarray
    """`[H, W]` float32 expected distance along the ray in metres, zero where the opacity is."""


class Posed:
    """One frame of the head: what pictures of it from any camera have in common, computed once (`Avatar.pose`)."""

    def __init__(self, avatar: Avatar, params: HeadParameters, deform_code: Tensor | None = None) -> None:
        """params: one frame (`N = 1`). deform_code: `[code]`, or None for the mean of the training codes."""
        self.avatar, self.params = avatar, params
        self.states = avatar.scene.mean_states(avatar.identity.frame_data(params), deform_code)

    @cached_property
    def cells(self) -> Tensor:
        """Cells `[X, Y, Z]` bool that hold something of this frame, dilated by one."""
        return self.avatar.scene.dilated_occupancy(self.states.grids)

    @cached_property
    def cells_beyond(self) -> Tensor:
        """`cells`, continued beyond the captured picture: for cameras that see past it."""
        return self.avatar.continued(self.cells)


class Avatar:
    """The field of one person with its head model, background and the parameters of its training frames."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        scene: Scene,
        camera: Camera,
        background: Tensor,
        *,
        camera_mode: str,
        progress: float = 1.0,
    ) -> None:
        """An avatar from its parts.

        camera: the captured camera, that of one frame where `camera_mode` is "moving". background: `[H, W, 3]` uint8,
        the image behind the person in `camera`. progress: the completed share of the training, which sets the
        coarse-to-fine window.
        """
        self.config, self.identity, self.scene, self.camera = config, identity, scene, camera
        self.background, self.camera_mode, self.progress = background, camera_mode, progress
        self.asset, self.head, self.device = identity.asset, identity.head, identity.device

    @property
    def shows_room(self) -> bool:
        """Whether the room was learned too, in the person's field or in one of its own (moving camera)."""
        return self.scene.unbounded or self.scene.room is not None

    def is_captured(self, camera: Camera) -> bool:
        """Whether `camera` sees what the clip shows: it is the captured one, or close to one of a moving camera's."""
        if self.camera_mode == "static":
            return same_view(self.camera, camera)
        pose = torch.as_tensor(camera.world_from_cam.copy(), dtype=torch.float32, device=self.device)
        return self.scene.room is None or self.scene.room.is_near(pose)

    @cached_property
    def backdrop(self) -> Background:
        """The captured background, for any camera."""
        return Background(self.background.float() / 255, self.camera)

    @cached_property
    def known_cells(self) -> Tensor:
        """Occupied cells `[X, Y, Z]` bool that other cameras may see: near the head's mesh, seen in training, or
        completed by a prior.

        What no training ray has reached keeps whatever density it started with.
        """
        grid = self.scene.occupancy
        centres = grid.centres().reshape(-1, 3)
        neutral = self.scene.in_canonical(self.identity.neutral())
        query = MeshQuery(self.identity.query.faces, self.device).update(neutral)
        near = (query.closest_points(centres, HAIR).face >= 0).view(grid.counts)
        return grid.occupied & (near | dilate(grid.visible, SHELL) | grid.completed)

    @cached_property
    def edge(self) -> PictureEdge | None:
        """Continues the person beyond the captured picture, for other cameras."""
        return PictureEdge.of(self.camera, self.device, fade=self.camera_mode == "static")

    @cached_property
    def known_cells_beyond(self) -> Tensor:
        """`known_cells`, continued beyond the captured picture."""
        return self.continued(self.known_cells)

    def continued(self, cells: Tensor) -> Tensor:
        """Cells `[X, Y, Z]` bool of the occupancy grid, continued beyond the captured picture."""
        grid = self.scene.occupancy
        return cells if self.edge is None else self.edge.continued(cells, grid.centres(), grid.low, grid.cell)

    @cached_property
    def reference_vertices(self) -> Tensor:
        """Canonical vertices `[P, 3]` of the neutral head above the blend at the neck, metres."""
        neutral = self.identity.neutral()
        return self.scene.in_canonical(neutral[neutral[:, 1] > self.scene.blend.top])

    @property
    def parameters(self) -> HeadParameters:
        """Head parameters of the training frames with the learned pose corrections."""
        tracked = self.identity.params
        if self.scene.pose is None:
            return tracked
        with torch.no_grad():
            pose = self.head(tracked)
            refined = self.scene.refined(pose.world_from_skull, torch.arange(len(tracked), device=self.device))
            root = refined @ rigid_inverse(pose.world_from_skull) @ pose.world_from_head
            # the root rotates about its joint, which `translation` moves: x = R (s - j) + j + t
            joint = pose.joints[:, 0] - tracked.translation
            rotation = root[:, :3, :3]
            shift = root[:, :3, 3] - joint + (rotation @ joint.unsqueeze(-1)).squeeze(-1)
            return replace(tracked, rotation=matrix_to_axis_angle(rotation), translation=shift)

    def render(
        self,
        camera: Camera | None = None,
        *,
        expr: ArrayLike | None = None,
        jaw: ArrayLike | None = None,
        eyes: ArrayLike | None = None,
        neck: ArrayLike | None = None,
        rotation: ArrayLike | None = None,
        translation: ArrayLike | None = None,
        background: ArrayLike | None = None,
    ) -> Picture:
        """Render the person in the clip's mean pose with a neutral expression, except for the parameters given.

        Args:
            camera: the captured one by default; `camera.scaled`, `camera.moved` and `turn_camera` make others.
            expr: `[E]` coefficients of the head's expressions (`avatar.asset.expression_names`).
            jaw, neck: `[3]` axis-angle, radians. eyes: `[6]` axis-angle of the left and the right eye, radians.
            rotation, translation: `[3]` of the head in the world, axis-angle in radians and metres.
            background: `[H, W, 3]` sRGB in [0, 1] in place of the captured background.

        Returns colour, alpha and depth as arrays. Raises InputError for another shape or a value that is not finite.
        """
        camera = camera or self.camera
        given = {"expr": expr, "jaw": jaw, "eyes": eyes, "neck": neck, "rotation": rotation, "translation": translation}
        rest = mean_pose(self.parameters)
        changed = {
            name: as_tensor(name, value, getattr(rest, name).shape[1:]).to(self.device)[None]
            for name, value in given.items()
            if value is not None
        }
        behind = None
        if background is not None:
            behind = as_tensor("background", background, (camera.height, camera.width, 3)).to(self.device)
        shown = self.render_frame(replace(rest, **changed), camera, background=behind)
        return Picture(*(part.float().cpu().numpy() for part in (shown.image, shown.opacity, shown.depth)))

    @torch.no_grad()
    def pose(self, params: HeadParameters) -> Posed:
        """One frame (`N = 1`) for several calls of `render_frame`: half a small picture's work is done here."""
        return Posed(self, params)

    @torch.no_grad()
    def render_frame(
        self,
        params: HeadParameters | Posed,
        camera: Camera,
        *,
        deform_code: Tensor | None = None,
        background: Tensor | None = None,
        between: Callable[[], None] | None = None,
    ) -> RenderedFrame:
        """Render one frame.

        Args:
            params: one frame (`N = 1`) of this head model, on any identity: `shape` and `static_offset` are replaced by
                the avatar's; or that frame as `pose` prepared it.
            camera: any camera; the background is exact for the captured one (see `avatar.rendering.background`).
            deform_code: `[code]`, or None for the mean of the training codes.
            background: `[H, W, 3]` sRGB in [0, 1] in place of the captured background, or of the surroundings in the
                field.
            between: called a few times in between; what it raises ends the work on a picture nobody waits for any more.
        """
        posed = params if isinstance(params, Posed) else Posed(self, params, deform_code)
        mask = self.identity.silhouette(posed.params, camera)
        rendered = self.render_posed(posed, camera, mask, include_unbounded=background is None, between=between)
        size = (camera.height, camera.width)
        if background is None and self.scene.room is not None:
            image = self._in_room(self.scene.room, camera, rendered)
        else:
            behind = self.backdrop.seen_by(camera) if background is None else background
            image = over(rendered["colour"], rendered["opacity"], behind.reshape(-1, 3))
        return RenderedFrame(
            image.view(*size, 3).clamp(0, 1), rendered["opacity"].view(size), mask, rendered["depth"].view(size)
        )

    def render_posed(
        self,
        posed: Posed,
        camera: Camera,
        mask: Tensor,
        *,
        include_unbounded: bool = True,
        between: Callable[[], None] | None = None,
    ) -> dict[str, Tensor]:
        """Colour `[P, 3]`, opacity `[P]` and depth `[P]` (metres) of all pixels of one frame, in chunks of rays.

        mask: `[H, W]` bool silhouette. include_unbounded: also sample an unbounded field outside the person's box.
        between: called before each chunk and each burst of samples.
        """
        states, between = posed.states, between or (lambda: None)
        origins, directions = (part.reshape(-1, 3) for part in image_rays(camera, device=self.device))
        seen_from, edge, occupied, dilated = None, None, None, None
        if not self.is_captured(camera):
            edge = self.edge
            if self.camera_mode == "static":
                position = torch.tensor(self.camera.position, dtype=torch.float32, device=self.device)
                seen_from = position.expand_as(origins)
        if self.config.render.sampling == "occupancy":
            dilated = posed.cells if edge is None else posed.cells_beyond
            occupied = None if edge is None else self.known_cells_beyond
        parts = []
        for begin in range(0, len(origins), self.config.render.chunk):
            between()
            part = slice(begin, begin + self.config.render.chunk)
            frame = torch.zeros(len(origins[part]), dtype=torch.int64, device=self.device)
            looks = None if seen_from is None else seen_from[part]
            rays = states.carry(Rays(origins[part], directions[part], frame, mask.reshape(-1)[part], looks))
            parts.append(
                self._render_marched(states, rays, dilated, occupied, edge, between)
                if dilated is not None
                else self._render_dense(states, rays, include_unbounded)
            )
        picture = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return picture if edge is None else picture | {"colour": edge.softened(picture, origins, directions, camera)}

    @torch.no_grad()
    def empty_room(self, camera: Camera) -> Tensor:
        """`[H, W, 3]` sRGB in [0, 1]: what stands behind the person, as `camera` sees it."""
        if self.scene.room is None:
            return self.backdrop.seen_by(camera)
        pixels = torch.zeros(camera.height * camera.width, device=self.device)
        nobody = {"colour": pixels.unsqueeze(1).expand(-1, 3), "opacity": pixels, "depth": pixels}
        return self._in_room(self.scene.room, camera, nobody).view(camera.height, camera.width, 3).clamp(0, 1)

    def _in_room(self, room: RoomField, camera: Camera, person: dict[str, Tensor]) -> Tensor:
        """Colours `[P, 3]` of all pixels: the person, as `render_posed` gives it, in the room.

        What no training frame saw of the room continues smoothly what is seen beside it.
        """
        opacity, size = person["opacity"], (camera.height, camera.width)
        distance = torch.where(opacity > 0, person["depth"], torch.inf)
        origins, directions = (part.reshape(-1, 3) for part in image_rays(camera, device=self.device))
        pose = torch.as_tensor(camera.world_from_cam.copy(), dtype=torch.float32, device=self.device)
        origins, directions = room.refined_near(origins, directions, pose)
        colour, share, known = torch.zeros_like(origins), torch.zeros_like(opacity), torch.zeros_like(opacity)
        clear = torch.ones_like(opacity)
        for part in (opacity < 1 - DARK).nonzero().squeeze(1).split(ROOM_CHUNK):
            view = room.look(origins[part], directions[part])
            colour[part], share[part], clear[part] = view.around(opacity[part], distance[part])
            known[part] = view.known_share
        alone = colour / share.clamp_min(1e-6).unsqueeze(1)
        picture = alone.T.reshape(1, 3, *size)
        filled = pull_push(picture, (known * share).view(1, 1, *size))[0].flatten(1).T
        seen = known.unsqueeze(1) * alone + (1 - known.unsqueeze(1)) * filled
        return share.unsqueeze(1) * seen + clear.unsqueeze(1) * person["colour"]

    def _render_dense(self, states: FrameStates, rays: Rays, include_unbounded: bool) -> dict[str, Tensor]:
        window = self.scene.window(self.progress)
        samples, canonical = sample_rays(
            self.scene, states, rays, window, jitter=False, include_unbounded=include_unbounded
        )
        functions = field_functions(self.scene, states, rays, window, canonical)
        seen = render_visible(samples, *functions, backend=self.scene.backends.marching.name)
        return {"colour": seen.colour, "opacity": seen.opacity, "depth": seen.depth}

    def _render_marched(
        self,
        states: FrameStates,
        rays: Rays,
        dilated: Tensor,
        occupied: Tensor | None,
        edge: PictureEdge | None,
        between: Callable[[], None],
    ) -> dict[str, Tensor]:
        """Ray march in bursts of a few samples: most rays are opaque after the first burst and end there.

        dilated, occupied: cells to march through, see `march_rays`. edge: continues the person beyond the captured
        picture.
        """
        scene, step = self.scene, self.config.render.step
        window = scene.window(self.progress)
        near, far = ray_box(rays.origins, rays.directions, *states.boxes_of(rays.frame))
        colour, depth = torch.zeros_like(rays.origins), torch.zeros_like(near)
        transmittance = torch.ones_like(near)
        going = (far > near).nonzero().squeeze(1)
        left = self.config.render.max_samples
        while len(going) and left > 0:
            between()
            burst = min(self.config.render.burst, left)
            part = rays.select(going)
            middle = torch.full_like(near[going], 0.5)
            samples, canonical = march_rays(
                *(scene, states, part, near[going], far[going]),
                offset=middle,
                dilated=dilated,
                occupied=occupied,
                max_samples=burst,
            )
            presence = None
            if edge is not None:
                presence = edge.presence(canonical.points)
                canonical = CanonicalSamples(edge.lifted(canonical.points), canonical.directions)
            query_density, query_colour = field_functions(scene, states, part, window, canonical, presence=presence)
            seen = render_visible(samples, query_density, query_colour, backend=scene.backends.marching.name)
            colour[going] += transmittance[going].unsqueeze(1) * seen.colour
            depth[going] += transmittance[going] * seen.opacity * seen.depth
            transmittance[going] *= 1 - seen.opacity
            left -= burst
            full = torch.bincount(samples.ray, minlength=len(going)) == burst
            last = torch.zeros_like(near[going]).scatter_reduce_(0, samples.ray, samples.depth, "amax")
            # half a step further, so that the next burst begins with the next step's middle
            near[going] = last + 0.5 * step
            going = going[full & (transmittance[going] > DARK)]
        opacity = 1 - transmittance
        return {"colour": colour, "opacity": opacity, "depth": depth / opacity.clamp_min(1e-6)}


def as_tensor(name: str, value: ArrayLike, shape: Sequence[int]) -> Tensor:
    """`value` as a float32 tensor of one shape. Raises InputError, naming the argument, for a bad shape or value."""
    try:
        array = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as cause:
        raise InputError(f"{name} does not hold numbers", expected=f"{list(shape)}", found=value) from cause
    if array.shape != tuple(shape):
        raise InputError(f"{name} has a wrong shape", expected=f"{list(shape)}", found=f"{list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds a value that is not finite", found=f"{array[~np.isfinite(array)][:3].tolist()}")
    return torch.tensor(array)
