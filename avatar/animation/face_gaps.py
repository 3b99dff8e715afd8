"""The gaps between lips and between lids: as wide on the avatar as on its driver, and shut when the driver's are.

The same change of the jaw opens two faces by different amounts, and lips that meet on one may cross on another. What
shows of speech is the gap, so it is what is carried over: the avatar's jaw turns until its lips are as far apart as the
driver's.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import EYE_CORNERS, EYE_OUTER_CORNERS, INNER_LIP_MIDDLE, LID_MIDDLES
from avatar.flame.model import HeadModel, HeadParameters

PROBE = 0.02
"""Radians by which the jaw is turned to see how the gap changes."""
ROUNDS = 2
"""Newton steps: the gap is nearly linear in the jaw's angle."""
FARTHEST = 0.3
"""Radians by which the jaw may be turned for the gap's sake."""
LEAST_CHANGE = 0.1
"""Of the gap with the jaw, per radian: below it the jaw does not open these lips."""
LEAST_SPAN = 0.01
"""Of a gap between neutral and shut, over the eyes' distance."""
SHUT_QUANTILE = 0.02
"""Of a clip's gaps that is shut: single frames may be tracked with lips that cross."""
GAP_NOISE = 0.006
"""Size of frame-to-frame changes of the gap taken for tracking noise, over the eyes' distance."""


class FaceGauge:
    """Measures the gaps between the lips and between the lids of a head model's faces."""

    def __init__(self, asset: HeadAsset, device: torch.device | str = "cpu") -> None:
        """Raises HeadModelError for a head without landmarks (`HeadAsset.has_landmarks`)."""
        asset.require_landmarks()
        lids = [point for eye in zip(LID_MIDDLES, EYE_CORNERS, strict=True) for pair in eye for point in pair]
        wanted = torch.tensor([*INNER_LIP_MIDDLE, *EYE_OUTER_CORNERS, *lids])
        whole = torch.as_tensor(asset.faces[asset.mediapipe_faces], dtype=torch.int64)[wanted]
        subset, corners = torch.unique(whole, return_inverse=True)
        self._model = HeadModel(asset, subset).to(device)
        self._corners = corners.to(device)
        self._weights = torch.as_tensor(asset.mediapipe_barycentrics)[wanted].to(device)

    def lips(self, params: HeadParameters) -> Tensor:
        """`[N]` gaps between the inner lips over the distance of the eyes' outer corners; negative where lips cross."""
        upper, lower, right, left = self._points(params)[:, :4].unbind(1)
        return (upper - lower)[:, 1] / (right - left).norm(dim=-1)

    def lip_range(self, clip: HeadParameters, rest: HeadParameters) -> GapRange:
        """The gaps of a person's clip, whose face at rest is `rest` (N = 1)."""
        return GapRange.of(self.lips(clip), float(self.lips(rest)))

    def lids(self, params: HeadParameters) -> Tensor:
        """`[N, 2]` gaps between the lids of the left and of the right eye over the eye's width; negative where they
        cross."""
        upper, lower, outer, inner = self._points(params)[:, 4:].unflatten(1, (2, 4)).unbind(2)
        return ((upper - lower)[..., 1] / (outer - inner).norm(dim=-1)).flip(1)

    @torch.no_grad()
    def _points(self, params: HeadParameters) -> Tensor:
        """The landmarks `[N, 12, 3]` of heads that look straight ahead."""
        zero = torch.zeros_like(params.rotation)
        vertices = self._model(dataclasses.replace(params, rotation=zero, neck=zero, translation=zero)).vertices
        return (vertices[:, self._corners] * self._weights[..., None]).sum(-2)

    def opened(self, params: HeadParameters, wanted: Tensor) -> Tensor:
        """Jaws `[N, 3]` in radians with which the faces `params` have the gaps `wanted` `[N]`, as far as jaws can."""
        count, jaw = len(params), params.jaw.clone()
        rows = params.select(torch.arange(count, device=jaw.device).repeat(2))
        for _ in range(ROUNDS):
            probed = jaw.repeat(2, 1)
            probed[count:, 0] += PROBE
            gap, beyond = self.lips(dataclasses.replace(rows, jaw=probed)).split(count)
            change = (beyond - gap) / PROBE
            step = torch.where(change > LEAST_CHANGE, (wanted - gap) / change.clamp_min(LEAST_CHANGE), 0.0)
            turned = jaw[:, 0] + step - params.jaw[:, 0]
            jaw[:, 0] = params.jaw[:, 0] + turned.clamp(-FARTHEST, FARTHEST)
        return jaw


@dataclasses.dataclass(frozen=True)
class GapRange:
    """The lips' gap of a person at rest, and shut; over the eyes' distance."""

    neutral: float
    shut: float

    @staticmethod
    def of(gaps: Tensor, neutral: float) -> GapRange:
        """Of a clip's gaps `[N]`. Lips that are never shut in it are shut at 0."""
        return GapRange(neutral, min(neutral, max(0.0, float(torch.quantile(gaps, SHUT_QUANTILE)))))


def carried_over(gaps: Tensor, theirs: GapRange, own: GapRange, gain: float) -> Tensor:
    """The avatar's gaps `[N]` for the driver's: as much wider than at rest, times `gain`, and shut when they are."""
    change = gaps - theirs.neutral
    ratio = (own.neutral - own.shut) / max(theirs.neutral - theirs.shut, LEAST_SPAN)
    return own.neutral + torch.where(change > 0, gain * change, min(1.0, ratio) * change)


@dataclasses.dataclass(frozen=True)
class LipMatch:
    """What carries the gap between the lips over."""

    gauge: FaceGauge
    theirs: GapRange
    own: GapRange

    def jaw(self, meant: HeadParameters, avatar: HeadParameters, gaps: Tensor, gain: float) -> Tensor:
        """Jaws `[N, 3]` for the expressions `meant` on the avatar's face. gaps: `[N]` of the driver."""
        shown = dataclasses.replace(meant, shape=avatar.shape, static_offset=avatar.static_offset)
        return self.gauge.opened(shown, carried_over(gaps, self.theirs, self.own, gain))
