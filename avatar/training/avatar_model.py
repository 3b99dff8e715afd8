"""A trained avatar: everything needed to render a person from any camera with any expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from avatar.config import Config
from avatar.field.flame_warp import rigid_inverse
from avatar.field.scene import FrameStates, Rays, Scene
from avatar.field.subject import Subject
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera, image_rays
from avatar.geometry.rotations import matrix_to_axis_angle
from avatar.render.background import plate_view
from avatar.render.rays import Rendered, hierarchical_samples, render_visible
from avatar.render.sampling import Samples, march, ray_box
from avatar.render.volume import over


@dataclass
class RenderedFrame:
    """One picture of an avatar."""

    image: Tensor
    """`[H, W, 3]` sRGB in [0, 1], in front of the plate."""
    opacity: Tensor
    """`[H, W]` of the person."""
    mask: Tensor
    """`[H, W]` bool, the FLAME silhouette of the posed head."""
    depth: Tensor
    """`[H, W]` mean distance along the ray in metres, zero where nothing is."""


class Avatar:
    """The field of one person with its head model, plate and the parameters of its training frames."""

    def __init__(
        self, config: Config, subject: Subject, scene: Scene, camera: Camera, plate: Tensor, *, progress: float = 1.0
    ) -> None:
        """`plate` `[H, W, 3]` uint8 is the background `camera` sees; `progress` the share of the training that is
        done, which decides how far the coarse-to-fine window is open."""
        self.config, self.subject, self.scene, self.camera = config, subject, scene, camera
        self.plate, self.progress = plate, progress
        self.asset, self.head, self.device = subject.asset, subject.head, subject.device

    @cached_property
    def reference_vertices(self) -> Tensor:
        """`[P, 3]` vertices of the neutral head in the reference pose, above the neck's bend, metres."""
        neutral, reference = self.subject.neutral(), self.scene.reference
        return neutral[neutral[:, 1] > self.scene.blend.top] @ reference[:3, :3].T + reference[:3, 3]

    @property
    def parameters(self) -> HeadParameters:
        """The training frames' head parameters with the learned pose corrections."""
        tracked = self.subject.params
        if self.scene.pose is None:
            return tracked
        with torch.no_grad():
            pose = self.head(tracked)
            refined = self.scene.refined(pose.world_from_skull, torch.arange(len(tracked), device=self.device))
            root = refined @ rigid_inverse(pose.world_from_skull) @ pose.world_from_head
            # the root turns about its joint, which `translation` moves: x = R (s - j) + j + t
            joint = pose.joints[:, 0] - tracked.translation
            rotation = root[:, :3, :3]
            shift = root[:, :3, 3] - joint + (rotation @ joint.unsqueeze(-1)).squeeze(-1)
            return replace(tracked, rotation=matrix_to_axis_angle(rotation), translation=shift)

    @torch.no_grad()
    def render(self, params: HeadParameters, camera: Camera, *, deform_code: Tensor | None = None) -> RenderedFrame:
        """Render one frame.

        Args:
            params: one frame (`N = 1`) of this head model. Its expression moves this person's own head: `shape` and
                `static_offset` are the avatar's.
            camera: any; the plate behind the person is exact for the captured one (see `avatar.render.background`).
            deform_code: `[code]`, or None for the mean of the training codes.
        """
        mask = self.subject.silhouette(params, camera)
        states = self.scene.mean_states(self.subject.frame_data(params), deform_code)
        plate = plate_view(self.plate.float() / 255, self.camera, camera)
        rendered = self.render_states(states, camera, mask)
        size = (camera.height, camera.width)
        image = over(rendered["colour"], rendered["opacity"], plate.reshape(-1, 3))
        return RenderedFrame(
            image.view(*size, 3).clamp(0, 1), rendered["opacity"].view(size), mask, rendered["depth"].view(size)
        )

    def render_states(self, states: FrameStates, camera: Camera, mask: Tensor) -> dict[str, Tensor]:
        """Colour `[P, 3]`, opacity `[P]` and depth `[P]` of all pixels of one frame's states, in chunks of rays."""
        origins, directions = (part.reshape(-1, 3) for part in image_rays(camera, device=self.device))
        chunk = self.config.render.chunk
        reach = None
        if self.config.render.sampling == "occupancy":
            reach = self.scene.frame_reach(states.grids)
        parts = []
        for begin in range(0, len(origins), chunk):
            part = slice(begin, begin + chunk)
            frame = torch.zeros(len(origins[part]), dtype=torch.int64, device=self.device)
            rays = Rays(origins[part], directions[part], frame, mask.reshape(-1)[part])
            parts.append(self.render_rays(states, rays, reach))
        return {name: torch.cat([getattr(part, name) for part in parts]) for name in ("colour", "opacity", "depth")}

    @torch.no_grad()
    def render_rays(self, states: FrameStates, rays: Rays, reach: Tensor | None) -> Rendered:
        """Render rays for a picture: no jitter, nothing coloured that cannot be seen."""
        alpha = self.scene.alpha(self.progress)
        samples, warped = sample_rays(self.scene, states, rays, alpha, reach=reach, generator=None, random=False)
        density, colour = self.scene.functions(states, rays, alpha, warped=lambda _: warped)
        return render_visible(samples, density, colour)


def sample_rays(
    scene: Scene,
    states: FrameStates,
    rays: Rays,
    alpha: float,
    *,
    reach: Tensor | None,
    generator: torch.Generator | None,
    random: bool,
    hidden: bool = True,
) -> tuple[Samples, Tensor]:
    """Samples of rays by the configured scheme, and x' `[M, 3]` of each (differentiable in the learned poses).

    `random` jitters them (training); `reach` is the frame's own search grid, or None for all training frames';
    `hidden` False leaves out cells that no light reaches in the training frames.
    """
    render = scene.config.render
    near, far = ray_box(rays.origins, rays.directions, states.low[rays.frame], states.high[rays.frame])
    if render.sampling == "hierarchical":
        density, _ = scene.functions(states, rays, alpha)
        samples = hierarchical_samples(
            near,
            far,
            render.coarse_samples,
            render.fine_samples,
            lambda s: density(s)[0],
            generator,
            random=random,
        )
        return samples, scene.warp(states, rays, samples)
    jitter = torch.rand(len(near), generator=generator, device=near.device) if random else None
    samples = march(near, far, render.step, scene.alive(states, rays, reach), jitter=jitter)
    warped = scene.warp(states, rays, samples)
    cells = scene.occupancy.occupied if hidden else scene.occupancy.visible
    kept = scene.occupancy.query(warped.detach(), cells).nonzero().squeeze(1)
    samples, warped = samples.select(kept), warped[kept]
    slots = samples.slots()
    if len(slots) and int(slots.max()) >= render.max_samples:
        kept = (slots < render.max_samples).nonzero().squeeze(1)
        samples, warped = samples.select(kept), warped[kept]
    return samples, warped
