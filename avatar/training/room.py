"""Learning the room around a person: rays beside the mask, and the colours behind the person."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.data.sampler import RayBatch
from avatar.field.frame_states import Rays
from avatar.field.room import RoomField
from avatar.field.scene import Scene
from avatar.training import losses
from avatar.training.prepare import TrainingData

MASK_GROWTH = 1 / 48
"""Width by which the mask is dilated before what is beside it counts as room, in longer sides of the picture."""
THROUGH_PERSON = 0.15
"""Share of the rays that pass through the person: nothing stands before somebody who is seen."""
BEFORE_PERSON = 0.25
"""Metres before the head's middle up to which nothing stands."""
PLAIN = 0.07
"""Share of the candidates that is taken on even walls."""
DETAIL = 0.15
"""Contrast of neighbouring pixels, of 1, from which on a pixel is drawn as often as any."""
CANDIDATES = 8
"""Candidates drawn per ray."""
EMPTY, SOLID = 0.02, 0.99
"""Mask values below which nobody is there, and from which on nothing of the room is seen past the person."""


@dataclass
class RoomRays:
    """R rays of the training frames that the room is learned from, in the world."""

    frame: Tensor
    """`[R]` int64, positions in the FrameSet."""
    origins: Tensor
    """`[R, 3]` metres."""
    directions: Tensor
    """`[R, 3]` unit."""
    colour: Tensor
    """`[R, 3]` sRGB in [0, 1]."""
    room: Tensor
    """`[R]` in [0, 1]: 1 where the ray sees the room alone, 0 through the person."""
    clear: Tensor
    """`[R]` metres along the rays up to which nothing stands before the person."""


class RoomSampler:
    """Draws rays evenly over all training frames at once; most of them pass beside the person."""

    def __init__(self, training: TrainingData, rays: int) -> None:
        self.training, self.rays = training, rays
        self.room = beside_person(training.frames.masks)
        self.share = detail_share(training.frames.images)

    def draw(self, generator: torch.Generator) -> RoomRays:
        """About `rays` rays: those beside the person among as many more candidates, and a few through the person."""
        training, frames = self.training, self.training.frames
        device, (width, height) = training.background.device, frames.size
        draws = torch.rand(4, CANDIDATES * self.rays, generator=generator, device=device)
        frame = (draws[0] * len(frames)).long().clamp(max=len(frames) - 1)
        x = (draws[1] * width).long().clamp(max=width - 1)
        y = (draws[2] * height).long().clamp(max=height - 1)
        room = self.room[frame, y, x].float() / 255
        through = room == 0
        beside = ~through & (255 * draws[3] < self.share[frame, y, x])
        few = int(THROUGH_PERSON * self.rays)
        chosen = torch.cat([beside.nonzero().squeeze(1)[: self.rays - few], through.nonzero().squeeze(1)[:few]])
        frame, x, y, room = frame[chosen], x[chosen], y[chosen], room[chosen]
        origins, directions = training.world_rays(frame, x, y)
        heads = training.data.world_from_skull[frame, :3, 3]
        clear = ((heads - origins).norm(dim=1) - BEFORE_PERSON).clamp_min(0)
        return RoomRays(frame, origins, directions, frames.images[frame, y, x].float() / 255, room, clear)


def detail_share(images: Tensor) -> Tensor:
    """`[N, H, W]` uint8 of 255: the share of the candidates in images `[N, H, W, 3]` uint8 that is taken, 1 at edges
    and in texture, PLAIN on even walls, which are learned soon."""
    share = torch.empty(images.shape[:3], dtype=torch.uint8, device=images.device)
    for image, out in zip(images, share, strict=True):
        colour = image.permute(2, 0, 1)[None].float() / 255
        wide = F.pad(colour, (1, 1, 1, 1), mode="replicate")
        contrast = (F.max_pool2d(wide, 3, stride=1) + F.max_pool2d(-wide, 3, stride=1)).amax(1)[0]
        out.copy_(255 * (contrast / DETAIL).clamp(PLAIN, 1.0))
    return share


def beside_person(masks: Tensor) -> Tensor:
    """`[N, H, W]` uint8: 255 where the room alone is seen, 0 on the dilated masks `[N, H, W]`, soft at their edge."""
    margin = max(1, round(MASK_GROWTH * max(masks.shape[1:])))
    free = torch.empty_like(masks)
    for mask, out in zip(masks, free, strict=True):
        grown = F.max_pool2d(mask[None, None].float(), 2 * margin + 1, stride=1, padding=margin)
        soft = F.avg_pool2d(F.pad(grown, (1, 1, 1, 1), mode="replicate"), 3, stride=1)[0, 0]
        out.copy_(torch.where(mask > 0, 0, 255 - soft))
    return free


def room_losses(room: RoomField, rays: RoomRays, generator: torch.Generator) -> tuple[dict[str, Tensor], int]:
    """The unweighted losses of the room by name, and how many samples they took; the room remembers their densities."""
    view = room.look(*room.refined(rays.origins, rays.directions, rays.frame), generator)
    room.remember(view, rays.room)
    shown = room.exposed(view.colour, rays.frame)
    terms = {
        "room": (rays.room.unsqueeze(1) * (shown - rays.colour).square()).mean(),
        "room_clear": ((1 - rays.room) * view.opacity_before(rays.clear)).mean(),
        "cameras": losses.pose_loss(room.cameras),
    }
    return terms, len(view.samples)


@torch.no_grad()
def room_behind(scene: Scene, rays: Rays, batch: RayBatch, generator: torch.Generator) -> Tensor:
    """Colours `[R, 3]` of what stands behind a batch's world rays: grey where the mask says that nothing is seen past
    the person, the picture itself where it says that nobody is there, and at the mask's edge the room as learned.

    A field that composites over the room alone takes part in showing it before the room is learned, and what has
    become opaque then stays: its opacity has no gradient any more. Over the picture itself it has nothing to add.
    """
    room = scene.room
    assert room is not None
    colours = torch.where((batch.mask < EMPTY)[:, None], batch.colour, 0.5)
    edge = ((batch.mask >= EMPTY) & (batch.mask < SOLID)).nonzero().squeeze(1)
    if len(edge):
        frame = batch.frame_index[edge]
        looking = room.refined(rays.origins[edge], rays.directions[edge], frame)
        colours[edge] = room.exposed(room.look(*looking, generator).colour, frame)
    return colours
