"""Posing and unposing: as the head model poses, and back."""

from __future__ import annotations

import pytest
import torch

from avatar.flame.model import HeadModel, HeadParameters
from capture_tools.model_learning.posing import (
    PARTS,
    POSE_SIZE,
    blended,
    features_of,
    joint_influence,
    pose_slopes,
    posed,
    transforms_of,
    unposed,
)
from capture_tools.model_learning.state import PoseSpace


@pytest.fixture
def poses():
    return 0.2 * torch.randn(3, POSE_SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(scope="module")
def rest(head):
    generator = torch.Generator().manual_seed(2)
    template = torch.as_tensor(head.template, dtype=torch.float64)
    return template + 0.002 * torch.randn(3, *template.shape, generator=generator, dtype=torch.float64)


def test_it_poses_as_the_head_model_does(head, poses):
    params = HeadParameters.neutral(head, 3)
    for name, values in zip(PARTS, poses.float().split([*PARTS.values()], 1), strict=True):
        setattr(params, name, values)
    with torch.no_grad():
        expected = HeadModel(head)(params).vertices.double()
    space = PoseSpace.of(head)
    template = torch.as_tensor(head.template, dtype=torch.float64).expand(3, -1, -1)
    maps = blended(transforms_of(poses, space.regressor @ template), space.weights)
    bent = template + torch.tensordot(features_of(poses), space.correctives, 1)
    assert (posed(bent, maps) - expected).abs().max() < 2e-6


def test_unposing_takes_posing_back(head, poses, rest):
    space = PoseSpace.of(head)
    maps = blended(transforms_of(poses, space.regressor @ rest), space.weights)
    assert (unposed(posed(rest, maps), maps) - rest).abs().max() < 1e-12


def test_maps_follow_the_joints_as_told(head, poses):
    joints = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    told = torch.einsum("nkmab,nmb->nka", joint_influence(poses), joints) + poses[:, None, 3:6]
    assert torch.allclose(transforms_of(poses, joints)[..., 3], told, atol=1e-12)


def test_slopes_predict_small_changes(head, poses, rest):
    space = PoseSpace.of(head)
    at = torch.arange(0, head.vertex_count, 50)
    joints, weights, correctives = space.regressor @ rest, space.weights[at], space.correctives[:, at]
    slopes = pose_slopes(poses, joints, weights, rest[:, at], correctives)

    def vertices(p):
        bent = rest[:, at] + torch.tensordot(features_of(p), correctives, 1)
        return posed(bent, blended(transforms_of(p, joints), weights))

    change = 1e-5 * torch.randn(3, POSE_SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    off = vertices(poses + change) - vertices(poses) - torch.einsum("nvap,np->nva", slopes, change)
    assert off.abs().max() < 1e-3 * (slopes.abs().max() * change.abs().max())
