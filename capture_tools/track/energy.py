"""The tracking energy: robust landmark distances, lid and lip openings, priors and smoothness.

Every term is a mean over frames of squares in units of a standard deviation, so weights are readable as deviations.
Lid and lip terms follow MFNet and metrical-tracker (Zielonka et al., ECCV 2022): the distance between upper and lower
lid, or lip, detects closure more reliably than two absolute positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import INNER_LIPS, LEFT_EYE, LEFT_IRIS, OUTER_LIPS, RIGHT_EYE, RIGHT_IRIS

LID_PAIRS = (
    *((159, 145), (158, 153), (160, 144), (157, 154), (161, 163)),
    *((386, 374), (385, 380), (387, 373), (384, 381), (388, 390)),
)
"""Pairs of upper and lower lid landmarks, right eye then left."""
LIP_PAIRS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318), (0, 17), (61, 291))
"""Pairs of upper and lower lip landmarks; then the height and the width of the mouth."""
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148),
    *(176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The outline of the face, whose landmarks slide along the skin as the head rotates."""


JAW_BOUNDS, JAW_BEYOND = (0.0, 0.5), 0.02
"""Bounds of the jaw's opening angle, radians, and the deviation of the excess."""
JAW_UNIT = 0.4
"""Radians of the jaw that equal one unit of expression in the smoothness term."""
SMOOTHNESS_HUBER = 6.0
"""Huber threshold of the smoothness term, in deviations."""
BLINK_SCALE, BLINK_PACE = 2.0, 3.0
"""Deviations of a blink's size and of its change of velocity over those of other actions: lids shut in two frames."""


@dataclass(frozen=True)
class EnergyWeights:
    """Standard deviations and weights of the tracking energy. Image lengths are shares of the eye distance."""

    landmark: float = 0.02
    """Deviation of a landmark."""
    evidence: float = 20.0
    """Number of independent measurements that the 478 landmarks of a frame stand for."""
    huber: float = 3.0
    """Huber threshold of a landmark, in deviations."""
    opening: float = 0.012
    """Deviation of the vector between upper and lower lid, or lip."""
    lids: float = 0.25
    """Weight of the lids' openings, beside the landmarks'."""
    lips: float = 0.25
    """Weight of the lips' openings, beside the landmarks'."""
    shape: float = 1.0
    """Weight of the squared identity coefficients (unit variance)."""
    offset: float = 0.3
    """Weight of the squared latents of the static offset."""
    bias: float = 0.3
    """Weight of the squared latents of the bias: what the detector displaces on this person, no part of the head."""
    orbit: float = 0.0006
    """Deviation in depth, metres, between the static offsets of lids and eyeball, so that lids do not sink into it."""
    expression: float = 0.6
    """Deviation of an expression coefficient."""
    sparsity: float = 0.4
    """Weight of the absolute values of the expression coefficients."""
    bounds: float = 0.05
    """Deviation of the part of an ARKit coefficient below 0 or above 1."""
    duplicate: float = 0.12
    """Deviation of actions that repeat the jaw joint (jawOpen) or undo it (mouthClose)."""
    pairs: float = 0.35
    """Deviation of the difference between an action's left and right side."""
    jaw_open: float = 0.25
    """Deviation of the jaw's opening angle, radians."""
    jaw_other: float = 0.03
    """Deviation of the jaw's other two angles, radians."""
    gaze: float = 1.0
    """Deviation of an eye's angles, radians."""
    vergence: float = 0.05
    """Deviation of the difference between the two eyes, radians."""
    smooth_pose: float = 0.015
    """Deviation of the change of velocity per frame at 25 fps: radians, and shares of the eye distance."""
    smooth_expression: float = 0.12
    """Deviation of the change of velocity per frame at 25 fps of expression, jaw (x 0.4) and eyes."""


def landmark_weights() -> Tensor:
    """Weight `[478]` of each landmark: higher for lips, lids and irises, lower for the sliding outline."""
    weights = torch.ones(478)
    weights[list(FACE_OVAL)] = 0.3
    weights[list(OUTER_LIPS)] = 2.0
    weights[list(INNER_LIPS)] = 3.0
    weights[[*RIGHT_EYE, *LEFT_EYE]] = 3.0
    weights[[*RIGHT_IRIS, *LEFT_IRIS]] = 3.0
    return weights


def huber(squared: Tensor, threshold: float) -> Tensor:
    """Huber loss of squared distances in deviations: t^2 up to the threshold, then linear."""
    distance = (squared + 1e-12).sqrt()
    return torch.where(distance <= threshold, squared, threshold * (2 * distance - threshold))


def landmark_term(residual: Tensor, weights: Tensor, w: EnergyWeights) -> Tensor:
    """Weighted mean of the robust distance; `residual` `[N, 478, 2]` in eye distances, `weights` `[N, 478]`."""
    cost = huber((residual / w.landmark).square().sum(-1), w.huber)
    return w.evidence * (weights * cost).sum() / (weights.sum() + 1e-9)


def opening_term(residual: Tensor, free: Tensor, w: EnergyWeights) -> Tensor:
    """Robust mean of the residuals' differences within lid and lip pairs, which depend on the opening only.

    `residual` `[N, 478, 2]` in eye distances; `free` `[N, 478]` is 0 where a landmark is missing or hidden.
    """
    upper, lower = torch.tensor((*LID_PAIRS, *LIP_PAIRS), device=residual.device).T
    difference = (residual[:, upper] - residual[:, lower]) / w.opening
    cost = huber(difference.square().sum(-1), w.huber)
    both = free[:, upper] * free[:, lower]
    weights = torch.tensor([w.lids] * len(LID_PAIRS) + [w.lips] * len(LIP_PAIRS), device=residual.device)
    return w.evidence * (weights * both * cost).sum() / (both.sum() + 1e-9)


@dataclass(frozen=True)
class ExpressionPrior:
    """Prior of a head's expression coefficients."""

    bounded: bool
    """Named actions live in [0, 1]; principal components have no sign."""
    duplicates: tuple[int, ...]
    """Indices of actions that repeat or undo the jaw joint."""
    left: tuple[int, ...]
    """Indices of left-side actions."""
    right: tuple[int, ...]
    """Indices of their right-side counterparts."""
    scale: Tensor
    """`[E]` factor on the deviation of each coefficient."""
    pace: Tensor
    """`[E]` factor on the deviation of its change of velocity."""

    @staticmethod
    def of(asset: HeadAsset) -> ExpressionPrior:
        """The prior of a head, from the names of its expressions."""
        names = asset.expression_names
        bounded = not names[0].startswith("expression_")
        left = [i for i, name in enumerate(names) if name.endswith("Left") and f"{name[:-4]}Right" in names]
        right = [names.index(f"{names[i][:-4]}Right") for i in left]
        lateral = ("mouth", "jaw", "eyeLookIn", "eyeLookOut")  # their sides are opposites, not mirrors
        keep = [k for k, i in enumerate(left) if names[i][:-4] not in lateral]
        scale, pace = torch.ones(2, len(names))
        for i, name in enumerate(names):
            if name == "tongueOut":
                scale[i] = 0.05
            elif name in ("cheekPuff", "jawForward", "jawLeft", "jawRight"):
                scale[i] = 0.4
            elif name.startswith("eyeBlink"):
                scale[i], pace[i] = BLINK_SCALE, BLINK_PACE
        duplicates = tuple(i for i, name in enumerate(names) if name in ("jawOpen", "mouthClose"))
        return ExpressionPrior(
            bounded, duplicates, tuple(left[k] for k in keep), tuple(right[k] for k in keep), scale, pace
        )

    def energy(self, expr: Tensor, w: EnergyWeights) -> Tensor:
        """Mean over frames of the prior's squares; `expr` `[N, E]`."""
        scaled = expr / self.scale
        total = (scaled / w.expression).square().sum(-1).mean()
        if not self.bounded:
            return total
        beyond = torch.relu(-expr) + torch.relu(expr - 1)
        total = total + (beyond / w.bounds).square().sum(-1).mean() + w.sparsity * scaled.abs().sum(-1).mean()
        if self.duplicates:
            total = total + (expr[:, list(self.duplicates)] / w.duplicate).square().sum(-1).mean()
        if self.left:
            gap = expr[:, list(self.left)] - expr[:, list(self.right)]
            total = total + (gap / w.pairs).square().sum(-1).mean()
        return total


def pose_prior(jaw: Tensor, eyes: Tensor, w: EnergyWeights) -> Tensor:
    """Prior of the jaw `[N, 3]` (opens about x, 0 to 0.5 rad) and the eyes `[N, 6]` (nearly parallel); radians."""
    opening = jaw[:, 0]
    beyond = torch.relu(JAW_BOUNDS[0] - opening) + torch.relu(opening - JAW_BOUNDS[1])
    total = (
        (opening / w.jaw_open).square() + (beyond / JAW_BEYOND).square() + (jaw[:, 1:] / w.jaw_other).square().sum(-1)
    )
    total = total + (eyes / w.gaze).square().sum(-1)
    total = total + ((eyes[:, :3] - eyes[:, 3:]) / w.vergence).square().sum(-1)
    return total.mean()


def acceleration(values: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Second differences of `[N, C]` sampled at `times` `[N]`, in change of value per 1/25 s step, and their weights.

    Long steps constrain the motion between them little: the weight falls with the square of the step.
    """
    if len(values) < 3:
        return values.new_zeros(0, values.shape[1]), values.new_zeros(0)
    steps = (times[1:] - times[:-1]).clamp(min=1e-3) * 25
    velocity = (values[1:] - values[:-1]) / steps[:, None]
    mean = (steps[1:] + steps[:-1]) / 2
    return (velocity[1:] - velocity[:-1]) / mean[:, None].clamp(min=1), 1 / mean.clamp(min=1) ** 2


def smoothness(values: Tensor, times: Tensor, deviation: float) -> Tensor:
    """Mean over frames of the squared accelerations in deviations."""
    second, weight = acceleration(values, times)
    if len(second) == 0:
        return values.new_zeros(())
    return (weight * huber((second / deviation).square().sum(-1), SMOOTHNESS_HUBER)).mean()
