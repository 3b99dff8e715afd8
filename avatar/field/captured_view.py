"""The captured view of B frames: which of their points the field learned inside the head model's silhouette.

The expression counts inside the silhouette alone, so a point of the field was learned with or without it by the pixel
through which the captured camera looked at it. Another camera has to ask for the point as it was learned: hair beside
the head goes without the expression wherever it stands in that camera's picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.geometry.cameras import Camera


@dataclass(frozen=True)
class CapturedView:
    """The camera of each of B frames and the head's silhouette as it sees it."""

    cam_from_space: Tensor
    """`[B, 4, 4]` extrinsics: to the camera from the space of the points that are asked for; metres."""
    lens: Tensor
    """`[4]` focal lengths and principal point, fl_x, fl_y, cx, cy in pixels."""
    silhouettes: Tensor
    """`[B, H, W]` bool silhouettes of the posed head."""

    @staticmethod
    def of(cameras: Sequence[Camera], silhouettes: Tensor) -> CapturedView:
        """For points in the world, from the frames' cameras, which have one lens, and their silhouettes."""
        poses = np.stack([camera.cam_from_world for camera in cameras])
        lens = [cameras[0].fl_x, cameras[0].fl_y, cameras[0].cx, cameras[0].cy]
        device = silhouettes.device
        return CapturedView(
            torch.as_tensor(poses, dtype=torch.float32, device=device), torch.tensor(lens, device=device), silhouettes
        )

    @property
    def positions(self) -> Tensor:
        """The camera centres `[B, 3]`, metres."""
        rotation, translation = self.cam_from_space[:, :3, :3], self.cam_from_space[:, :3, 3]
        return -(rotation * translation.unsqueeze(-1)).sum(1)

    def select(self, frame: Tensor) -> CapturedView:
        """The frames `[B']` int64."""
        return CapturedView(self.cam_from_space[frame], self.lens, self.silhouettes[frame])

    def carried(self, old_from_new: Tensor) -> CapturedView:
        """The same view for points of another space, from which `old_from_new` `[B, 4, 4]` lead to this one."""
        return CapturedView(self.cam_from_space @ old_from_new, self.lens, self.silhouettes)

    @torch.no_grad()
    def covers(self, points: Tensor, frame: Tensor) -> Tensor:
        """`[M]` bool: whether the silhouette of the points' frames `[M]` covers points `[M, 3]`, metres.

        Beyond the picture its nearest pixel counts.
        """
        matrix = self.cam_from_space.index_select(0, frame)
        seen = torch.addcmul(matrix[:, :3, 3], matrix[:, :3, 0], points[:, 0:1])
        seen.addcmul_(matrix[:, :3, 1], points[:, 1:2]).addcmul_(matrix[:, :3, 2], points[:, 2:3])
        pixels = (self.lens[:2] * seen[:, :2] / seen[:, 2:] + self.lens[2:]).floor()
        height, width = self.silhouettes.shape[1:]
        column, row = pixels[:, 0].clamp(0, width - 1).long(), pixels[:, 1].clamp(0, height - 1).long()
        return self.silhouettes[frame, row, column] & (seen[:, 2] > 0)
