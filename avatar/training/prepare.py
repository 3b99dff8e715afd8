"""From a capture to what training needs: frames in memory, silhouettes, displacement grids, and a fresh scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from avatar.avatar import Avatar
from avatar.base.errors import CaptureError
from avatar.config import Config
from avatar.data.capture import PLAIN_GREY, Capture
from avatar.data.completed_texture import completed_albedo
from avatar.data.dataset import FrameSet
from avatar.field.body import Body
from avatar.field.bounds import (
    CARVING_FRAMES,
    HULL_FRAMES,
    FrameViews,
    canonical_box,
    initial_cells,
    reference_pose,
    spread_frames,
)
from avatar.field.building import Space, has_room, is_unbounded, make_scene
from avatar.field.frame_states import FrameData
from avatar.field.identity import Identity
from avatar.field.torso import TorsoMotion
from avatar.field.torso_fit import start_follow
from avatar.field.warp import NeckBlend, neck_blend
from avatar.flame.assets import HeadAsset
from avatar.geometry.cameras import Camera, image_rays
from avatar.rendering.background import mean_background
from avatar.training.hair_height import hair_heights
from avatar.training.surface_colours import SurfaceColours, surface_colours
from avatar.training.torso_shape import Mesh, fit_torso

FEWEST_FRAMES = 2
OCCUPANCY_FRAMES = 64
"""Frames whose displacement grids dilate the occupancy at the start."""
ROOM_SCALE = 0.8
"""Half the side of the room's cube over the cameras' distance from the person."""
HAIR_MARGIN, NECK_MARGIN, CLOTHES_MARGIN = 0.01, 0.05, 0.035
"""Metres beyond the hair's height, off face and neck, and off the torso within which the person is expected."""
CELL_MARGIN = 1
"""Empty cells kept around the box."""


@dataclass
class TrainingData:
    """The training frames and what is computed from them once."""

    frames: FrameSet
    identity: Identity
    data: FrameData
    silhouettes: Tensor
    """`[N, H, W]` bool, of the posed head."""
    background: Tensor
    """`[H, W, 3]` uint8."""
    camera: Camera
    camera_mode: str
    completed: Tensor | None = None
    """`[V, 3]` linear albedo of the head's vertices up to a gain, where a texture space completed the capture's."""
    _fits: list[tuple[tuple[Tensor, ...], Mesh | None]] = field(default_factory=list, init=False, repr=False)
    """Motions of the torso, and the meshes fitted under them."""

    @cached_property
    def hair(self) -> Tensor:
        """Metres `[V]` by which hair stands off the head's vertices (`training.hair_height`)."""
        return hair_heights(self.identity, self.frames)

    @cached_property
    def surface(self) -> SurfaceColours:
        """Colours of the head's vertices (`training.surface_colours`)."""
        return surface_colours(self.identity, self.frames, completed=self.completed)

    def fitted_torso(self, torso: TorsoMotion, reference: Tensor) -> Mesh | None:
        """The torso's mesh fitted to the masks (`torso_shape.fit_torso`), None where none fits them. It depends on the
        torso's motion: a training that goes on has another than one that begins."""
        motion = tuple(part.detach().clone() for part in (torso.follow, torso.pivot, reference))
        for known, mesh in self._fits:
            if all(map(torch.equal, known, motion)):
                return mesh
        mesh = fit_torso(torso, reference, hull_views(self))
        self._fits.append((motion, mesh))
        return mesh

    @cached_property
    def poses(self) -> Tensor:
        """`world_from_cam` `[N, 4, 4]` of the frames' cameras, metres."""
        poses = np.stack([camera.world_from_cam for camera in self.frames.cameras]).astype(np.float32)
        return torch.as_tensor(poses, device=self.background.device)

    @cached_property
    def cameras(self) -> tuple[Tensor, Tensor]:
        """Origins `[N, 3]` and rotations to the world `[N, 3, 3]` of the frames' cameras, metres."""
        return self.poses[:, :3, 3].contiguous(), self.poses[:, :3, :3].contiguous()

    def world_rays(self, frame: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Origins (metres) and unit directions `[R, 3]` of rays through pixels x, y `[R]` of frames `frame` `[R]`."""
        origins, rotations = self.cameras
        directions = (rotations.index_select(0, frame) * self.pixel_rays[y, x][:, None, :]).sum(-1)
        return origins.index_select(0, frame), directions

    @cached_property
    def pixel_rays(self) -> Tensor:
        """Unit directions `[H, W, 3]` of the rays through all pixels' centres in the camera's axes; the lens is one."""
        return image_rays(self.camera.moved(np.eye(4)), device=self.background.device)[1]


def load_training_data(capture: Capture, asset: HeadAsset, config: Config, device: torch.device) -> TrainingData:
    """Read the training split and pose the head in each frame. Raises CaptureError where it cannot be used.

    With a moving camera the person alone is learned, over plain grey, unless the room is learned too.
    """
    if len(capture.splits["train"]) < FEWEST_FRAMES:
        raise CaptureError(
            "the capture has too few training frames",
            where=capture.folder,
            expected=f"at least {FEWEST_FRAMES}",
            found=len(capture.splits["train"]),
        )
    mode = capture.camera_mode
    with_room = is_unbounded(config.field, mode) or has_room(config.field, mode)
    frames = FrameSet.load(capture, "train", with_room=with_room).to(device)
    stored = capture.background()
    if capture.camera_mode != "static":
        background = torch.full_like(frames.images[0], PLAIN_GREY)
    elif stored is None:
        background = mean_background(frames.images, frames.masks)
    else:
        background = torch.as_tensor(stored).to(device)
    identity = Identity.make(asset, frames.params, config.field, device, config.backends.rasterising)
    silhouettes = [identity.silhouette(identity.params.frame(i), camera) for i, camera in enumerate(frames.cameras)]
    completed = completed_albedo(capture.folder, asset)
    return TrainingData(
        frames,
        identity,
        identity.frame_data(identity.params),
        torch.stack(silhouettes),
        background,
        frames.cameras[len(frames) // 2],
        capture.camera_mode,
        None if completed is None else torch.as_tensor(completed, device=device),
    )


def make_avatar(config: Config, training: TrainingData) -> Avatar:
    """A fresh avatar for the training data: bounds, conditions and occupancy are set, nothing is learned yet."""
    space = choose_space(config, training)
    scene = make_scene(
        *(config.field, config.render, config.backends),
        training.identity,
        space,
        condition_size=training.data.condition.shape[1],
        seed=config.training.seed,
    )
    scene.condition.fit(training.data.condition)
    if scene.room is not None:
        scene.room.place(*room_place(training))
    if config.render.sampling == "occupancy":
        views = hull_views(training)
        body = None
        if scene.torso is not None:
            views.lean(scene.torso)
            body = expected_body(config, training, scene.torso, space.reference)
        centres = scene.occupancy.centres()
        allowed = allowed_cells(config, training, centres, views, space.reference, space.blend, body)
        grids = training.data.grids
        chosen = spread_frames(len(training.frames), OCCUPANCY_FRAMES)
        scene.start_occupancy(allowed, None if grids is None else grids[chosen])
    return Avatar(
        config, training.identity, scene, training.camera, training.background, camera_mode=training.camera_mode
    )


def choose_space(config: Config, training: TrainingData) -> Space:
    """The reference pose, the neck's blend, how the torso follows at first, and the box shrunk to what can hold
    anything."""
    identity, warp = training.identity, config.field.warp
    reference = reference_pose(training.data.world_from_skull)
    blend = neck_blend(identity.asset, identity.neutral(), warp.neck_fade)
    follow, body, views = None, None, hull_views(training)
    if warp.enabled and warp.torso:
        torso = TorsoMotion(reference, blend).to(reference.device)
        start_follow(torso, views)
        views.lean(torso)
        follow = torso.follow.detach()
        body = expected_body(config, training, torso, reference)
    surface = torch.cat(surfaces(config, training, reference))
    corners = [canonical_box(surface, camera) for camera in views.torso_cameras()]
    low, high = torch.stack([c[0] for c in corners]).amin(0), torch.stack([c[1] for c in corners]).amax(0)
    cell = float((high - low).max()) / config.render.occupancy_resolution
    counts = ((high - low) / cell).ceil().int().tolist()
    axes = [torch.arange(n, device=low.device) + 0.5 for n in counts]
    centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) * cell + low
    cells = allowed_cells(config, training, centres, views, reference, blend, body).nonzero()
    margin = CELL_MARGIN * cell
    low, high = low + cells.amin(0) * cell - margin, low + (cells.amax(0) + 1) * cell + margin
    mode = training.camera_mode
    return Space(
        *(low, high, reference, blend),
        unbounded=is_unbounded(config.field, mode),
        room=has_room(config.field, mode),
        follow=follow,
    )


def room_place(training: TrainingData) -> tuple[Tensor, float, Tensor]:
    """Middle `[3]` and half the side (metres) of the part of the room that is learned at full scale: around the person,
    up to the cameras; and these, `[N, 4, 4]`."""
    middle = training.data.world_from_skull[:, :3, 3].mean(0)
    distance = (training.cameras[0] - middle).norm(dim=1).median()
    return middle, ROOM_SCALE * float(distance), training.poses


def hull_views(training: TrainingData) -> FrameViews:
    """Frames spread over the clip, for what their masks say."""
    most = HULL_FRAMES if training.camera_mode == "static" else CARVING_FRAMES
    chosen = spread_frames(len(training.frames), most)
    return FrameViews(
        training.data.world_from_skull[chosen],
        [training.frames.cameras[i] for i in chosen.tolist()],
        training.frames.masks[chosen],
        training.silhouettes[chosen],
    )


def expected_body(config: Config, training: TrainingData, torso: TorsoMotion, reference: Tensor) -> Body | None:
    """The head with its hair and the torso in canonical space; None where no torso fits the masks, or none is asked
    for."""
    fitted = training.fitted_torso(torso, reference) if config.training.expected_body else None
    if fitted is None:
        return None
    identity = training.identity
    nothing = np.zeros(identity.asset.vertex_count, bool)
    hairy = torch.as_tensor(identity.asset.regions.get("scalp", nothing), device=reference.device)
    margin = torch.where(hairy, training.hair + HAIR_MARGIN, NECK_MARGIN)
    head = identity.neutral() @ reference[:3, :3].T + reference[:3, 3]
    vertices, faces = fitted
    clothed = torch.full((len(vertices),), CLOTHES_MARGIN, device=vertices.device)
    return Body(head, identity.query.faces, margin).joined(Body(vertices, faces, clothed))


def allowed_cells(
    config: Config,
    training: TrainingData,
    centres: Tensor,
    views: FrameViews,
    reference: Tensor,
    blend: NeckBlend,
    body: Body | None,
) -> Tensor:
    """Cells `[X, Y, Z]` that may hold anything: near the mesh, or beside it where the masks show the person."""
    faces = training.identity.query.faces
    neck = blend if config.field.warp.enabled else None
    meshes = surfaces(config, training, reference)
    carve = training.camera_mode != "static"
    return initial_cells(centres, meshes, faces, views, reference, neck, body, carve=carve)


@torch.no_grad()
def surfaces(config: Config, training: TrainingData, reference: Tensor) -> list[Tensor]:
    """Canonical meshes `[V, 3]`: the neutral head in the reference pose; without the FLAME warp, where canonical
    space is the world, the posed heads of frames spread over the clip."""
    identity = training.identity
    if config.field.warp.enabled:
        return [identity.neutral() @ reference[:3, :3].T + reference[:3, 3]]
    chosen = spread_frames(len(identity.params), HULL_FRAMES).tolist()
    return [identity.head(identity.params.frame(i)).vertices[0] for i in chosen]
