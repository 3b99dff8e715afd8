"""The rigid warp and the surface's motion on the shipped head."""

import math

import pytest
import torch

from avatar.config import FieldConfig, WarpConfig
from avatar.field.identity import Identity
from avatar.field.warp import NeckBlend, RigidMotion, apply_rigid, rigid_inverse
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.kernels.march.reference import interpolate_grids
from avatar.kernels.march.types import MarchMotion
from avatar.kernels.mesh.reference import fade_with_distance
from avatar.kernels.warp.op import to_canonical

BLEND = NeckBlend(top=-0.10, bottom=-0.20)


def rigid(rotation, translation):
    transform = torch.eye(4)
    transform[:3, :3] = axis_angle_to_matrix(torch.tensor(rotation))
    transform[:3, 3] = torch.tensor(translation)
    return transform


REFERENCE = rigid([0.1, -0.2, 0.05], [0.01, 0.03, -0.02])
POSE = rigid([-0.2, 0.4, 0.1], [0.05, -0.02, 0.04])


def undo_rigid(motion, points):
    """World points of frame 0 carried to the reference pose."""
    index = torch.arange(len(points))
    return to_canonical(
        points,
        torch.zeros_like(points),
        torch.zeros_like(index),
        index,
        torch.zeros(len(points)),
        canonical_from_world=motion.canonical_from_world,
        height=motion.height,
        neck=(BLEND.top, BLEND.bottom),
    )[0]


def test_rigid_inverse_is_the_matrix_inverse():
    torch.testing.assert_close(rigid_inverse(POSE), torch.linalg.inv(POSE))


def test_share_is_one_above_the_neck_zero_below_and_half_between():
    shares = BLEND.share(torch.tensor([0.1, -0.10, -0.15, -0.20, -0.5]))
    torch.testing.assert_close(shares, torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]))


def test_the_reference_pose_stays_where_it_is():
    points = torch.randn(200, 3) * 0.2
    motion = RigidMotion.of(REFERENCE[None], REFERENCE)
    warped = undo_rigid(motion, points)
    assert (warped - points).abs().max() < 1e-6


def test_head_points_follow_the_pose_and_the_torso_does_not():
    skull = torch.tensor([[0.0, 0.05, 0.1], [0.05, -0.05, 0.0]])
    world = skull @ POSE[:3, :3].T + POSE[:3, 3]
    motion = RigidMotion.of(POSE[None], REFERENCE)
    expected = skull @ REFERENCE[:3, :3].T + REFERENCE[:3, 3]
    torch.testing.assert_close(undo_rigid(motion, world), expected, atol=1e-6, rtol=0)
    torso = torch.tensor([[0.0, -0.45, 0.0], [0.1, -0.6, 0.05]])
    torch.testing.assert_close(undo_rigid(motion, torso), torso)


def test_applying_undoes_undoing_on_head_and_torso():
    canonical = torch.tensor([[0.0, 0.05, 0.1], [0.03, 0.0, 0.02], [0.0, -0.5, 0.0]])
    world = apply_rigid(POSE[None], REFERENCE, BLEND, canonical)[0]
    motion = RigidMotion.of(POSE[None], REFERENCE)
    back = undo_rigid(motion, world)
    torch.testing.assert_close(back, canonical, atol=1e-6, rtol=0)


def test_fade_is_exponential_near_and_zero_from_the_reach_on():
    distance = torch.tensor([0.0, 0.02, 0.055, 0.2])
    values = fade_with_distance(distance, 0.04, 0.055)
    torch.testing.assert_close(values, torch.tensor([1.0, math.exp(-0.5), 0.0, 0.0]))
    fine = fade_with_distance(torch.linspace(0, 0.06, 500), 0.04, 0.055)
    assert (fine.diff() <= 0).all()
    assert fine.diff().abs().max() < 0.01


@pytest.fixture(scope="module")
def identity():
    asset = load_head()
    params = HeadParameters.neutral(asset, 2)
    params.shape[:10] = torch.linspace(-1, 1, 10)
    return Identity.make(asset, params, FieldConfig(warp=WarpConfig()), torch.device("cpu"))


def displaced(identity, params, points):
    grids = identity.grids.build(params)
    layout = identity.grids.layout
    motion = MarchMotion(None, None, grids, layout.origin, layout.cell, layout.counts, layout.offsets)
    return interpolate_grids(motion, torch.zeros(len(points), dtype=torch.int64), points)


def test_a_neutral_expression_moves_nothing(identity):
    assert identity.grids.build(identity.params.frame(0)).abs().max() == 0


def test_posed_vertices_go_back_to_their_neutral_places(identity):
    params = HeadParameters.neutral(identity.asset)
    params.jaw[:, 0] = 0.25
    params.expr[0, :8] = 0.4
    params = identity.with_identity(params)
    posed = identity.head(params).vertices[0]
    moved = (posed - identity.neutral()).norm(dim=-1)
    left = (posed - displaced(identity, params, posed) - identity.neutral()).norm(dim=-1)
    face = torch.as_tensor(identity.asset.region("face"))
    lips = torch.as_tensor(identity.asset.region("lips"))
    assert moved[lips].mean() > 0.004
    assert left[lips].mean() < 0.0006
    assert left[face].mean() < 0.15 * moved[face].mean()


def test_an_open_jaw_leaves_far_points_and_the_crown_alone(identity):
    params = HeadParameters.neutral(identity.asset)
    params.jaw[:, 0] = 0.3
    neutral = identity.neutral()
    crown = neutral[neutral[:, 1] > neutral[:, 1].max() - 0.04]
    far = torch.stack(
        [neutral[:, 0], neutral[:, 1], torch.full_like(neutral[:, 2], float(neutral[:, 2].max()) + 0.08)], -1
    )
    below = torch.tensor([[0.0, float(neutral[:, 1].min()) - 0.08, 0.05]])
    for points in (crown, far, below):
        assert displaced(identity, params, points).abs().max() < 2e-4
