"""A network that moves detected landmarks onto the head's surface as the picture shows it, each with a deviation.

Wood et al., "3D face reconstruction with dense landmarks", ECCV 2022: a mean and a deviation per landmark.

The picture passes convolutions down to a vector, which moves all points together; then each point looks at the features
at its own place.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from avatar.base.conventions import LANDMARK_COUNT

CHANNELS = (24, 48, 96, 160)
"""Of the features at a half, a quarter, an eighth and a sixteenth of the picture's resolution."""
SQUEEZED = 48
"""Channels that the vector is made from."""
WIDTH = 384
LOCAL, CONTEXT, NAME = 48, 64, 24
"""Numbers that a point's last step sees: of the picture at its place, of the whole, of its own."""
MOVE = 0.05
"""Of the view's half side per unit of the network's answer."""
DEVIATION = 0.02
"""Deviation of a point before training, of the view's half side."""


class DenseNetwork(nn.Module):
    """See the module's text. points: P, how many it places; side: pixels of the picture it sees."""

    rest: Tensor
    """`[P, 4]` points of the mean head about the middle of its landmarks, and a constant."""
    middle: Tensor
    spread: Tensor

    def __init__(self, points: int, side: int) -> None:
        super().__init__()
        inputs = 2 * LANDMARK_COUNT + 8
        self.register_buffer("rest", torch.zeros(points, 4))
        self.register_buffer("middle", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        widths = (3, *CHANNELS)
        self.down = nn.ModuleList(
            nn.Sequential(
                *_convolution(before, after, 2),
                *(_convolution(after, after, 1) if level else ()),
            )
            for level, (before, after) in enumerate(itertools.pairwise(widths))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(channels, LOCAL, 1) for channels in CHANNELS[1:])
        self.fine = nn.Sequential(*_convolution(LOCAL, LOCAL, 1))
        cells = (side // 16) ** 2
        self.squeeze = nn.Sequential(nn.Conv2d(CHANNELS[-1], SQUEEZED, 1), nn.SiLU(), nn.Flatten())
        self.whole = nn.Sequential(nn.Linear(SQUEEZED * cells, WIDTH), nn.SiLU())
        self.found = nn.Sequential(nn.Linear(inputs, WIDTH), nn.SiLU())
        self.joined = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU())
        self.coarse = nn.Linear(WIDTH, 2 * points)
        self.context = nn.Linear(WIDTH, CONTEXT)
        self.names = nn.Parameter(0.1 * torch.randn(points, NAME))
        self.last = nn.Sequential(
            nn.Linear(LOCAL + CONTEXT + NAME, 96), nn.SiLU(), nn.Linear(96, 64), nn.SiLU(), nn.Linear(64, 3)
        )

    def prepare(self, points: Tensor, landmarks: Tensor) -> None:
        """Take the constants from `points` `[P, 3]` of the mean head and examples `[K, 478, 2]` of detections."""
        centred = points - points[:LANDMARK_COUNT].mean(0)
        size = centred[:LANDMARK_COUNT].std()
        self.rest.copy_(torch.cat([centred / size, torch.ones(len(points), 1)], 1))
        inputs, _ = self.explained(landmarks)
        self.middle.copy_(inputs.mean(0))
        self.spread.copy_(inputs.std(0).clamp(min=1e-3))

    def explained(self, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks `[K, 478, 2]` as an affine camera of the mean head and what is left, `[K, 964]`; all points there
        `[K, P, 2]`, the landmarks among them as detected."""
        own = self.rest[:LANDMARK_COUNT]
        camera = torch.linalg.solve(own.T @ own, own.T @ landmarks)
        left = landmarks - own @ camera
        others = self.rest[LANDMARK_COUNT:] @ camera
        return torch.cat([camera.flatten(1), left.flatten(1)], 1), torch.cat([landmarks, others], 1)

    def forward(self, pictures: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """pictures: `[K, 3, S, S]` in [0, 1]. landmarks: `[K, 478, 2]` in the view, which spans [-1, 1].

        Returns places after the first step and at last, `[K, P, 2]` each, and log deviations `[K, P]`, all in the view.
        """
        features, levels = 2 * pictures - 1, []
        for step in self.down:
            features = step(features)
            levels.append(features)
        inputs, start = self.explained(landmarks)
        found = self.found(((inputs - self.middle) / self.spread).clamp(-8, 8))
        whole = self.joined(torch.cat([self.whole(self.squeeze(features)), found], 1))
        places = start + MOVE * self.coarse(whole).unflatten(1, (-1, 2))
        fine = self.lateral[-1](levels[-1])
        for lateral, level in zip(list(self.lateral)[-2::-1], levels[-2:0:-1], strict=True):
            fine = nn.functional.interpolate(fine, scale_factor=2.0, mode="nearest") + lateral(level)
        at = places.detach().clamp(-1, 1)[:, :, None]
        local = nn.functional.grid_sample(self.fine(fine), at, padding_mode="border", align_corners=False)
        context = self.context(whole)[:, None].expand(-1, len(self.names), -1)
        names = self.names.expand(len(places), -1, -1)
        last = self.last(torch.cat([local[..., 0].mT, context, names], -1))
        deviation = last[..., 2] + math.log(DEVIATION)
        return places, places + MOVE * last[..., :2], deviation


def _convolution(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.GroupNorm(8, after), nn.SiLU()
