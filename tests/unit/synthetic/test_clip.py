"""Synthetic clips: the truth that is written fits the picture that is drawn."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from signing_parts import assert_signed

from avatar.base.errors import InputError
from avatar.base.provenance import Source
from avatar.data.capture import read_capture
from avatar.flame.landmark_sets import inter_ocular_distance
from avatar.flame.model import HeadModel
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import image_rays, project
from avatar.media.images import to_linear, to_srgb
from avatar.media.video import has_synthetic_tag, probe_video, read_video
from avatar.synthetic.clip import make_synthetic_clip, make_synthetic_scene, render_synthetic_frame
from avatar.synthetic.person import CLOTH, EYE, HAIR, SKIN, TEETH

SIZE, FRAMES, NEUTRAL = 160, 60, 4


@pytest.fixture(scope="module")
def scene():
    return make_synthetic_scene(seed=0, size=SIZE, frames=FRAMES)


@pytest.fixture(scope="module")
def neutral(scene):
    return render_synthetic_frame(scene, NEUTRAL)


def brightness(frame, index, radius=0):
    x, y = frame.landmarks[index]
    rows, columns = (slice(int(v) - radius, int(v) + radius + 1) for v in (y, x))
    return frame.image[rows, columns].astype(float).mean(axis=(0, 1))


def test_srgb_conversion_matches_known_values():
    np.testing.assert_allclose(to_linear(np.array([0.0, 0.04045, 0.5, 1.0])), [0, 0.0031308, 0.2140411, 1], atol=1e-6)
    values = np.linspace(0, 1, 33)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-5)


@pytest.mark.slow
def test_frames_are_the_same_for_the_same_seed_and_differ_for_another(scene, neutral):
    again = render_synthetic_frame(make_synthetic_scene(seed=0, size=SIZE, frames=FRAMES), NEUTRAL)
    np.testing.assert_array_equal(neutral.image, again.image)
    np.testing.assert_array_equal(neutral.mask, again.mask)
    other = make_synthetic_scene(seed=1, size=SIZE, frames=FRAMES)
    assert np.abs(scene.background_picture.astype(int) - other.background_picture).mean() > 5
    assert not torch.equal(scene.person.parameters.shape, other.person.parameters.shape)
    assert np.abs(scene.person.looks.skin - other.person.looks.skin).max() > 0.03
    assert not torch.allclose(scene.person.parameters.rotation, other.person.parameters.rotation)


def test_a_frame_does_not_depend_on_the_frames_rendered_before(scene, neutral):
    render_synthetic_frame(scene, 40)
    np.testing.assert_array_equal(render_synthetic_frame(scene, NEUTRAL).image, neutral.image)


def test_matte_is_the_share_of_the_person_in_each_pixel(scene, neutral):
    """With an emptied room the background's part of each pixel goes, in linear light, and nothing else."""
    empty = replace(scene, background=np.zeros_like(scene.background))
    alone = render_synthetic_frame(empty, NEUTRAL)
    np.testing.assert_array_equal(alone.mask, neutral.mask)
    share = neutral.mask.astype(np.float32)[..., None] / 255
    wanted = to_linear(alone.image / 255.0) + (1 - share) * scene.background
    np.testing.assert_allclose(neutral.image / 255.0, to_srgb(wanted), atol=0.02)
    assert (neutral.image[neutral.mask == 0] == scene.background_picture[neutral.mask == 0]).all()
    partial = (neutral.mask > 0) & (neutral.mask < 255)
    assert 0.004 < partial.mean() < 0.10, "soft edges, not a soft person"


def test_matte_holds_the_head_that_the_truth_describes(scene):
    """The head model posed by the true parameters and seen by the true camera lies inside the mask."""
    for index in (NEUTRAL, 45):
        frame = render_synthetic_frame(scene, index)
        asset = scene.person.asset
        with torch.no_grad():
            vertices = HeadModel(asset)(scene.person.parameters.frame(index)).vertices[0]
        face = asset.region("face")[asset.faces].all(1)
        head = rasterize(torch.from_numpy(asset.faces[face]), vertices, scene.camera).mask.numpy()
        assert head.sum() > 0.04 * SIZE**2
        assert (frame.mask[head] > 127).mean() > 0.995
        assert np.isin(frame.materials[head], (SKIN, HAIR)).mean() > 0.8


def test_head_and_shoulders_fill_the_picture_as_in_a_phone_clip(neutral):
    rows = np.flatnonzero((neutral.mask > 127).any(1))
    assert rows[-1] == SIZE - 1, "the body reaches the lower edge"
    assert 0.05 * SIZE < rows[0] < 0.3 * SIZE
    assert (neutral.materials[-1] == CLOTH).sum() > 0.6 * SIZE
    head = np.flatnonzero(np.isin(neutral.materials, (SKIN, HAIR)).any(1))
    assert 0.4 * SIZE < np.ptp(head) < 0.65 * SIZE


def test_true_landmarks_are_the_projected_embedding(scene, neutral):
    model = HeadModel(scene.person.asset)
    with torch.no_grad():
        points = model.landmarks(model(scene.person.parameters.frame(NEUTRAL)).vertices)[0]
    pixels, _ = project(points, scene.camera)
    np.testing.assert_allclose(neutral.landmarks, pixels.numpy(), atol=1e-3)


def test_true_landmarks_fall_on_the_painted_features(scene, neutral):
    left_iris, right_iris, cheek, upper_lip, lower_lip, brow, forehead = 473, 468, 50, 0, 17, 105, 151
    for iris, corners in ((left_iris, (362, 263)), (right_iris, (133, 33))):
        x, y = neutral.landmarks[iris].astype(int)
        assert neutral.materials[y, x] == EYE
        between = neutral.landmarks[list(corners)].mean(0)
        assert np.linalg.norm(between - neutral.landmarks[iris]) < 4, "eyes look ahead in the neutral frame"
        assert brightness(neutral, iris).mean() < 0.45 * brightness(neutral, cheek).mean()
    red = {index: brightness(neutral, index)[0] / brightness(neutral, index)[1] for index in (cheek, forehead)}
    for lip in (upper_lip, lower_lip):
        x, y = neutral.landmarks[lip]
        inwards = 0.35 * (neutral.landmarks[13, 1] - y)
        r, g, _ = neutral.image[int(y + inwards), int(x)].astype(float)
        assert r / g > red[forehead]
    below, above = neutral.landmarks[[52, brow]]
    x, y = (0.5 * (below + above)).astype(int)
    assert neutral.image[y, x].mean() < 0.7 * brightness(neutral, forehead, 1).mean()


def test_landmarks_are_hidden_behind_closed_lids(scene, neutral):
    names = scene.person.asset.expression_names
    blink = int(scene.person.parameters.expr[:, names.index("eyeBlinkLeft")].argmax())
    assert neutral.visible[[468, 473]].all()
    closed = render_synthetic_frame(scene, blink)
    assert not closed.visible[[468, 473]].any()
    assert neutral.visible.mean() > 0.7
    assert (closed.materials == EYE).sum() < 0.2 * (neutral.materials == EYE).sum()


def test_mouth_opens_and_shows_teeth(scene, neutral):
    widest = int(scene.person.parameters.jaw[:, 0].argmax())
    frame = render_synthetic_frame(scene, widest)
    assert (frame.materials == TEETH).sum() > (neutral.materials == TEETH).sum() + 5
    gap = [
        np.linalg.norm(f.landmarks[13] - f.landmarks[14]) / inter_ocular_distance(f.landmarks) for f in (frame, neutral)
    ]
    assert gap[0] > 0.15
    assert gap[1] < 0.05


@pytest.mark.slow
def test_a_signed_clip_says_that_it_was_painted(signing, tmp_path):
    clip = make_synthetic_clip(tmp_path, seed=2, size=64, frames=2, fps=20.0)
    assert_signed(signing, clip, Source.PAINTED)


@pytest.mark.slow
def test_clip_and_truth_agree(tmp_path, scene):
    seen = []
    (tmp_path / "voice.wav").write_text("the user's")
    clip = make_synthetic_clip(
        tmp_path, seed=2, size=64, frames=12, fps=20.0, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (12, 12)
    assert len(seen) == 12
    info = probe_video(clip)
    assert (info.width, info.height, info.frame_count, info.fps) == (64, 64, 12, 20.0)
    assert has_synthetic_tag(clip)
    assert info.has_audio
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "truth", "voice.wav"]
    assert (tmp_path / "voice.wav").read_text() == "the user's"
    capture = read_capture(tmp_path / "truth", expect_head=scene.person.asset)
    again = make_synthetic_scene(seed=2, size=64, frames=12, fps=20.0)
    frame = render_synthetic_frame(again, 7)
    np.testing.assert_array_equal(capture.read_image(7), frame.image)
    np.testing.assert_array_equal(capture.read_mask(7), frame.mask)
    np.testing.assert_allclose(capture.landmarks()[0][7], frame.landmarks, atol=1e-4)
    np.testing.assert_allclose(capture.parameters().jaw[7], again.person.parameters.jaw[7], atol=1e-6)
    np.testing.assert_array_equal(capture.background(), again.background_picture)
    assert capture.camera_mode == "static"
    decoded = [image for _, image in read_video(clip)]
    assert np.abs(decoded[7].astype(float) - frame.image).mean() < 4


@pytest.mark.parametrize(
    "bad",
    [{"size": 10}, {"size": 10**6}, {"frames": 0}, {"frames": 10**9}, {"fps": 0.0}, {"fps": math.nan}, {"seed": -1}],
)
def test_settings_that_cannot_be_are_refused(bad):
    with pytest.raises(InputError, match="is out of range"):
        make_synthetic_scene(**{"seed": 0, "size": 64, "frames": 2, "fps": 25.0} | bad)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_detector_finds_the_face_where_the_truth_says(seed):
    """MediaPipe finds every frame, within 5 percent of the inter-ocular distance of the true landmarks on average."""
    from capture_tools.detect.landmark_detector import LandmarkDetector

    scene = make_synthetic_scene(seed=seed, size=256, frames=150)
    errors = []
    with LandmarkDetector() as detector:
        for index in range(0, 150, 16):
            frame = render_synthetic_frame(scene, index)
            pixels, faces = detector.detect(frame.image)
            assert faces == 1, f"frame {index}"
            distance = np.linalg.norm(pixels - frame.landmarks, axis=1) / inter_ocular_distance(frame.landmarks)
            errors.append(distance.mean())
    assert np.mean(errors) < 0.05
    assert np.max(errors) < 0.07


@pytest.fixture(scope="module")
def moving_scene():
    return make_synthetic_scene(seed=0, size=64, frames=100, camera="moving")


def test_a_moving_camera_is_carried_around_the_person(moving_scene):
    positions = np.stack([moving_scene.camera_at(i).position for i in range(100)])
    turn = np.degrees(np.arctan2(positions[:, 0], positions[:, 2]))
    assert turn.max() > 8
    assert turn.min() < -8
    assert np.abs(np.linalg.norm(positions, axis=1) - 1.1).max() < 0.08
    focal = {moving_scene.camera_at(i).fl_x for i in range(100)}
    assert focal == {2.2 * 64}
    slower = make_synthetic_scene(seed=0, size=64, frames=6, fps=5.0, camera="moving")
    np.testing.assert_allclose(slower.path[3], moving_scene.path[15], atol=1e-12)


def test_the_room_of_a_moving_camera_has_depth(moving_scene):
    """Rays from outside the person's silhouette end at several distances, and what is near moves further."""
    query = moving_scene.room.query
    spread = []
    for index in (0, 40, 80):
        origins, directions = (rays.reshape(-1, 3) for rays in image_rays(moving_scene.camera_at(index)))
        hits = query.cast_rays(origins, directions)
        assert (hits.face >= 0).all(), "the room is closed"
        free = torch.from_numpy(render_synthetic_frame(moving_scene, index).mask.ravel() == 0)
        spread.append((hits.depth[free].quantile(0.02), hits.depth[free].quantile(0.98)))
    assert min(far / near for near, far in spread) > 1.2, [far / near for near, far in spread]
    assert moving_scene.background_picture is None


def test_moving_frames_show_the_room_where_the_camera_says(moving_scene):
    """What one frame shows of the room is found again, in another, where the two cameras say it must be."""
    first, second = moving_scene.camera_at(0), moving_scene.camera_at(12)
    frames = [render_synthetic_frame(moving_scene, i) for i in (0, 12)]
    origins, directions = (rays.reshape(-1, 3) for rays in image_rays(first))
    hits = moving_scene.room.query.cast_rays(origins, directions)
    pixels, _ = project(origins + directions * hits.depth[:, None], second)
    column, row = pixels.floor().long().unbind(-1)
    inside = (column >= 0) & (column < 64) & (row >= 0) & (row < 64)
    inside &= torch.from_numpy(frames[0].mask.ravel() == 0)
    there = torch.from_numpy(frames[1].mask)[row.clamp(0, 63), column.clamp(0, 63)] == 0
    kept = (inside & there).numpy()
    shown = frames[0].image.reshape(-1, 3)[kept].astype(float)
    again = frames[1].image[row.numpy()[kept], column.numpy()[kept]].astype(float)
    stale = frames[1].image.reshape(-1, 3)[kept].astype(float)
    assert kept.mean() > 0.3
    assert np.abs(shown - again).mean() < 0.5 * np.abs(shown - stale).mean()


@pytest.mark.slow
def test_a_hand_held_camera_sways_by_the_share_asked_for():
    """Extents over half a minute of where the resting head appears; the same clip without sway stands still."""
    shown = {}
    for sway in (0.0, 0.01, 0.03):
        scene = make_synthetic_scene(seed=0, size=64, frames=60, fps=2.0, camera="handheld", sway=sway)
        head = torch.zeros(1, 3, dtype=torch.float64)
        pixels = np.concatenate([project(head, scene.camera_at(i))[0].numpy() for i in range(60)]) / 64
        shown[sway] = np.ptp(pixels, axis=0).max()
        assert scene.room is not None
    assert shown[0.0] == pytest.approx(0.0, abs=1e-9)
    assert 0.007 < shown[0.01] < 0.0105
    assert shown[0.03] == pytest.approx(3 * shown[0.01], rel=0.02)


@pytest.mark.slow
def test_a_frontal_head_stays_within_five_degrees_and_says_the_same():
    usual, frontal = (
        make_synthetic_scene(seed=3, size=64, frames=150, motion=motion).person.parameters
        for motion in ("usual", "frontal")
    )
    assert np.degrees(float(usual.rotation.abs().max())) > 12
    assert np.degrees(float(frontal.rotation.abs().max())) < 5
    assert torch.equal(usual.expr, frontal.expr)
    assert torch.equal(usual.jaw, frontal.jaw)


@pytest.mark.parametrize("setting", [{"camera": "drone"}, {"motion": "wild"}, {"camera": "handheld", "sway": -0.1}])
def test_unknown_cameras_and_motions_are_refused(setting):
    with pytest.raises(InputError, match=r"no such|out of range"):
        make_synthetic_scene(seed=0, size=64, frames=5, **setting)


@pytest.mark.slow
def test_written_truth_of_a_moving_camera(tmp_path):
    make_synthetic_clip(tmp_path / "moving", seed=1, size=64, frames=12, camera="moving")
    capture = read_capture(tmp_path / "moving" / "truth")
    scene = make_synthetic_scene(seed=1, size=64, frames=12, camera="moving")
    assert capture.camera_mode == "moving"
    assert capture.background() is None
    for index in (0, 11):
        np.testing.assert_allclose(capture.frames[index].camera.world_from_cam, scene.path[index], atol=1e-6)
    assert not np.allclose(scene.path[0], scene.path[11])
    points = torch.as_tensor(capture.landmarks()[0])
    assert torch.isfinite(points).all()


def test_a_camera_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="flying"):
        make_synthetic_scene(seed=0, size=64, frames=2, camera="flying")
