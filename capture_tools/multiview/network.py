"""A network that guesses a head from landmarks in one to eight views: identity; per view expression, pose, distance.

Each view passes through the same trunk. Features are pooled over views with weights of their own (a softmax over views
per channel), so any number of views in any order will do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatar.base.conventions import LANDMARK_COUNT

TRUNK, WIDTH = 768, 512
AFFINE = 4
"""Numbers of a row of an affine camera."""
SCALE = 0.3
"""Coefficients of the identity per unit of the last layer."""
ROTATION = 6
"""Numbers that stand for a rotation: its first two columns (Zhou et al., 2019)."""


@dataclass(frozen=True)
class Guess:
    """What the network says of B heads in N views each; coefficients are the head model's."""

    shape: Tensor
    """`[B, S]`."""
    expr: Tensor
    """`[B, N, E]`."""
    jaw: Tensor
    """`[B, N]` opening, radians."""
    rotation: Tensor
    """`[B, N, 6]` first two columns of the head's rotation, seen along the line to it, upright in the view."""
    distance: Tensor
    """`[B, N]` logarithm of the head's distance in metres."""


class GuessNetwork(nn.Module):
    """See the module's text. shape_count, expression_count: S and E, the head model's."""

    rest: Tensor
    """`[478, 4]` landmarks of the mean head about their middle, and a constant."""
    middle: Tensor
    spread: Tensor

    def __init__(self, shape_count: int, expression_count: int) -> None:
        super().__init__()
        self.expression_count = expression_count
        inputs = 2 * LANDMARK_COUNT + 2 * AFFINE
        self.register_buffer("rest", torch.zeros(LANDMARK_COUNT, AFFINE))
        self.register_buffer("middle", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.trunk = nn.Sequential(
            *(
                nn.Linear(inputs, TRUNK),
                nn.SiLU(),
                nn.Linear(TRUNK, WIDTH),
                nn.SiLU(),
                nn.Linear(WIDTH, WIDTH),
                nn.SiLU(),
            )
        )
        self.weight = nn.Linear(WIDTH, WIDTH)
        self.identity = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, shape_count))
        self.face = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, expression_count + 1 + ROTATION + 1)
        )

    def prepare(self, template: Tensor, landmarks: Tensor) -> None:
        """Take the constants from `template` `[478, 3]`, landmarks of the mean head, and examples `[K, 478, 2]`."""
        centred = template - template.mean(0)
        self.rest.copy_(torch.cat([centred, centred.std().expand(len(centred), 1)], 1))
        inputs = self.standardised(landmarks)
        self.middle.copy_(inputs.mean(0))
        self.spread.copy_(inputs.std(0).clamp(min=1e-3))

    def camera(self, landmarks: Tensor) -> Tensor:
        """The affine view `[K, 4, 2]` of the mean head that comes nearest to landmarks `[K, 478, 2]`."""
        normal = self.rest.T @ self.rest
        return torch.linalg.solve(normal, self.rest.T @ landmarks)

    def standardised(self, landmarks: Tensor) -> Tensor:
        """Landmarks `[K, 478, 2]` as what an affine view of the mean head explains, and the rest: `[K, 964]`.

        The first 8 numbers hold pose and proportions, the others shape, expression and perspective.
        """
        camera = self.camera(landmarks)
        left = landmarks - self.rest @ camera
        return torch.cat([camera.flatten(1), left.flatten(1)], 1)

    def forward(self, landmarks: Tensor, seen: Tensor) -> Guess:
        """landmarks: `[B, N, 478, 2]` in the view. seen: `[B, N]` bool, views that count; at least one of each head."""
        pooled, features = self.pooled(landmarks, seen)
        expr, jaw, rotation, distance = self.face(features).split([self.expression_count, 1, ROTATION, 1], -1)
        return Guess(SCALE * self.identity(pooled), 0.3 * expr, 0.1 * jaw[..., 0], rotation, distance[..., 0])

    def pooled(self, landmarks: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Features of heads `[B, WIDTH]` and of their views `[B, N, WIDTH]`; arguments as of `forward`."""
        inputs = (self.standardised(landmarks.flatten(0, 1)) - self.middle) / self.spread
        features = self.trunk(inputs.clamp(-8, 8)).unflatten(0, seen.shape)
        logits = self.weight(features).masked_fill(~seen[..., None], -torch.inf)
        return (logits.softmax(1) * features).sum(1), features
