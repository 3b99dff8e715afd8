"""The way of a moving camera found from an invented room whose cameras are known."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatar.base.errors import InputError
from avatar.geometry.cameras import Camera, image_rays
from avatar.media.images import to_srgb, to_uint8
from avatar.synthetic.camera import carried_path
from avatar.synthetic.looks import make_looks
from avatar.synthetic.room import furnished_room
from capture_tools.camera.structure_from_motion import CameraPath, solve_cameras

SIZE, FOCAL, FRAMES, DISTANCE = 256, 300.0, 21, 0.9


@pytest.fixture(scope="module")
def room():
    return furnished_room(np.random.default_rng(3), make_looks(0))


@pytest.fixture(scope="module")
def path():
    return carried_path(0, FRAMES, 4.0, DISTANCE)


def person(index):
    """A mask that hides the picture's middle, and what is painted there: noise that moves in its own way."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[90:, 80:176] = 255
    noise = np.random.default_rng(index // 4).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    return mask, np.roll(noise, 5 * index, axis=1)


def views(room, poses):
    for index, pose in enumerate(poses):
        camera = Camera(SIZE, SIZE, FOCAL, FOCAL, SIZE / 2, SIZE / 2, pose)
        origins, directions = (rays.reshape(-1, 3) for rays in image_rays(camera))
        image = to_uint8(to_srgb(room.colours(origins, directions).numpy())).reshape(SIZE, SIZE, 3)
        mask, noise = person(index)
        yield np.where(mask[..., None] > 0, noise, image), mask


def errors(found: CameraPath, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees and metres between cameras after one similarity, which the mean rotation and the extents give."""
    pose = found.world_from_cam
    turn = Rotation.from_matrix(true[:, :3, :3] @ pose[:, :3, :3].transpose(0, 2, 1)).mean().as_matrix()
    degrees = Rotation.from_matrix(turn @ pose[:, :3, :3] @ true[:, :3, :3].transpose(0, 2, 1)).magnitude()
    a, b = pose[:, :3, 3] @ turn.T, true[:, :3, 3]
    a, b = a - a.mean(0), b - b.mean(0)
    return np.degrees(degrees), np.linalg.norm(a * (a * b).sum() / (a * a).sum() - b, axis=1)


@pytest.fixture(scope="module")
def frames(room, path):
    """Pictures and masks along the way."""
    return list(views(room, path))


@pytest.fixture(scope="module")
def solved(frames):
    return solve_cameras(iter(frames), FOCAL, keyframes=11)


def test_cameras_are_found_behind_a_person_who_moves(solved, path):
    degrees, metres = errors(solved, path)
    assert solved.registered.all()
    assert degrees.mean() < 0.4
    assert metres.mean() < 0.01 * DISTANCE
    assert solved.focal == pytest.approx(FOCAL)
    assert 0 < solved.reprojection_error < 1
    assert solved.points > 100


def test_the_same_frames_give_the_same_way(frames, solved):
    again = solve_cameras(iter(frames), FOCAL, keyframes=11)
    np.testing.assert_array_equal(again.world_from_cam, solved.world_from_cam)


def test_nothing_is_said_on_the_terminal(frames, capfd):
    solve_cameras(iter(frames[:6]), FOCAL)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_focal_length_is_found_with_the_way(frames, path):
    found = solve_cameras(iter(frames), keyframes=21)
    assert found.focal == pytest.approx(FOCAL, rel=0.04)
    degrees, metres = errors(found, path)
    assert degrees.mean() < 1
    assert metres.mean() < 0.02 * DISTANCE


@pytest.mark.slow
def test_a_frame_that_shows_nothing_gets_a_place_between_its_neighbours(frames, path):
    frames = list(frames)
    blank = 7  # no keyframe: those are 0, 2, 4, ...
    frames[blank] = (np.full_like(frames[0][0], 90), frames[blank][1])
    found = solve_cameras(iter(frames), FOCAL, keyframes=11)
    assert found.registered.all()
    degrees, _ = errors(found, path)
    assert degrees[blank] < 4
    middle = (found.world_from_cam[6, :3, 3] + found.world_from_cam[8, :3, 3]) / 2
    np.testing.assert_allclose(found.world_from_cam[blank, :3, 3], middle, atol=1e-9)


def test_a_plain_wall_is_refused_in_words():
    grey = np.full((SIZE, SIZE, 3), 128, np.uint8)
    with pytest.raises(InputError, match="too plain"):
        solve_cameras(((grey, person(0)[0]) for _ in range(8)), FOCAL)


def test_a_camera_that_only_turns_is_refused_in_words(room, path):
    still = path.copy()
    still[:, :3, 3] = path[0, :3, 3]
    with pytest.raises(InputError, match=r"hardly moves from its place|too plain"):
        solve_cameras(views(room, still), FOCAL, keyframes=11)


def test_rays_of_the_room_are_closed(room):
    directions = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    assert (room.query.cast_rays(torch.zeros(500, 3), directions).face >= 0).all()
