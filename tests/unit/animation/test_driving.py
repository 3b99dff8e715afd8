import dataclasses
import math

import pytest
import torch

from avatar.animation.driving import (
    POSE_SLACK,
    SMOOTHING,
    expression_frames,
    keep_large_changes,
    mean_pose,
    mean_rotation,
    retarget,
    smooth_tracking,
    soft_limit,
)
from avatar.base.errors import ConfigError
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix


@pytest.fixture(scope="module")
def head():
    return load_head()


def clip(head, frames, *, turn=0.2, shift=0.01, at=(0.1, 0.0, 0.0), place=(0.0, 0.02, 0.0), seed=0):
    """A clip that swings about the y axis, symmetric in time, round a mean pose."""
    generator = torch.Generator().manual_seed(seed)
    params = HeadParameters.neutral(head, frames)
    phase = torch.arange(frames) / frames * 2 * math.pi
    base = axis_angle_to_matrix(torch.tensor([at]).float())
    swing = axis_angle_to_matrix(torch.stack([phase * 0, turn * torch.sin(phase), phase * 0], -1))
    from avatar.geometry.rotations import matrix_to_axis_angle

    translation = torch.tensor(place) + shift * torch.sin(phase)[:, None] * torch.tensor([1.0, 0.0, 0.0])
    return dataclasses.replace(
        params,
        shape=torch.randn(head.shape_count, generator=generator),
        static_offset=torch.randn(head.vertex_count, 3, generator=generator) * 1e-3,
        expr=torch.rand(frames, head.expression_count, generator=generator),
        jaw=torch.rand(frames, 3, generator=generator) * 0.1,
        eyes=torch.rand(frames, 6, generator=generator) * 0.1,
        rotation=matrix_to_axis_angle(swing @ base),
        translation=translation,
    )


def test_mean_rotation_of_a_symmetric_swing_is_its_middle(head):
    params = clip(head, 40, turn=0.4, at=(0.1, 0.0, 0.0))
    expected = axis_angle_to_matrix(torch.tensor([0.1, 0.0, 0.0]))
    torch.testing.assert_close(mean_rotation(params.rotation), expected, atol=2e-3, rtol=0)


def test_mean_pose_has_the_identity_and_no_expression(head):
    params = clip(head, 20)
    rest = mean_pose(params)
    assert len(rest) == 1
    assert not rest.expr.any()
    assert not rest.jaw.any()
    assert rest.shape is params.shape
    torch.testing.assert_close(rest.translation[0], torch.tensor([0.0, 0.02, 0.0]), atol=1e-6, rtol=0)


def test_retarget_keeps_the_identity_and_takes_the_expression(head):
    avatar, driver = clip(head, 30, seed=1), clip(head, 12, seed=2)
    driven = retarget(avatar, driver)
    assert driven.shape is avatar.shape
    assert driven.static_offset is avatar.static_offset
    for name in ("expr", "jaw", "eyes"):
        torch.testing.assert_close(getattr(driven, name), getattr(driver, name))


def test_retarget_moves_relative_to_the_mean_pose(head):
    avatar = clip(head, 40, turn=0.3, at=(0.1, 0.0, 0.0), place=(0.0, 0.02, 0.0), shift=0.02)
    driver = clip(head, 40, turn=0.2, at=(-0.2, 0.0, 0.0), place=(0.3, -0.4, 0.5), shift=0.01)
    driven = retarget(avatar, driver)
    # the driver's swing about world y, on the avatar's own mean pose and place
    torch.testing.assert_close(
        mean_rotation(driven.rotation), axis_angle_to_matrix(torch.tensor([0.1, 0.0, 0.0])), atol=5e-3, rtol=0
    )
    torch.testing.assert_close(driven.translation.mean(0), avatar.translation.mean(0), atol=1e-5, rtol=0)
    assert float((driven.translation - driven.translation.mean(0)).abs().max()) == pytest.approx(0.01, abs=1e-4)
    turn = axis_angle_to_matrix(driven.rotation[10]) @ axis_angle_to_matrix(driven.rotation[0]).T
    assert math.acos((float(torch.trace(turn)) - 1) / 2) == pytest.approx(0.2, abs=5e-3)


def test_retarget_limits_the_head_to_what_the_clip_showed(head):
    avatar, driver = clip(head, 40, turn=0.1, shift=0.01), clip(head, 40, turn=0.8, shift=0.2)
    driven = retarget(avatar, driver)
    swing = driven.rotation[:, 1].abs().max()
    assert 0.1 < float(swing) < 0.1 * POSE_SLACK * 1.1
    assert float((driven.translation - driven.translation.mean(0)).abs().max()) <= 0.01 * POSE_SLACK + 1e-6


def test_still_head_motion_holds_the_mean_pose(head):
    avatar, driver = clip(head, 30, seed=1), clip(head, 12, seed=2)
    driven = retarget(avatar, driver, "still")
    rest = mean_pose(avatar)
    torch.testing.assert_close(driven.rotation, rest.rotation.repeat(12, 1))
    torch.testing.assert_close(driven.translation, rest.translation.repeat(12, 1))
    torch.testing.assert_close(driven.expr, driver.expr)


def test_soft_limit_leaves_small_values_and_is_smooth():
    values = torch.linspace(-3, 3, 601, dtype=torch.float64)
    limited = soft_limit(values, torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(limited[200:401], values[200:401])
    assert float(limited.max()) <= POSE_SLACK
    slope = limited.diff() / values.diff()
    assert float(slope.min()) >= 0
    assert float(slope.diff().abs().max()) < 0.1


def test_smoothing_takes_out_noise_and_keeps_blinks():
    generator = torch.Generator().manual_seed(0)
    noise = SMOOTHING["expr"] / 4
    truth = torch.zeros(200, 1)
    truth[60:63] = torch.tensor([[0.5], [1.0], [0.5]])
    tracked = truth + noise * torch.randn(200, 1, generator=generator)
    smoothed = keep_large_changes(tracked, SMOOTHING["expr"])
    quiet = torch.cat([torch.arange(50), torch.arange(80, 200)])
    assert float(smoothed[quiet].std()) < 0.6 * float(tracked[quiet].std())
    assert float(smoothed[61]) > 0.9
    assert float((smoothed[60:63] - truth[60:63]).abs().max()) < 0.12


def test_smoothing_has_no_delay_and_keeps_steady_motion(head):
    ramp = torch.arange(30.0)[:, None] * 0.002
    torch.testing.assert_close(keep_large_changes(ramp, 0.01)[3:-3], ramp[3:-3])
    params = clip(head, 12)
    assert smooth_tracking(params).expr.shape == params.expr.shape
    assert smooth_tracking(params).shape is params.shape


def test_sweep_goes_up_and_down_for_each_name(head):
    frames = expression_frames("sweep:mouthSmileLeft=0.8,blink", clip(head, 20), head, 40)
    smile = frames.expr[:, head.expression_names.index("mouthSmileLeft")]
    blink = frames.expr[:, head.expression_names.index("eyeBlinkLeft")]
    assert float(smile[0]) == 0
    assert float(smile[10]) == pytest.approx(0.8)
    assert not smile[20:].any()
    assert float(blink[30]) == pytest.approx(1.0)
    assert not blink[:21].any()


def test_held_expression_and_neutral(head):
    params = clip(head, 20)
    held = expression_frames("mouthPucker=0.4", params, head, 3)
    assert len(held) == 3
    assert float(held.expr[2, head.expression_names.index("mouthPucker")]) == pytest.approx(0.4)
    assert not expression_frames("neutral", params, head, 2).expr.any()


def test_clip_replays_the_training_frames_in_a_loop(head):
    params = clip(head, 5)
    torch.testing.assert_close(expression_frames("clip", params, head, 7).expr, params.expr[[0, 1, 2, 3, 4, 0, 1]])


@pytest.mark.parametrize("text", ["swep:smile", "smiel", "sweep:", "sweep:smiel"])
def test_unknown_expression(head, text):
    with pytest.raises(ConfigError):
        expression_frames(text, clip(head, 5), head, 4)
