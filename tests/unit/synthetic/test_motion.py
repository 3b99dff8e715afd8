"""The motion of synthetic clips: ranges of real faces, smooth, the same for the same seed."""

import numpy as np
import pytest

from avatar.synthetic.motion import compose_rotation, make_motion

NAMES = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "mouthPucker")


def rotation_about(axis: int, angle: float) -> np.ndarray:
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i], matrix[i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def matrix_of(axis_angle: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(axis_angle)
    x, y, z = axis_angle / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_rotations_compose_roll_then_pitch_then_yaw():
    yaw, pitch, roll = np.array([0.4, -1.2]), np.array([0.3, 0.2]), np.array([-0.2, 0.7])
    found = compose_rotation(yaw, pitch, roll)
    for k in range(2):
        wanted = rotation_about(1, yaw[k]) @ rotation_about(0, pitch[k]) @ rotation_about(2, roll[k])
        np.testing.assert_allclose(matrix_of(found[k]), wanted, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_motion_stays_in_the_range_of_real_faces_and_uses_it(seed):
    motion = make_motion(seed, 150, 25.0, NAMES)
    assert motion.expr.min() >= 0
    assert motion.expr.max() <= 1
    assert 0.25 < np.abs(motion.rotation[:, 1]).max() < 0.37
    assert np.abs(motion.rotation[:, [0, 2]]).max() < 0.2
    assert np.abs(motion.translation).max() < 0.02
    assert 0.25 < motion.jaw[:, 0].max() < 0.35
    assert (motion.jaw[:, 0] < 0.01).sum() >= 10, "the mouth is shut in some frames"
    assert motion.jaw[:, 0].min() >= 0
    for name in ("mouthSmileLeft", "browInnerUp"):
        assert motion.expr[:, NAMES.index(name)].max() > 0.4
    assert np.abs(motion.eyes[:, [2, 5]]).max() == 0


def test_clip_opens_with_a_neutral_frontal_face():
    motion = make_motion(3, 60, 25.0, NAMES)
    for array in (motion.expr, motion.rotation, motion.translation, motion.jaw):
        assert np.abs(array[:5]).max() < 1e-6


def test_both_eyes_blink_together_for_about_five_frames():
    motion = make_motion(0, 300, 25.0, NAMES)
    left, right = (motion.expr[:, NAMES.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    np.testing.assert_array_equal(left, right)
    starts = np.flatnonzero(np.diff((left > 0.05).astype(int)) == 1)
    ends = np.flatnonzero(np.diff((left > 0.05).astype(int)) == -1)
    assert 3 <= len(starts) <= 10
    assert all(4 <= end - start <= 7 for start, end in zip(starts, ends, strict=False))
    assert all(left[start : start + 7].max() > 0.9 for start in starts[:-1])


def test_head_moves_smoothly():
    motion = make_motion(1, 250, 25.0, NAMES)
    assert np.abs(np.diff(motion.rotation, axis=0)).max() * 25 < 2.0, "radians per second"
    assert np.abs(np.diff(motion.rotation, 2, axis=0)).max() < 0.02
    assert np.abs(np.diff(motion.jaw[:, 0])).max() < 0.16


def test_motion_is_a_function_of_time_and_seed():
    slow, fast = make_motion(5, 75, 25.0, NAMES), make_motion(5, 150, 50.0, NAMES)
    np.testing.assert_allclose(slow.jaw, fast.jaw[::2], atol=1e-6)
    np.testing.assert_allclose(slow.expr, fast.expr[::2], atol=1e-6)
    np.testing.assert_allclose(slow.rotation, fast.rotation[::2], atol=5e-3)
    again, other = make_motion(5, 75, 25.0, NAMES), make_motion(6, 75, 25.0, NAMES)
    np.testing.assert_array_equal(slow.expr, again.expr)
    assert np.abs(slow.rotation - other.rotation).max() > 0.05


def test_expressions_a_head_lacks_are_left_out():
    assert make_motion(0, 30, 25.0, ("tongueOut", "browInnerUp")).expr.shape == (30, 2)
    assert np.abs(make_motion(0, 150, 25.0, ("expression_00",)).expr).max() == 0
