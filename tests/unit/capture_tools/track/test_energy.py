"""The energy's terms: zero where they should be, growing where they should, blind to what they should not see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatar.flame.library import load_head
from capture_tools.track.energy import (
    FACE_OVAL,
    LID_PAIRS,
    LIP_PAIRS,
    EnergyWeights,
    ExpressionPrior,
    acceleration,
    huber,
    landmark_term,
    opening_term,
    pose_prior,
    smoothness,
)

W = EnergyWeights()


def test_huber_is_square_then_linear() -> None:
    squared = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0, 100.0])
    values = huber(squared, 3.0)
    torch.testing.assert_close(values, torch.tensor([0.0, 1.0, 4.0, 9.0, 15.0, 51.0]), atol=1e-4, rtol=1e-5)


def test_frames_without_weight_do_not_count() -> None:
    residual = torch.full((3, 478, 2), 0.01)
    weights = torch.ones(3, 478)
    alone = landmark_term(residual, weights, W)
    residual[2], weights[2] = 5.0, 0.0
    torch.testing.assert_close(landmark_term(residual, weights, W), alone)
    expected = W.evidence * 2 * (0.01 / W.landmark) ** 2
    assert float(alone) == pytest.approx(expected, rel=1e-4)


def test_opening_sees_the_gap_and_not_the_place() -> None:
    free = torch.ones(2, 478)
    moved = torch.full((2, 478, 2), 0.3)
    assert float(opening_term(moved, free, W)) < 1e-6
    gap = torch.zeros(2, 478, 2)
    gap[:, 13, 1] = 0.05
    assert float(opening_term(gap, free, W)) > 0.5
    assert float(opening_term(gap, torch.zeros(2, 478), W)) == 0.0
    assert float(opening_term(gap, free, replace(W, lips=0.0))) == 0.0
    assert float(opening_term(gap, free, replace(W, lids=0.0))) == float(opening_term(gap, free, W))
    free[:, 13] = 0  # a hand before the upper lip
    assert float(opening_term(gap, free, W)) < 1e-6


def test_pairs_lie_over_each_other_on_the_head() -> None:
    """Upper above lower, within a centimetre sideways, on the open head's own template."""
    asset = load_head()
    points = (asset.template[asset.faces[asset.mediapipe_faces]] * asset.mediapipe_barycentrics[..., None]).sum(1)
    for upper, lower in (*LID_PAIRS, *LIP_PAIRS[:-1]):
        difference = points[upper] - points[lower]
        assert difference[1] > -5e-4, (upper, lower)
        assert abs(difference[0]) < 6e-3, (upper, lower)
    assert len(set(FACE_OVAL)) == 36
    centre = points.mean(0)
    inner = [i for i in range(468) if i not in FACE_OVAL]
    radius = lambda i: float(((points[i] - centre)[:2] ** 2).sum())  # noqa: E731
    assert min(radius(i) for i in FACE_OVAL) > sorted(radius(i) for i in inner)[len(inner) // 2]


def test_expression_prior_of_named_actions() -> None:
    asset = load_head()
    prior = ExpressionPrior.of(asset)
    names = asset.expression_names
    assert prior.bounded
    assert {names[i] for i in prior.duplicates} == {"jawOpen", "mouthClose"}
    assert all(names[a][:-4] == names[b][:-5] for a, b in zip(prior.left, prior.right, strict=True))
    assert "mouthLeft" not in {names[i] for i in prior.left}
    zero = torch.zeros(4, len(names))

    def energy(name: str, value: float) -> float:
        expr = zero.clone()
        expr[:, names.index(name)] = value
        return float(prior.energy(expr, W))

    assert float(prior.energy(zero, W)) == pytest.approx(0, abs=1e-6)
    assert energy("mouthFunnel", -0.3) > energy("mouthFunnel", 0.3) + 10
    assert energy("mouthFunnel", 1.3) > energy("mouthFunnel", 0.9) + 10
    assert energy("jawOpen", 0.3) > energy("mouthFunnel", 0.3) + 3
    both = zero.clone()
    both[:, [names.index("mouthSmileLeft"), names.index("mouthSmileRight")]] = 0.5
    one = zero.clone()
    one[:, names.index("mouthSmileLeft")] = 0.5
    assert float(prior.energy(both, W)) < 2 * float(prior.energy(one, W))


def test_jaw_opens_one_way_and_eyes_look_together() -> None:
    def energy(jaw: float = 0.0, left: float = 0.0, right: float = 0.0) -> float:
        j, e = torch.zeros(3, 3), torch.zeros(3, 6)
        j[:, 0], e[:, 1], e[:, 4] = jaw, left, right
        return float(pose_prior(j, e, W))

    assert energy() == 0
    assert energy(jaw=-0.1) > energy(jaw=0.1) + 5
    assert energy(left=0.2, right=0.2) < energy(left=0.2, right=-0.2)


def test_steady_motion_costs_nothing_and_gaps_count_less() -> None:
    times = torch.tensor([0.0, 0.04, 0.08, 0.12, 0.2, 0.24])
    line = torch.stack([3 * times, -times], 1)
    assert float(smoothness(line, times, 0.01)) < 1e-6
    second, weight = acceleration(torch.tensor([[0.0], [1.0], [0.0]]), torch.tensor([0.0, 0.04, 0.08]))
    assert float(second) == pytest.approx(-2.0)
    assert float(weight) == 1.0
    _, slow = acceleration(torch.tensor([[0.0], [1.0], [0.0]]), torch.tensor([0.0, 0.4, 0.8]))
    assert float(slow) == pytest.approx(0.01)
    assert float(smoothness(torch.zeros(2, 3), times[:2], 0.01)) == 0.0
