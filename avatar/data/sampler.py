"""Ray sampling for training: a few frames per batch, many rays on the mouth and the person, some anywhere.

The mouth covers about a hundredth of a picture, so uniform sampling would hardly train it. The preset `cpu` draws a
third of the rays from the mouth's box (`training.mouth_share`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.base.errors import ConfigError
from avatar.data.dataset import FrameSet

MOUTH, EYES, PERSON, ANYWHERE = range(4)
"""Regions that rays are drawn from; values of `RayBatch.region`."""
BLOCKS_ACROSS = 64
"""The dilated mask is stored as square blocks whose side is 1/64 of the picture's longer side, in whole pixels."""
MASK_THRESHOLD = 12
"""Mask values (0 to 255) above this count as person: about 5 % opacity, which keeps most of the soft edge of hair."""


@dataclass
class RayBatch:
    """R rays from F frames."""

    frames: Tensor
    """`[F]` int64, positions in the FrameSet, all different."""
    slot: Tensor
    """`[R]` int64, position in `frames` of each ray's frame, ascending: the rays of a frame are contiguous."""
    frame_index: Tensor
    """`[R]` int64, `frames[slot]`."""
    pixels: Tensor
    """`[R, 2]` float32 x, y of pixel centres (+0.5)."""
    colour: Tensor
    """`[R, 3]` float32 sRGB in [0, 1]."""
    mask: Tensor
    """`[R]` float32 in [0, 1], 1 = person."""
    region: Tensor
    """`[R]` int64, the region requested (MOUTH, EYES, PERSON or ANYWHERE), also where a ray fell back to another."""


class RaySampler:
    """Draws RayBatches from a FrameSet. Batches depend on the seed and the frames, not on the device.

    Frames come in shuffled passes over the set: their counts differ by one at most. Of each frame's rays about
    `mouth_share` fall in the mouth's box, `eye_share` in the eyes' boxes, `background_share` anywhere in the picture
    and the rest on the person's dilated mask. Sampling is uniform within a box; each eye gets half of the eyes' rays
    whatever its size. On the mask a block is drawn uniformly, then a pixel in it, so pixels of blocks that the
    picture's edge cuts are drawn more often. A frame without landmarks gives those rays to the person, a frame without
    a person to the whole picture.

    Raises ConfigError for shares that do not fit, and where rays, frames per batch or frames are none.
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
        # Drawn on the CPU, then moved: the batches are the same on every device.
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
        """The next batch of `rays` rays, on the FrameSet's device."""
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
        """`[F]` int64, distinct frames of a shuffled pass over all; the rest of a pass opens the next batch."""
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
        """The state of the generator and of the current pass, as tensors (for a checkpoint)."""
        return {
            "generator": self.generator.get_state(),
            "order": self.order.clone(),
            "cursor": torch.tensor(self.cursor),
        }

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Continue where `get_state` was taken. Raises ConfigError where the state has another number of frames."""
        order = state["order"].cpu().long()
        if len(order) not in (0, len(self.frames)):
            raise ConfigError(
                "the sampler's state does not fit", expected=f"{len(self.frames)} frames", found=len(order)
            )
        self.generator.set_state(state["generator"].cpu())
        self.order, self.cursor = order.clone(), int(state["cursor"])


def person_blocks(masks: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    """The person's mask of each frame, `[N, H, W]` uint8, dilated and stored as lists of square blocks.

    A block is listed where it or one of its eight neighbours holds a person: a dilation by one to two blocks. A frame
    without a person lists every block. Returns the block's side in pixels, start `[N]` and count `[N]` of each frame's
    blocks, and the corners x, y `[B, 2]` int32 of all blocks. At 64 blocks a side a frame takes at most 32 KiB; pixel
    lists would be too large for long clips. (Sides are whole pixels, so small pictures have up to 95 blocks a side.)
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
