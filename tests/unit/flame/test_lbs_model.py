"""FLAME against independent arithmetic: a hand-made chain, finite differences, and small identities."""

import numpy as np
import pytest
import torch

from avatar.base.errors import HeadModelError
from avatar.flame.assets import make_head
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices


@pytest.fixture
def asset():
    return random_head(np.random.default_rng(0))


def random_head(rng, vertices=40, shape=6, expression=5):
    template = rng.normal(0, 0.1, (vertices, 3))
    weights = rng.random((vertices, 5))
    regressor = rng.random((5, vertices)) ** 8
    return make_head(
        "random",
        {
            "template": template,
            "faces": rng.integers(0, vertices, (60, 3)),
            "shapedirs": rng.normal(0, 0.01, (vertices, 3, shape)),
            "exprdirs": rng.normal(0, 0.01, (vertices, 3, expression)),
            "posedirs": rng.normal(0, 0.01, (vertices, 3, 36)),
            "joint_regressor": regressor / regressor.sum(1, keepdims=True),
            "weights": weights / weights.sum(1, keepdims=True),
            "mediapipe_faces": rng.integers(0, 60, 478),
            "mediapipe_barycentrics": rng.dirichlet([1, 1, 1], 478),
            "ibug_faces": rng.integers(0, 60, 68),
            "ibug_barycentrics": rng.dirichlet([1, 1, 1], 68),
        },
    )


def random_parameters(asset, count, rng, scale=0.5):
    def draw(*shape):
        return torch.tensor(rng.normal(0, scale, shape), dtype=torch.float32)

    return HeadParameters(
        shape=draw(asset.shape_count),
        expr=draw(count, asset.expression_count),
        rotation=draw(count, 3),
        translation=draw(count, 3),
        neck=draw(count, 3),
        jaw=draw(count, 3),
        eyes=draw(count, 6),
    )


def test_skinning_matches_a_chain_computed_by_hand(asset):
    """Each vertex is moved by composed 4x4 matrices, joint by joint, in float64."""
    rng = np.random.default_rng(2)
    p = random_parameters(asset, 3, rng)
    pose = HeadModel(asset)(p)
    for i in range(3):
        shaped = asset.template + asset.shapedirs @ p.shape.numpy() + asset.exprdirs @ p.expr[i].numpy()
        joints = asset.joint_regressor @ shaped
        vectors = [p.rotation[i], p.neck[i], p.jaw[i], p.eyes[i, :3], p.eyes[i, 3:]]
        rotations = [_rotation(v.double().numpy()) for v in vectors]
        features = np.concatenate([(r - np.eye(3)).ravel() for r in rotations[1:]])
        rest = shaped + asset.posedirs @ features
        world = []
        for j, parent in enumerate((-1, 0, 1, 1, 1)):
            local = np.eye(4)
            local[:3, :3], local[:3, 3] = rotations[j], joints[j] - (joints[parent] if parent >= 0 else 0)
            world.append(local if parent < 0 else world[parent] @ local)
        moved = []
        for v in range(asset.vertex_count):
            matrix = sum(asset.weights[v, j] * world[j] @ _shift(-joints[j]) for j in range(5))
            moved.append((matrix @ [*rest[v], 1])[:3] + p.translation[i].numpy())
        assert np.abs(np.array(moved) - pose.vertices[i].numpy()).max() < 1e-6
        expected_joints = np.stack([w[:3, 3] for w in world]) + p.translation[i].numpy()
        assert np.abs(expected_joints - pose.joints[i].numpy()).max() < 1e-6


def _rotation(vector):
    angle = np.linalg.norm(vector)
    axis = vector / angle
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def _shift(offset):
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def test_gradients_reach_every_parameter(asset):
    rng = np.random.default_rng(3)
    model = HeadModel(asset).double()
    p = random_parameters(asset, 2, rng).to(torch.float64)
    p.static_offset = torch.tensor(rng.normal(0, 0.01, (asset.vertex_count, 3)))
    names = ["shape", "expr", "rotation", "translation", "neck", "jaw", "eyes", "static_offset"]
    values = [getattr(p, name).requires_grad_() for name in names]
    goal = torch.tensor(rng.normal(0, 1, (2, asset.vertex_count, 3)))

    def loss(*tensors):
        return (model(HeadParameters(**dict(zip(names, tensors, strict=True)))).vertices * goal).sum()

    assert torch.autograd.gradcheck(loss, values, eps=1e-6, atol=1e-6)


def test_static_offset_is_a_change_of_the_template(asset):
    rng = np.random.default_rng(4)
    offset = rng.normal(0, 0.01, asset.template.shape).astype(np.float32)
    arrays = {
        k: getattr(asset, k) for k in ("faces", "shapedirs", "exprdirs", "posedirs", "joint_regressor", "weights")
    }
    changed = make_head("changed", arrays | {"template": asset.template + offset})
    p = random_parameters(asset, 2, rng)
    expected = HeadModel(changed)(p).vertices
    p.static_offset = torch.tensor(offset)
    assert torch.allclose(HeadModel(asset)(p).vertices, expected, atol=1e-6)


def test_subset_gives_the_same_vertices_joints_and_landmarks(asset):
    rng = np.random.default_rng(5)
    p = random_parameters(asset, 2, rng)
    p.static_offset = torch.tensor(rng.normal(0, 0.01, (asset.vertex_count, 3)), dtype=torch.float32)
    subset = landmark_vertices(asset)
    whole, part = HeadModel(asset), HeadModel(asset, subset)
    a, b = whole(p), part(p)
    assert torch.allclose(a.vertices[:, subset], b.vertices, atol=1e-7)
    assert torch.allclose(a.joints, b.joints, atol=1e-7)
    assert torch.allclose(whole.landmarks(a.vertices), part.landmarks(b.vertices), atol=1e-7)
    assert torch.allclose(whole.ibug68(a.vertices), part.ibug68(b.vertices), atol=1e-7)


def test_rigid_transforms_carry_points_bound_to_root_and_skull(asset):
    p = random_parameters(asset, 2, np.random.default_rng(6))
    p.expr.zero_()
    pose = HeadModel(asset)(p)
    rest = HeadParameters.neutral(asset, 2)
    rest.shape = p.shape
    joints = HeadModel(asset)(rest).joints
    for transform, joint in ((pose.world_from_head, 0), (pose.world_from_skull, 1), (pose.world_from_skull, 3)):
        carried = (transform[:, :3, :3] @ joints[:, joint, :, None])[..., 0] + transform[:, :3, 3]
        assert torch.allclose(carried, pose.joints[:, joint], atol=1e-6)


def test_parameters_of_another_model_are_refused(asset):
    other = random_head(np.random.default_rng(7), shape=4)
    with pytest.raises(HeadModelError, match="do not fit"):
        HeadModel(asset)(HeadParameters.neutral(other))


def test_select_keeps_what_is_shared(asset):
    p = random_parameters(asset, 5, np.random.default_rng(8))
    part = p.select(torch.tensor([3, 1]))
    assert len(part) == 2
    assert part.shape is p.shape
    assert torch.equal(part.jaw, p.jaw[[3, 1]])
    assert len(p.frame(-1)) == 1
    joined = HeadParameters.concatenate([p.select([0, 1]), p.select([2, 3, 4])])
    assert torch.equal(joined.eyes, p.eyes)


def test_a_model_without_landmarks_says_so(asset):
    arrays = {
        k: getattr(asset, k) for k in ("template", "faces", "shapedirs", "exprdirs", "posedirs", "joint_regressor")
    }
    model = HeadModel(make_head("bare", arrays | {"weights": asset.weights}))
    with pytest.raises(HeadModelError, match="no landmark embedding"):
        model.landmarks(model.template[None])
