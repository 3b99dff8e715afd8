"""The gap between the lips: measured as landmarks show it, carried over as such, shut where the driver's is."""

import dataclasses

import pytest
import torch

from avatar.animation.face_gaps import FaceGauge, GapRange, carried_over
from avatar.animation.options import Retarget
from avatar.animation.transfer import neutral_of, shut_lids, transfer_expression
from avatar.flame.landmark_sets import eye_aspect_ratio, lip_distance
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def gauge(head):
    return FaceGauge(head)


def talking(head, jaw, *, frames=60, shape=0.0, **rest) -> HeadParameters:
    """A clip whose jaw goes from the first to the last of `jaw` and back, twice, with actions at rest."""
    params = HeadParameters.neutral(head, frames)
    params.shape[:] = shape
    turn = 0.5 - 0.5 * torch.cos(torch.linspace(0, 4 * torch.pi, frames))
    params.jaw[:, 0] = jaw[0] + (jaw[1] - jaw[0]) * turn
    for name, value in rest.items():
        params.expr[:, head.expression_index(name)] = value
    return params


def test_the_gap_is_that_of_the_landmarks_however_the_head_is_turned(head, gauge):
    params = talking(head, (0.05, 0.3), frames=8, shape=0.5)
    model = HeadModel(head)
    seen = lip_distance(model.landmarks(model(params).vertices).numpy()[..., :2])
    turned = dataclasses.replace(params, rotation=torch.full((8, 3), 0.4), translation=torch.ones(8, 3))
    for given in (params, turned):
        assert gauge.lips(given).numpy() == pytest.approx(seen, rel=0.03)


def test_lips_that_cross_have_a_negative_gap(head, gauge):
    assert float(gauge.lips(talking(head, (-0.1, -0.1), frames=1))) < -0.05


def test_the_jaw_turns_to_a_gap(head, gauge):
    params = talking(head, (0.0, 0.2), frames=6, mouthSmileLeft=0.5)
    wanted = torch.tensor([0.0, 0.02, 0.05, 0.1, 0.2, 0.25])
    jaw = gauge.opened(params, wanted)
    assert gauge.lips(dataclasses.replace(params, jaw=jaw)).tolist() == pytest.approx(wanted.tolist(), abs=1e-3)
    assert torch.equal(jaw[:, 1:], params.jaw[:, 1:])


def test_gaps_are_carried_over_from_rest_to_rest_and_from_shut_to_shut():
    theirs, own = GapRange(0.04, 0.0), GapRange(0.02, 0.01)
    given = torch.tensor([0.0, 0.04, 0.14])
    assert carried_over(given, theirs, own, 1.0).tolist() == pytest.approx([0.01, 0.02, 0.12])
    assert carried_over(given, theirs, own, 2.0).tolist() == pytest.approx([0.01, 0.02, 0.22])


def test_shut_is_the_smallest_gap_but_for_single_frames():
    gaps = torch.cat([torch.tensor([-0.05]), torch.full((99,), 0.01), torch.full((900,), 0.1)])
    assert GapRange.of(gaps, 0.02).shut == pytest.approx(0.01)
    assert GapRange.of(gaps, 0.005).shut == pytest.approx(0.005), "at rest the lips are no further apart than when shut"
    assert GapRange.of(torch.full((5,), -0.02), 0.0).shut == 0


def test_a_driver_whose_mouth_is_open_most_of_the_time_shuts_the_avatars_lips_when_its_own_are(head, gauge):
    """Its calmest frames have an open mouth: with that for neutral, lips would cross when it shuts them."""
    driver = talking(head, (0.0, 0.12), shape=-0.5)
    driver.jaw[10:50, 0] = driver.jaw[10:50, 0].clamp_min(0.03)
    driver.expr[:8, head.expression_index("browInnerUp")] = 0.6
    driver.expr[52:, head.expression_index("browInnerUp")] = 0.6
    avatar = talking(head, (0.0, 0.3), shape=0.8)
    driven = transfer_expression(avatar, driver, head, Retarget(), gauge=gauge, relative=True, fps=25.0)
    shown = gauge.lips(dataclasses.replace(driven, shape=avatar.shape))
    gaps = gauge.lips(driver)
    assert float(torch.corrcoef(torch.stack([gaps, shown]))[0, 1]) > 0.995
    assert float((shown - gaps).abs().max()) < 0.02
    assert float(shown.min()) > -0.005


def test_the_neutral_of_somebody_who_talks_has_shut_lips(head, gauge):
    driver = talking(head, (0.0, 0.2))
    driver.expr[driver.jaw[:, 0] < 0.02, head.expression_index("mouthSmileLeft")] = 0.3
    neutral = neutral_of(driver, head, gauge, 25.0)
    assert float(gauge.lips(neutral.on(driver))) < 0.03


def blinking(head, closing, frames=40, **others) -> HeadParameters:
    """Open eyes, and in every tenth frame lids that close so far, with other actions."""
    params = HeadParameters.neutral(head, frames)
    for name, value in {"eyeBlinkLeft": closing[0], "eyeBlinkRight": closing[1], **others}.items():
        params.expr[5::10, head.expression_index(name)] = value
    return params


def test_the_lids_gap_is_that_of_the_landmarks_for_each_eye(head, gauge):
    params = blinking(head, (0.8, 0.0), frames=10)
    model = HeadModel(head)
    points = model.landmarks(model(params).vertices).numpy()[..., :2]
    gaps = gauge.lids(params)
    assert gaps.mean(1).numpy() == pytest.approx(eye_aspect_ratio(points), rel=0.05)
    left, right = (gaps[5] / gaps[0]).tolist()
    assert left < 0.4
    assert right == pytest.approx(1, abs=0.02)


def test_lids_tracked_as_shut_by_other_actions_too_are_shut(head, gauge):
    """A small face's blink is tracked as 0.6 of the lids' own action; half a blink is none."""
    shut = blinking(head, (0.6, 0.62), eyeSquintLeft=0.5, eyeSquintRight=0.5)
    assert float((gauge.lids(shut)[5] / gauge.lids(shut)[0]).max()) < 0.4
    assert shut_lids(shut, head, gauge).tolist() == pytest.approx([0.6, 0.62])
    assert shut_lids(blinking(head, (0.45, 0.45)), head, gauge).tolist() == [1, 1]
    driven = transfer_expression(
        blinking(head, (1.0, 1.0)), shut, head, Retarget(), gauge=gauge, relative=True, fps=25.0
    )
    lids = [head.expression_index(f"eyeBlink{side}") for side in ("Left", "Right")]
    assert driven.expr[5, lids].tolist() == pytest.approx([1, 1], abs=1e-4)
