"""The photometric stage finds motion and light that noisy landmarks do not tell; truth is a synthetic scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import project
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.synthetic.clip import make_synthetic_scene
from avatar.synthetic.render import SyntheticScene, render_frames
from capture_tools.detect.selection import Crop
from capture_tools.report.texture import gather_albedo, texels
from capture_tools.track.clip_tracking import TrackSettings, track
from capture_tools.track.landmark_bias import with_bias
from capture_tools.track.offset_space import offset_space
from capture_tools.track.photometric import PhotometricTerm, Pictures, spread_points
from capture_tools.track.surface_points import SurfacePoints

SIZE, FRAMES, FPS = 160, 16, 5.0


@dataclass
class Scene:
    asset: HeadAsset
    scene: SyntheticScene
    params: HeadParameters
    pictures: Pictures
    landmarks: np.ndarray

    def relative(self) -> HeadParameters:
        """The truth seen by a camera at the world's origin, as the tracker sees it."""
        params = self.params.clone()
        params.translation[:, 2] -= float(self.scene.camera.position[2])
        return params

    def project(self, points: torch.Tensor) -> torch.Tensor:
        flat = torch.stack([points[..., 0], -points[..., 1]], -1) / -points[..., 2:]
        return self.scene.camera.fl_x * flat + SIZE / 2

    def term(self) -> PhotometricTerm:
        eyes = float(np.linalg.norm(self.landmarks[:, 33] - self.landmarks[:, 263], axis=-1).mean())
        term = PhotometricTerm(self.asset, offset_space(self.asset), self.pictures, eyes)
        term.choose_level(1)
        return term


@pytest.fixture(scope="module")
def scene() -> Scene:
    asset = with_bias(load_head(), np.zeros((478, 3)))  # the landmarks below lie on the skin itself
    made = make_synthetic_scene(seed=7, size=SIZE, frames=FRAMES, fps=FPS, asset=asset)
    frames = list(render_frames(made))
    images, masks = np.stack([f.image for f in frames]), np.stack([f.mask for f in frames])
    pictures = Pictures(images, masks, Crop(0, 0, SIZE, SIZE))
    return Scene(asset, made, made.person.parameters, pictures, np.stack([f.landmarks for f in frames]))


def test_points_come_in_mirrored_pairs_on_the_skin() -> None:
    asset = load_head()
    face, barycentrics = spread_points(asset, 400)
    corners = torch.as_tensor(asset.template)[torch.as_tensor(asset.faces).long()[face]]
    left, right = (corners * barycentrics[..., None]).sum(1).chunk(2)
    assert len(left) == len(right) > 150
    assert left[:, 0].min() > 0
    assert ((left * torch.tensor([-1.0, 1, 1])) - right).norm(dim=-1).median() < 0.0005
    assert not asset.region("eyeballs")[asset.faces[face.numpy()]].any()


@pytest.mark.slow
def test_pictures_correct_turns_that_landmarks_get_wrong(scene: Scene) -> None:
    """Landmarks as of heads turned aside by 2 degrees: the pictures say how the face really turns."""
    rng = np.random.default_rng(3)
    wrong = scene.params.clone()
    tilt = torch.as_tensor(rng.normal(0, np.radians(2.0), (FRAMES, 3)), dtype=torch.float32)
    wrong.rotation = matrix_to_axis_angle(axis_angle_to_matrix(tilt) @ axis_angle_to_matrix(wrong.rotation))
    model = HeadModel(scene.asset)
    with torch.no_grad():
        right = model.landmarks(model(scene.params).vertices)
        points = model.landmarks(model(wrong).vertices)
        points = points + (right - points).mean(1, keepdim=True)
        pixels = project(points, scene.scene.camera)[0].numpy()
    times = np.arange(FRAMES) / FPS
    settings = TrackSettings(rigid_steps=80, face_steps=120, offset_steps=80, photometric_steps=160)

    def error(pictures: Pictures | None) -> float:
        found = track(pixels, times, SIZE, SIZE, scene.asset, settings, pictures=pictures).params.rotation
        turn = axis_angle_to_matrix(found) @ axis_angle_to_matrix(scene.params.rotation).mT
        angles = matrix_to_axis_angle(turn)
        return float((angles - angles.mean(0)).norm(dim=-1).mean().rad2deg())

    plain, refined = error(None), error(scene.pictures)
    assert plain > 1.5
    assert refined < 0.6 * plain


def test_truth_has_less_energy_than_its_neighbours_and_the_slope_is_right(scene: Scene) -> None:
    term, params = scene.term(), scene.relative()
    term.refresh(params, scene.project)
    latents = torch.zeros(offset_space(scene.asset).count, 3)

    def energy(shift: torch.Tensor) -> torch.Tensor:
        moved = params.clone()
        moved.translation = moved.translation + shift
        return term.energy(moved, latents, scene.project)

    best = float(energy(torch.zeros(FRAMES, 3)))
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        assert float(energy(0.004 * torch.randn(FRAMES, 3, generator=rng))) > 1.5 * best
    shift = (0.003 * torch.randn(FRAMES, 3, generator=rng)).requires_grad_()
    energy(shift).backward()
    step = 2e-5 * torch.nn.functional.normalize(shift.grad.flatten(), dim=0).view_as(shift)
    with torch.no_grad():
        slope = float(energy(shift + step) - energy(shift - step)) / (2 * float(step.norm()))
    assert slope == pytest.approx(float(shift.grad.norm()), rel=0.1)


def test_light_comes_from_the_lamp_and_not_from_the_skin(scene: Scene) -> None:
    term = scene.term()
    light = torch.as_tensor(term.light_of(scene.relative(), scene.project))
    side = float(scene.scene.light.key_direction[0])
    directions = torch.nn.functional.normalize(torch.tensor([[side, 0.2, 0.6], [-side, 0.2, 0.6]]), dim=-1)
    lit, dim = (spherical_harmonics(directions) @ light).mean(1).tolist()
    assert lit > 1.1 * dim
    # What is left is the paint: cheeks of a face lit from one side come out alike.
    samples = texels(scene.asset, 256)
    camera = scene.scene.camera
    albedo = gather_albedo(
        scene.asset, samples, scene.params, camera, scene.pictures.images, scene.pictures.masks, light
    )
    corners = scene.asset.template[scene.asset.faces[samples.face.numpy()]]
    place = (corners * samples.barycentrics.numpy()[..., None]).sum(1)
    points = SurfacePoints(
        scene.asset, scene.asset.mediapipe_faces, scene.asset.mediapipe_barycentrics, offset_space(scene.asset).basis
    )
    marks = points.at(HeadParameters.neutral(scene.asset), None)[0].detach().numpy()

    def colour(mark: int) -> np.ndarray:
        near = albedo.seen & (np.linalg.norm(place - marks[mark], axis=1) < 0.012)
        return albedo.linear[near].mean(0)

    right, left, brow = colour(50), colour(280), colour(105)
    assert np.abs(right / left - 1).max() < 0.2
    assert brow.mean() < 0.85 * right.mean()


def test_light_is_kept_where_no_point_is_visible(scene: Scene) -> None:
    """Neutral at first; where the person is masked out in most frames, the others tell the light."""
    term, params = scene.term(), scene.relative()
    masks = scene.pictures.masks
    term.pictures = Pictures(scene.pictures.images, np.zeros_like(masks), scene.pictures.crop)
    neutral = torch.as_tensor(term.light_of(params, scene.project))
    normals = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    torch.testing.assert_close(spherical_harmonics(normals) @ neutral, torch.ones(50, 3))
    latents = torch.zeros(offset_space(scene.asset).count, 3)
    assert float(term.energy(params, latents, scene.project)) == 0

    few = masks.copy()
    few[np.arange(FRAMES) % 4 > 0] = 0
    term.pictures = Pictures(scene.pictures.images, few, scene.pictures.crop)
    told = term.light_of(params, scene.project)
    whole = scene.term().light_of(params, scene.project)
    assert np.abs(told - whole).max() < 0.5 * np.abs(whole - neutral.numpy()).max()
    assert 0 < float(term.energy(params, latents, scene.project)) < np.inf
    term.pictures = Pictures(scene.pictures.images, np.zeros_like(masks), scene.pictures.crop)
    np.testing.assert_array_equal(term.light_of(params, scene.project), told)


def test_a_photograph_shares_albedo_between_the_halves_of_the_face(scene: Scene) -> None:
    single = Pictures(scene.pictures.images[:1], scene.pictures.masks[:1], scene.pictures.crop)
    eyes = float(np.linalg.norm(scene.landmarks[0, 33] - scene.landmarks[0, 263]))
    term = PhotometricTerm(scene.asset, offset_space(scene.asset), single, eyes)
    term.choose_level(1)
    params = scene.relative().frame(0)
    term.refresh(params, scene.project)
    latents = torch.zeros(offset_space(scene.asset).count, 3)

    def energy(yaw: float) -> float:
        turned = params.clone()
        turned.rotation = turned.rotation + torch.tensor([0.0, yaw, 0.0])
        return float(term.energy(turned, latents, scene.project))

    assert energy(0.0) > 0  # one picture of one albedo each would fit perfectly
    assert energy(0.0) < min(energy(0.12), energy(-0.12))
