"""Transfer of expressions: from neutral to neutral, by region, never half shut, within limits."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from avatar.animation.expressions import jaw_open_angle
from avatar.animation.options import Retarget
from avatar.animation.transfer import (
    BEYOND,
    BOUND,
    GAZE,
    GAZE_SLACK,
    OPENING,
    REGIONS,
    SLACK,
    bent,
    gauge_of,
    neutral_of,
    parse_gains,
    region_of,
    transfer_expression,
)
from avatar.base.errors import ConfigError
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters

FPS = 25.0


@pytest.fixture(scope="module")
def head() -> HeadAsset:
    return load_head()


def clip(head: HeadAsset, rest: dict[str, float], peaks: dict[str, float], frames: int = 60) -> HeadParameters:
    """Mostly at rest; in the last quarter each action of `peaks` is reached, one frame in two."""
    params = HeadParameters.neutral(head, frames)
    for name, value in rest.items():
        params.expr[:, head.expression_index(name)] = value
    for name, value in peaks.items():
        params.expr[-frames // 4 :: 2, head.expression_index(name)] = value
    return params


def moved(head: HeadAsset, avatar: HeadParameters, driver: HeadParameters, **settings) -> HeadParameters:
    return transfer_expression(avatar, driver, head, Retarget(**settings), gauge=gauge_of(head), relative=True, fps=FPS)


def test_a_driver_at_rest_leaves_the_avatar_at_rest(head: HeadAsset) -> None:
    """Whatever the two faces are like at rest: landmarks move less than 2 % of the distance between the eyes."""
    avatar = clip(head, {"mouthFrownLeft": 0.2, "eyeBlinkLeft": 0.1, "eyeBlinkRight": 0.1}, {"jawOpen": 0.8})
    driver = clip(head, {"mouthSmileLeft": 0.3, "mouthSmileRight": 0.3, "browInnerUp": 0.4}, {})
    driven = moved(head, avatar, driver)
    own = neutral_of(avatar, head, gauge_of(head), FPS)
    model = HeadModel(head)
    at_rest = dataclasses.replace(avatar.select([0]), expr=own.expr[None], jaw=own.jaw[None], eyes=own.eyes[None])
    shown = dataclasses.replace(driven.select([5]), shape=avatar.shape)
    points = [model.landmarks(model(params).vertices)[0] for params in (at_rest, shown)]
    eyes = float((points[0][33] - points[0][263]).norm())
    assert float((points[1] - points[0]).norm(dim=-1).max()) < 0.02 * eyes
    plain = transfer_expression(avatar, driver, head, Retarget(), gauge=gauge_of(head), relative=False, fps=FPS)
    torch.testing.assert_close(plain.expr, driver.expr)


def test_what_changes_is_carried_over(head: HeadAsset) -> None:
    avatar = clip(head, {"mouthFrownLeft": 0.2}, {})
    driver = clip(head, {"mouthSmileLeft": 0.3}, {"mouthSmileLeft": 0.9, "jawRight": 0.5})
    driven = moved(head, avatar, driver)
    row = int(driver.expr[:, head.expression_index("jawRight")].argmax())
    for name, value in (("mouthSmileLeft", 0.6), ("jawRight", 0.5), ("mouthFrownLeft", 0.2), ("jawLeft", 0.0)):
        assert float(driven.expr[row, head.expression_index(name)]) == pytest.approx(value, abs=1e-5), name


def test_a_blink_closes_the_avatars_lids(head: HeadAsset) -> None:
    """A driver with wide open lids and one with heavy ones, shut, shut the lids of an avatar with others."""
    lid = head.expression_index("eyeBlinkLeft")
    avatar = clip(head, {"eyeBlinkLeft": 0.15}, {})
    for rest in (0.0, 0.3):
        driver = clip(head, {"eyeBlinkLeft": rest}, {"eyeBlinkLeft": 1.0})
        driven = moved(head, avatar, driver)
        assert float(driven.expr[:, lid].max()) == pytest.approx(1.0, abs=1e-4)
        assert float(driven.expr[0, lid]) == pytest.approx(0.15, abs=1e-5)


def test_tracked_blinks_that_are_not_quite_shut_shut_the_avatars_lids(head: HeadAsset) -> None:
    """One lid of the driver is tracked at 0.84, the other at 0.95; both of the avatar's are shut at 0.97 and 1."""
    lids = [head.expression_index(f"eyeBlink{side}") for side in ("Left", "Right")]
    avatar = clip(head, {"eyeBlinkLeft": 0.1, "eyeBlinkRight": 0.05}, {"eyeBlinkLeft": 0.97, "eyeBlinkRight": 1.0})
    driver = clip(head, {"eyeBlinkLeft": 0.04, "eyeBlinkRight": 0.2}, {"eyeBlinkLeft": 0.84, "eyeBlinkRight": 0.95})
    driven = moved(head, avatar, driver).expr[:, lids]
    assert driven.amax(0).tolist() == pytest.approx([0.97, 1.0], abs=1e-4)
    assert driven[0].tolist() == pytest.approx([0.1, 0.05], abs=1e-5)
    assert driven[1:40].amax(0).tolist() == pytest.approx([0.1, 0.05], abs=1e-5)


def test_a_blink_at_half_mast_stays_one(head: HeadAsset) -> None:
    lid = head.expression_index("eyeBlinkLeft")
    driver = clip(head, {}, {"eyeBlinkLeft": 0.5})
    assert float(moved(head, clip(head, {}, {}), driver).expr[:, lid].max()) == pytest.approx(0.5, abs=1e-4)


def test_a_blink_in_the_calmest_frames_is_not_the_neutral(head: HeadAsset) -> None:
    """Of avatar and driver: else lids would be half shut all the time."""
    lid = head.expression_index("eyeBlinkLeft")
    blinking = clip(head, {"eyeBlinkLeft": 0.1}, {})
    blinking.jaw[10:, 0] = 0.1  # talks all the time but in the first frames, in which it blinks
    blinking.expr[:10, lid] = 1.0
    open_eyed = clip(head, {"eyeBlinkLeft": 0.1}, {"eyeBlinkLeft": 1.0})
    for avatar, driver in ((blinking, open_eyed), (open_eyed, blinking)):
        driven = moved(head, avatar, driver).expr[:, lid]
        assert float(driven[20]) == pytest.approx(0.1, abs=1e-5)
        assert float(driven.max()) == pytest.approx(1.0, abs=1e-4)


def opening(head: HeadAsset, params: HeadParameters) -> torch.Tensor:
    return params.jaw[:, 0] / jaw_open_angle(head) + params.expr[:, head.expression_index("jawOpen")]


def test_a_mouth_opens_little_further_than_in_the_avatars_clip(head: HeadAsset) -> None:
    """Where the driver's opens by twice as much, by whichever means; and in the proportion that the field knows."""
    direction, angle = head.expression_index("jawOpen"), jaw_open_angle(head)
    avatar, driver = clip(head, {}, {}), clip(head, {}, {})
    avatar.jaw[:20, 0] = 0.5 * angle
    driver.jaw[10, 0], driver.expr[11, direction] = 1.3 * angle, 1.3
    driver.jaw[12, 0], driver.expr[12, direction] = 1.0 * angle, 1.0
    driver.jaw[13, 0] = 0.5 * angle
    driver.jaw[14:30, 0] = torch.linspace(0, 1.5 * angle, 16)
    driven = moved(head, avatar, driver)
    found = opening(head, driven)
    assert float(found.max()) < BEYOND * 0.5 + 1e-4
    assert float(found[10:13].min()) > 1.3 * 0.5
    assert float(driven.expr[12, direction]) == pytest.approx(0, abs=1e-5)  # all of it in the joint, as in the clip
    assert float(found[13]) == pytest.approx(0.5, abs=1e-4)
    steps = found[14:30].diff()
    assert float(steps.min()) > 0  # still rises with the driver's
    assert float(steps.max()) < 0.11
    assert float(found[14:20].sub(torch.linspace(0, 1.5, 16)[:6]).abs().max()) < 1e-4


def test_gaze_stays_within_what_an_eye_can(head: HeadAsset) -> None:
    driver = clip(head, {}, {})
    driver.eyes[50, :] = torch.tensor([0.0, 0.3, 0.0, 0.0, -2.0, 0.0])
    found = moved(head, clip(head, {}, {}), driver).eyes[50]
    assert float(found[1]) == pytest.approx(0.3)
    assert -GAZE - GAZE_SLACK <= float(found[4]) < -GAZE


def test_the_neutral_is_found_or_given(head: HeadAsset) -> None:
    driver = clip(head, {"mouthSmileLeft": 0.2}, {"mouthSmileLeft": 0.9}, frames=100)
    driver.expr[:70, head.expression_index("jawOpen")] = 0.5  # talking for most of the time
    found = neutral_of(driver, head, gauge_of(head), FPS)
    assert float(found.expr[head.expression_index("jawOpen")]) == 0
    assert float(found.expr[head.expression_index("mouthSmileLeft")]) == pytest.approx(0.2)
    given = neutral_of(driver, head, gauge_of(head), FPS, 1.0)
    assert float(given.expr[head.expression_index("jawOpen")]) == 0.5
    with pytest.raises(ConfigError, match="outside the driver"):
        neutral_of(driver, head, gauge_of(head), FPS, 4.0)


def test_gains_scale_their_region_alone(head: HeadAsset) -> None:
    avatar = clip(head, {}, {})
    driver = clip(head, {}, {"mouthSmileLeft": 0.5, "browInnerUp": 0.5, "cheekPuff": 0.4})
    driver.jaw[-1, 0] = 0.1
    driven = moved(head, avatar, driver, gain="all=0.5,mouth=1.5,jaw=2")
    for name, value in (("mouthSmileLeft", 0.75), ("browInnerUp", 0.25), ("cheekPuff", 0.2)):
        assert float(driven.expr[:, head.expression_index(name)].max()) == pytest.approx(value, abs=1e-5), name
    assert float(driven.jaw[-1, 0]) == pytest.approx(0.2, abs=0.01)  # twice the gap, which is nearly twice the angle
    assert {region_of(name) for name in head.expression_names} == set(REGIONS) - {"head"}


@pytest.mark.parametrize("text", ["mouth", "mouth=much", "ears=1", "mouth=9", "all=nan"])
def test_gains_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="gain"):
        parse_gains(text)


def test_limits_are_soft() -> None:
    values = torch.tensor([0.0, 0.5, BOUND, BOUND + 0.05, 5.0, -3.0])
    found = bent(values, BOUND, SLACK)
    assert found[:3].tolist() == pytest.approx([0.0, 0.5, BOUND])
    assert BOUND < float(found[3]) < BOUND + 0.05
    assert float(found[4]) == pytest.approx(BOUND + SLACK, abs=1e-3)
    assert float(found[5]) == pytest.approx(-SLACK, abs=1e-3)


def test_the_jaw_never_opens_further_than_a_mouth_can(head: HeadAsset) -> None:
    avatar, driver = clip(head, {}, {}), clip(head, {}, {})
    driver.jaw[3, 0] = 2.0
    assert float(moved(head, avatar, driver).jaw.max()) < 1.2 * OPENING
