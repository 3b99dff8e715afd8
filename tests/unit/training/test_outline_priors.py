"""What the outlines of the masks tell of hair and shoulders, on masks painted with known ones."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_clip import shrink
from torch import Tensor

from avatar.config import load_preset
from avatar.data.capture import read_capture
from avatar.field.body import Body
from avatar.field.bounds import CARVED_MARGIN, FrameViews, initial_cells, near_surface, reference_pose
from avatar.field.torso import TorsoMotion
from avatar.field.warp import neck_blend
from avatar.flame.library import load_head
from avatar.flame.rasterize import rasterize
from avatar.flame.torso import load_torso
from avatar.geometry.cameras import image_rays, turn_camera
from avatar.geometry.meshes import vertex_normals
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.kernels.mesh.op import MeshQuery
from avatar.training.hair_height import HIGHEST, hair_heights
from avatar.training.prepare import TrainingData, hull_views, load_training_data
from avatar.training.torso_shape import CLOTHES, NEAR_HEAD, OFF_TORSO, fit_torso, off_torso

FADE = 0.06
"""Metres over which the head's motion fades along the neck."""
HAIR = 0.018
"""Metres of hair on the painted heads."""


@pytest.fixture(scope="module")
def training(nodding_capture) -> TrainingData:
    """Each test paints the masks that it reads."""
    config = shrink(load_preset("cpu"))
    return load_training_data(read_capture(nodding_capture), load_head(), config, torch.device("cpu"))


def paint_masks(training: TrainingData, outline) -> None:
    """Masks of what `outline(frame, camera)` `[H, W]` says."""
    for i, camera in enumerate(training.frames.cameras):
        training.frames.masks[i] = 255 * outline(i, camera).to(torch.uint8)


def paint_raised(training: TrainingData, height: Tensor) -> None:
    """Masks of heads whose vertices are raised along their normals by `height` `[V]` metres."""
    identity = training.identity

    def outline(i: int, camera) -> Tensor:
        vertices = identity.head(identity.params.frame(i)).vertices[0]
        normals = vertex_normals(vertices, identity.query.faces)
        return rasterize(identity.query, vertices + height[:, None] * normals, camera).face >= 0

    paint_masks(training, outline)


def still_torso(training: TrainingData) -> tuple[TorsoMotion, Tensor]:
    """A torso that does not move, and the pose of reference."""
    reference = reference_pose(training.data.world_from_skull)
    blend = neck_blend(training.identity.asset, training.identity.neutral(), FADE)
    return TorsoMotion(reference, blend), reference


def test_the_height_of_hair_is_found_and_continued(training: TrainingData) -> None:
    identity = training.identity
    scalp = torch.as_tensor(identity.asset.region("scalp"))
    paint_raised(training, HAIR * scalp)
    heights = hair_heights(identity, training.frames)
    neck, ears = (torch.as_tensor(identity.asset.region(name)) for name in ("neck", "ears"))
    assert (heights[~scalp & ~neck & ~ears] == 0).all()
    bare = heights[neck & ~scalp]
    assert float(bare[bare > 0].median()) < 0.006, "but for where the jaw is close"
    assert float((heights[scalp] - HAIR).abs().median()) < 0.0025
    measured = scalp & (heights < HIGHEST)
    assert float(heights[measured].max()) < HAIR + 0.03
    assert 0.6 < float(measured.sum() / scalp.sum()) < 1, "what is shown, and never in outline, has no limit"


def test_the_back_is_as_high_as_the_sides_at_its_level(training: TrainingData) -> None:
    """Hair that grows from 4 mm at the ears to 30 mm on the crown, of which no frame shows the back."""
    identity = training.identity
    scalp = torch.as_tensor(identity.asset.region("scalp"))
    neutral = identity.neutral()
    level = neutral[:, 1]
    low, high = level[scalp].amin(), level[scalp].amax()
    true = 0.004 + 0.026 * ((level - low) / (high - low)).clamp(0, 1)
    paint_raised(training, true * scalp)
    heights = hair_heights(identity, training.frames)
    back = scalp & (vertex_normals(neutral, identity.query.faces)[:, 2] < -0.6)
    wrong = (heights - true)[back]
    assert float(wrong.median().abs()) < 0.003
    assert float(wrong.abs().quantile(0.9)) < 0.008


def test_bald_heads_have_no_hair(training: TrainingData) -> None:
    paint_masks(training, lambda i, _: training.silhouettes[i])
    heights = hair_heights(training.identity, training.frames)
    scalp = torch.as_tensor(training.identity.asset.region("scalp")) & (heights < HIGHEST)
    assert float(heights[scalp].median()) < 0.003


def test_the_scalp_beside_an_ear_is_no_outline(training: TrainingData) -> None:
    """Ears stand off bald heads by centimetres, and are no hair there."""
    paint_masks(training, lambda i, _: training.silhouettes[i])
    identity = training.identity
    heights, neutral = hair_heights(identity, training.frames), identity.neutral()
    scalp, ears = (torch.as_tensor(identity.asset.region(name)) for name in ("scalp", "ears"))
    beside = scalp & ~ears & (torch.cdist(neutral, neutral[ears]).amin(1) < 0.02) & (heights < HIGHEST)
    assert int(beside.sum()) > 50
    assert float(heights[beside].quantile(0.9)) < 0.004


@pytest.mark.parametrize(("height", "low", "high"), [(0.0, 0.0005, 0.004), (0.006, 0.004, 0.011), (0.025, 0.0, 0.0)])
def test_bare_ears_are_told_from_covered_ones(training: TrainingData, height, low, high) -> None:
    """Ears as the model's, larger than these, and under hair."""
    identity = training.identity
    scalp, ears = (torch.as_tensor(identity.asset.region(name)) for name in ("scalp", "ears"))
    paint_raised(training, height * ears)
    found = hair_heights(identity, training.frames)[ears & ~scalp]
    for side in (identity.neutral()[ears & ~scalp, 0] > 0, identity.neutral()[ears & ~scalp, 0] < 0):
        assert low <= float(found[side].min()) <= float(found[side].max()) <= high


@pytest.mark.parametrize(("collar", "found"), [(0.012, 0.012), (0.05, 0.0)])
def test_a_collar_is_as_thick_all_around_and_shoulders_are_none(training: TrainingData, collar, found) -> None:
    identity = training.identity
    neck = torch.as_tensor(identity.asset.region("neck")) & ~torch.as_tensor(identity.asset.region("scalp"))
    paint_raised(training, collar * neck)
    neutral, heights = identity.neutral(), hair_heights(identity, training.frames)
    level = neutral[neck, 1]
    middle = neck & (neutral[:, 1] > torch.quantile(level, 0.3)) & (neutral[:, 1] < torch.quantile(level, 0.7))
    back = middle & (neutral[:, 2] < neutral[neck, 2].mean())
    assert float(heights[back].median()) == pytest.approx(found, abs=0.005)
    front = neck & (neutral[:, 2] > torch.quantile(neutral[neck, 2], 0.9))
    assert float(heights[front].max()) < 0.02, "what frames show is left to them"


def test_a_torso_of_known_width_is_found(training: TrainingData) -> None:
    """Masks of the mesh, a fifth narrower and two centimetres aside; then of a wall beside the head, which no torso
    fits."""
    torso, reference = still_torso(training)
    vertices, faces = (torch.as_tensor(part) for part in load_torso())
    ahead = reference[:3, 2]
    turn = axis_angle_to_matrix(torch.tensor([0.0, math.atan2(float(ahead[0]), float(ahead[2])), 0.0]))
    rest = (vertices - torch.tensor([0.0, torso.blend.bottom, 0.0])) * torch.tensor([0.8, 1.0, 0.8])
    known = rest @ turn.T + torso.pivot + torch.tensor([0.02, 0.0, 0.0])
    query = MeshQuery(faces)
    paint_masks(training, lambda i, camera: (rasterize(query, known, camera).face >= 0) | training.silhouettes[i])
    found = fit_torso(torso, reference, hull_views(training))
    assert found is not None
    low, high = 0.5 * (known.amin(0) + known.amax(0)), 0.5 * (found[0].amin(0) + found[0].amax(0))
    assert float((low - high).abs()[:2].max()) < 0.015
    assert float(found[0][:, 0].amax() - found[0][:, 0].amin()) == pytest.approx(
        float(known[:, 0].amax() - known[:, 0].amin()), rel=0.08
    )
    columns = torch.arange(training.camera.width)
    paint_masks(training, lambda i, _: training.silhouettes[i] | (columns < columns[len(columns) // 3]))
    assert fit_torso(torso, reference, hull_views(training)) is None


def test_space_off_the_torso_is_empty_but_for_clothes_and_hair() -> None:
    asset = load_head()
    head = MeshQuery(torch.as_tensor(asset.faces)).update(torch.as_tensor(asset.template))
    vertices, faces = (torch.as_tensor(part) for part in load_torso())
    points, weight = off_torso(vertices, faces, head, 0)
    assert len(points) > 10_000
    distance = MeshQuery(faces).update(vertices).closest_points(points, 1.0).distance
    assert float(distance.min()) > CLOTHES
    assert float(distance.max()) <= OFF_TORSO + 1e-5
    assert float(head.closest_points(points, 1.0).distance.min()) >= NEAR_HEAD
    assert float(weight[distance > CLOTHES + 0.011].min()) == 1
    assert 0 < float(weight[distance < CLOTHES + 0.005].mean()) < 0.5
    inside = (vertices.amin(0) + vertices.amax(0)) / 2
    assert float((points - inside).norm(dim=1).min()) > 0.05


def test_depth_is_that_of_the_expected_body(training: TrainingData) -> None:
    """A slab of cells beside the head is cut to the body where it covers the pixel, and left alone elsewhere."""
    torso, reference = still_torso(training)
    vertices, faces = (torch.as_tensor(part) for part in load_torso())
    vertices = vertices - torch.tensor([0.0, torso.blend.bottom, 0.0]) + torso.pivot
    body = Body(vertices, faces, torch.full((len(vertices),), 0.02))
    everything = torch.full_like(training.frames.masks, 255)
    views = FrameViews(training.data.world_from_skull, training.frames.cameras, everything, training.silhouettes)
    axes = [torch.linspace(low, high, 24) for low, high in ((-0.25, 0.25), (-0.3, 0.2), (-0.2, 0.15))]
    centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    head = training.identity.neutral() @ reference[:3, :3].T + reference[:3, 3]
    arguments = (centres, [head], training.identity.query.faces, views, reference, torso.blend)
    whole, cut = initial_cells(*arguments), initial_cells(*arguments, body)
    assert not (cut & ~whole).any()
    expected = body.expects(centres.reshape(-1, 3)).view(cut.shape)
    assert (cut | ~expected)[whole].all(), "nothing that the body holds is lost"
    gone = whole & ~cut
    assert 0.02 < float(gone.sum() / whole.sum()) < 0.9
    high = centres[..., 1] > 0.12  # above the shoulders: the body covers no pixel there
    assert (cut == whole)[high].all()


def test_a_moving_camera_carves_what_its_masks_leave_empty(training: TrainingData) -> None:
    """Masks of a ball beside the head, from cameras all around: a slab of all depths becomes the ball."""
    camera, count = training.camera, len(training.frames)
    asset, still = training.identity.asset, torch.eye(4)
    middle = torch.tensor([0.12, -0.12, -0.02])
    cameras = [turn_camera(camera, middle.double().numpy(), 2.5 * i / count - 1.25, 0.0) for i in range(count)]
    masks = torch.zeros_like(training.frames.masks)
    for i, each in enumerate(cameras):
        origins, directions = image_rays(each)
        away = torch.linalg.cross(middle - origins, directions).norm(dim=-1)
        masks[i] = 255 * (away < 0.05).to(torch.uint8)
    views = FrameViews(still.expand(count, 4, 4), cameras, masks, torch.zeros_like(training.silhouettes))
    axes = [torch.linspace(low, high, 24) for low, high in ((-0.25, 0.25), (-0.3, 0.2), (-0.2, 0.15))]
    centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    arguments = (centres, [torch.as_tensor(asset.template)], training.identity.query.faces, views, still, None)
    whole, carved = initial_cells(*arguments), initial_cells(*arguments, carve=True)
    near = near_surface(centres.reshape(-1, 3), training.identity.query.faces, torch.as_tensor(asset.template))
    distance = (centres - middle).norm(dim=-1)
    beside = ~near.view(carved.shape)
    assert carved[whole & (distance < 0.05)].all(), "what all masks hold stays"
    assert float(distance[carved & beside].max()) < 0.05 + 2 * CARVED_MARGIN
    assert float(distance[whole & beside].max()) > 0.1, "a slab of all depths without carving"
