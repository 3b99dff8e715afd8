"""Rays at faces that the clip does not show, and the colours they have to see: what priors of expressions teach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.field.frame_states import FrameData, Rays
from avatar.field.identity import Identity
from avatar.field.ray_sampling import field_functions, sample_rays
from avatar.field.scene import Scene
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera, image_rays
from avatar.rendering.rays import render_samples
from avatar.rendering.volume import over

RAYS = 256
"""Rays of a step."""


@dataclass
class PosedRays:
    """Faces of the person, and what rays at them show."""

    data: FrameData
    """Of the K faces."""
    frame: Tensor
    """`[P]` int64: the face of each ray."""
    origins: Tensor
    """`[P, 3]` metres, world."""
    directions: Tensor
    """`[P, 3]` unit."""
    colour: Tensor
    """`[P, 3]` sRGB in [0, 1]."""

    @staticmethod
    def through(
        identity: Identity, params: HeadParameters, camera: Camera, pictures: Sequence[tuple[Tensor, Tensor]]
    ) -> PosedRays | None:
        """The rays of one camera through chosen pixels of K faces `params`; None where there is no such pixel.

        pictures: for each face the pixels, `[H, W]` bool, and their colours, `[P_k, 3]` sRGB.
        """
        origins, directions = image_rays(camera, device=identity.device)
        parts = []
        for k, (chosen, colour) in enumerate(pictures):
            frame = torch.full((int(chosen.sum()),), k, device=identity.device)
            parts.append((frame, origins[chosen], directions[chosen], colour))
        frame, *rest = (torch.cat(values) for values in zip(*parts, strict=True))
        return PosedRays(identity.frame_data(params), frame, *rest) if len(frame) else None

    def loss(self, scene: Scene, progress: float, generator: torch.Generator) -> Tensor:
        """Mean squared error of the colours of RAYS random rays, and of their opacity, which is 1."""
        chosen = torch.randint(len(self.frame), (RAYS,), generator=generator, device=self.frame.device)
        states = scene.mean_states(self.data)
        mask = torch.ones(RAYS, dtype=torch.bool, device=self.frame.device)
        rays = states.carry(Rays(self.origins[chosen], self.directions[chosen], self.frame[chosen], mask))
        window = scene.window(progress)
        samples, canonical = sample_rays(scene, states, rays, window, jitter=True, generator=generator)
        functions = field_functions(scene, states, rays, window, canonical)
        rendered = render_samples(samples, *functions, backend=scene.backends.marching.name)
        wanted = self.colour[chosen]
        picture = over(rendered.colour, rendered.opacity, wanted)
        return (picture - wanted).square().mean() + (1 - rendered.opacity).square().mean()
