"""Transfer of a live driver: relative to its first second, frame by frame, without a look ahead."""

import dataclasses

import pytest
import torch

from avatar.animation.live_transfer import LiveTransfer, steadied
from avatar.animation.options import Retarget
from avatar.animation.transfer import OWN_FPS, gauge_of, neutral_of, transfer_expression
from avatar.base.errors import ConfigError
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters


@pytest.fixture(scope="module")
def head():
    return load_head()


def clip(head, seed, frames=30):
    generator = torch.Generator().manual_seed(seed)
    params = HeadParameters.neutral(head, frames)
    return dataclasses.replace(
        params,
        expr=0.5 * torch.rand(params.expr.shape, generator=generator),
        jaw=0.2 * torch.rand(params.jaw.shape, generator=generator) * torch.tensor([1.0, 0.0, 0.0]),
        rotation=0.1 * torch.randn(params.rotation.shape, generator=generator),
        translation=0.01 * torch.randn(params.translation.shape, generator=generator),
    )


@pytest.fixture(scope="module")
def own(head):
    return clip(head, 1)


def held(frame, count=25):
    return frame.select(torch.zeros(count, dtype=torch.long))


def test_a_driver_who_stays_neutral_shows_the_avatars_own_neutral(head, own):
    transfer = LiveTransfer(own, head)
    still = clip(head, 2).frame(4)
    transfer.calibrate(held(still))
    shown, neutral = transfer(still), neutral_of(own, head, gauge_of(head), OWN_FPS)
    assert torch.allclose(shown.expr[0], neutral.expr, atol=1e-5)
    assert torch.allclose(shown.jaw[0], neutral.jaw, atol=1e-5)
    assert torch.equal(shown.shape, own.shape)
    rest = own.translation.mean(0)
    assert torch.allclose(shown.translation[0], rest, atol=1e-6)


def test_a_blink_and_a_word_in_the_first_second_are_not_neutral(head, own):
    watched = held(HeadParameters.neutral(head, 1))
    lid = head.expression_index("eyeBlinkLeft")
    watched.expr[3:7, lid] = 1.0
    watched.jaw[10:18, 0] = 0.3
    transfer = LiveTransfer(own, head)
    transfer.calibrate(watched)
    shown = transfer(HeadParameters.neutral(head, 1))
    neutral = neutral_of(own, head, gauge_of(head), OWN_FPS)
    assert torch.allclose(shown.expr[0], neutral.expr, atol=1e-5)
    assert torch.allclose(shown.jaw[0], neutral.jaw, atol=1e-5)


def test_it_is_the_transfer_of_reanimate(head, own):
    """A clip that holds the neutral first gives the same expressions, apart from how noise is filtered."""
    neutral = HeadParameters.neutral(head, 1)
    acted = clip(head, 3, 10)
    whole = HeadParameters.concatenate([held(neutral, 200), acted])
    settings = Retarget("relative", None, "mouth=0.5")
    reference = transfer_expression(own, whole, head, settings, gauge=gauge_of(head), relative=True, fps=25.0).select(
        torch.arange(200, 210)
    )
    transfer = LiveTransfer(own, head, settings)
    transfer.calibrate(held(neutral))
    for number in range(10):  # from these it learns how far the driver's lids close
        transfer._last = None  # without what the filter keeps of the frame before
        transfer(acted.frame(number))
    for number in range(10):
        transfer._last = None
        shown = transfer(acted.frame(number))
        assert torch.allclose(shown.expr, reference.expr[number : number + 1], atol=1e-5)
        assert torch.allclose(shown.jaw, reference.jaw[number : number + 1], atol=1e-5)


def test_the_head_moves_relative_to_the_first_second_within_the_clips_range(head, own):
    transfer = LiveTransfer(own, head)
    start = clip(head, 2).frame(0)
    transfer.calibrate(held(start))
    at_rest = transfer(start).rotation
    turned = dataclasses.replace(start, rotation=start.rotation + torch.tensor([[0.0, 0.05, 0.0]]))
    transfer._last = None
    assert float((transfer(turned).rotation - at_rest)[0, 1]) == pytest.approx(0.05, abs=0.01)
    far = dataclasses.replace(start, rotation=torch.tensor([[0.0, 1.5, 0.0]]))
    assert float(transfer(far).rotation.norm()) < 0.7
    still = LiveTransfer(own, head, Retarget(head_motion="still"))
    still.calibrate(held(start))
    assert torch.equal(still(start).rotation, still(far).rotation)


def test_a_new_neutral_takes_effect_at_once(head, own):
    transfer = LiveTransfer(own, head)
    transfer.calibrate(held(HeadParameters.neutral(head, 1)))
    smiling = clip(head, 5).frame(0)
    before = transfer(smiling).expr
    transfer.calibrate(held(smiling))
    neutral = neutral_of(own, head, gauge_of(head), OWN_FPS).expr
    assert torch.allclose(transfer(smiling).expr[0], neutral, atol=1e-5)
    assert not torch.allclose(before[0], neutral, atol=0.05)


def test_small_changes_are_damped_large_ones_are_not(head):
    last = HeadParameters.neutral(head, 1)
    expr = last.expr.clone()
    expr[0, 0], expr[0, 1] = 0.01, 0.8
    shown = steadied(dataclasses.replace(last, expr=expr), last)
    assert float(shown.expr[0, 0]) == pytest.approx(0.003, abs=1e-3)
    assert float(shown.expr[0, 1]) == pytest.approx(0.8, abs=0.01)
    frame = dataclasses.replace(last, expr=expr)
    for _ in range(20):
        shown = steadied(frame, shown)
    assert torch.allclose(shown.expr, expr, atol=1e-4), "what stays is reached"
    assert steadied(frame, None) is frame


def test_noise_at_rest_shrinks(head):
    generator = torch.Generator().manual_seed(0)
    neutral = HeadParameters.neutral(head, 1)
    last, shown, given = None, [], []
    for _ in range(100):
        frame = dataclasses.replace(neutral, expr=0.02 * torch.randn(neutral.expr.shape, generator=generator))
        last = steadied(frame, last)
        shown.append(last.expr)
        given.append(frame.expr)
    assert torch.cat(shown).diff(dim=0).std() < 0.5 * torch.cat(given).diff(dim=0).std()


@pytest.mark.parametrize("settings", [Retarget(head_motion="avatar"), Retarget("absolute"), Retarget(gain="nose=1")])
def test_settings_that_cannot_be(head, own, settings):
    with pytest.raises(ConfigError):
        LiveTransfer(own, head, settings)


def test_a_drivers_blink_that_is_tracked_as_weak_shuts_the_avatars_lids_once_it_was_seen(head, own):
    """Its lids are shut with 0.6 and other actions; before the first blink nobody knows, and half a blink stays one."""
    names = ("eyeBlinkLeft", "eyeBlinkRight", "eyeSquintLeft", "eyeSquintRight")
    lids = [head.expression_index(name) for name in names[:2]]
    own = HeadParameters.neutral(head, 30)
    frames = {}
    for name, amounts in {"half": (0.4, 0.4, 0.0, 0.0), "shut": (0.6, 0.6, 0.5, 0.5)}.items():
        frames[name] = HeadParameters.neutral(head, 1)
        for action, amount in zip(names, amounts, strict=True):
            frames[name].expr[0, head.expression_index(action)] = amount
    transfer = LiveTransfer(own, head)
    transfer.calibrate(held(HeadParameters.neutral(head, 1)))
    assert transfer(frames["half"]).expr[0, lids].tolist() == pytest.approx([0.4, 0.4], abs=0.01)
    transfer._last = None
    assert transfer(frames["shut"]).expr[0, lids].tolist() == pytest.approx([1, 1], abs=0.01)
