"""Which rays a training step sees: a few frames, many rays from the mouth and the person, some from everywhere.

Uniform rays leave a mouth that never opens: it is a hundredth of the picture. The presets draw a third of the rays
from the mouth's box (`training.mouth_share`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.base.errors import ConfigError
from avatar.data.dataset import FrameSet

MOUTH, EYES, PERSON, ANYWHERE = range(4)
"""The regions rays are drawn from, as in `RayBatch.region`."""
BLOCKS_ACROSS = 64
"""The person's dilated mask is kept as blocks of about 1/64 of the picture's longer side."""
MASK_THRESHOLD = 12
"""Mask values above this count as person: about 5 % opacity, so that hair's soft edge is in."""


@dataclass
class RayBatch:
    """R rays from F frames."""

    frames: Tensor
    """[F] int64, positions in the FrameSet, all different."""
    slot: Tensor
    """[R] int64, position in `frames` of each ray's frame, rising: rays of one frame lie together."""
    frame_index: Tensor
    """[R] int64, `frames[slot]`."""
    pixels: Tensor
    """[R, 2] float32 x, y of pixel centres (+0.5)."""
    colour: Tensor
    """[R, 3] float32 sRGB in [0, 1]."""
    mask: Tensor
    """[R] float32, 1 = person."""
    region: Tensor
    """[R] int64, where the ray was asked from: MOUTH, EYES, PERSON or ANYWHERE."""


class RaySampler:
    """Draws RayBatches from a FrameSet, the same ones for the same seed, on any device.

    Frames come in shuffled passes, so that each is seen equally often. Of each frame's rays `mouth_share` fall in
    the mouth's box, `eye_share` in the eyes' boxes, `background_share` anywhere in the picture, the rest on the
    person's dilated mask, uniform within each. Where a frame has no landmarks those rays go to the person, and
    where it has no person to the whole picture.
    """

    def __init__(
        self,
        frames: FrameSet,
        *,
        rays: int = 1024,
        frames_per_batch: int = 8,
        mouth_share: float = 1 / 3,
        eye_share: float = 0.1,
        background_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        shares = (mouth_share, eye_share, background_share)
        if min(shares) < 0 or sum(shares) > 1 + 1e-6:
            raise ConfigError(
                "the ray shares do not fit", expected="shares of at least 0 and at most 1 in all", found=shares
            )
        if rays < 1 or frames_per_batch < 1 or len(frames) == 0:
            found = f"{rays} rays, {frames_per_batch} of {len(frames)} frames"
            raise ConfigError("a batch needs rays and frames", expected="at least one of each", found=found)
        self.frames, self.rays = frames, rays
        self.frames_per_batch = min(frames_per_batch, len(frames), rays)
        self.width, self.height = frames.size
        device = frames.device
        # Numbers are drawn on the CPU, then moved: a run gives the same batches on every device.
        self.generator = torch.Generator().manual_seed(seed)
        self.order, self.cursor = torch.empty(0, dtype=torch.int64), 0

        # Each frame's share of the batch, and the region of each ray within it, never change.
        place = torch.arange(rays) * self.frames_per_batch
        self.slot = (place // rays).to(device)
        within = (place % rays).float() / rays
        edges = torch.tensor([mouth_share, mouth_share + eye_share, 1 - background_share])
        self.region = torch.bucketize(within, edges, right=True).to(device)
        self.block, self.block_start, self.block_count, self.blocks = person_blocks(frames.masks)

    def batch(self) -> RayBatch:
        """The next batch, on the FrameSet's device."""
        device = self.frames.device
        frames = self._next_frames().to(device)
        frame_index = frames[self.slot]
        draws = torch.rand(4, self.rays, generator=self.generator).to(device)

        # Every ray is uniform in a box: the mouth's, an eye's, the picture, or one block of the person's mask.
        count = self.block_count.index_select(0, frame_index)
        chosen = self.block_start.index_select(0, frame_index) + torch.minimum((draws[2] * count).long(), count - 1)
        corner = self.blocks.index_select(0, chosen).long()
        boxes = torch.cat([corner, corner + self.block], dim=1)
        eye = (draws[3] >= 0.5).long()
        wanted = torch.where(
            (self.region == MOUTH)[:, None],
            self.frames.mouth_boxes.index_select(0, frame_index),
            self.frames.eye_boxes[frame_index, eye],
        )
        usable = (self.region <= EYES) & (wanted[:, 2] > wanted[:, 0])
        boxes = torch.where(usable[:, None], wanted, boxes)
        picture = boxes.new_tensor([0, 0, self.width, self.height])
        boxes = torch.where((self.region == ANYWHERE)[:, None], picture, boxes)
        boxes = torch.minimum(boxes, picture[[2, 3, 2, 3]])

        x = boxes[:, 0] + (draws[0] * (boxes[:, 2] - boxes[:, 0])).long()
        y = boxes[:, 1] + (draws[1] * (boxes[:, 3] - boxes[:, 1])).long()
        return RayBatch(
            frames=frames,
            slot=self.slot,
            frame_index=frame_index,
            pixels=torch.stack([x, y], dim=1).float() + 0.5,
            colour=self.frames.images[frame_index, y, x].float() / 255,
            mask=self.frames.masks[frame_index, y, x].float() / 255,
            region=self.region,
        )

    def _next_frames(self) -> Tensor:
        """[F] int64, different frames, from a shuffled pass over all; what is left of a pass opens the next batch."""
        need = self.frames_per_batch
        taken = self.order[self.cursor : self.cursor + need]
        self.cursor += len(taken)
        if len(taken) < need:
            fresh = torch.randperm(len(self.frames), generator=self.generator)
            # Frames already in this batch move to the end of the new pass, so that no frame is in a batch twice.
            repeated = torch.isin(fresh, taken)
            self.order = torch.cat([fresh[~repeated], fresh[repeated]])
            self.cursor = need - len(taken)
            taken = torch.cat([taken, self.order[: self.cursor]])
        return taken

    def get_state(self) -> dict[str, Tensor]:
        """All that the next batches depend on, as tensors (for a checkpoint)."""
        return {
            "generator": self.generator.get_state(),
            "order": self.order.clone(),
            "cursor": torch.tensor(self.cursor),
        }

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Go on where `get_state` was taken; raises ConfigError where the state is of another set of frames."""
        order = state["order"].cpu().long()
        if len(order) not in (0, len(self.frames)):
            raise ConfigError(
                "the sampler's state does not fit", expected=f"{len(self.frames)} frames", found=len(order)
            )
        self.generator.set_state(state["generator"].cpu())
        self.order, self.cursor = order.clone(), int(state["cursor"])


def person_blocks(masks: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    """The person's mask of each frame [N, H, W], dilated, as lists of square blocks.

    A block counts where it or one of its eight neighbours holds any person: a dilation by one to two blocks. Returns
    the block's side in pixels, start [N] and count [N] of each frame's blocks, and their corners x, y [B, 2] int32.
    At 64 blocks a side a frame takes at most 32 KB; lists of single pixels would not fit for long clips.
    """
    height, width = masks.shape[1:]
    side = max(1, round(max(height, width) / BLOCKS_ACROSS))
    corners, counts = [], []
    for mask in masks:
        person = (mask > MASK_THRESHOLD)[None, None].float()
        coarse = F.max_pool2d(person, side, ceil_mode=True)
        dilated = F.max_pool2d(coarse, 3, stride=1, padding=1)[0, 0] > 0
        if not dilated.any():
            dilated = torch.ones_like(dilated)
        where = dilated.nonzero().flip(1) * side
        corners.append(where.to(torch.int32))
        counts.append(len(where))
    counted = torch.tensor(counts, device=masks.device)
    return side, counted.cumsum(0) - counted, counted, torch.cat(corners)
