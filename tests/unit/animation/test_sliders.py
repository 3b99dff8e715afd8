"""Every expression has one slider, under a region and a name that people understand."""

from types import SimpleNamespace

import pytest
import torch

from avatar.animation.expressions import JOINT_CONTROLS, PRESETS, expression_vector
from avatar.animation.sliders import OTHER, TITLES, label_of, preset_amounts, slider_groups
from avatar.flame.library import load_head


def numbered(count):
    return SimpleNamespace(expression_names=tuple(f"expr_{i:03d}" for i in range(count)))


@pytest.mark.parametrize("asset", [load_head(), numbered(100)], ids=["open head", "imported head"])
def test_every_expression_has_one_slider(asset):
    groups = slider_groups(asset)
    names = [slider.name for sliders in groups.values() for slider in sliders]
    extra = [name for name in JOINT_CONTROLS if name not in asset.expression_names]
    assert sorted(names) == sorted([*asset.expression_names, *extra])
    labels = [slider.label for sliders in groups.values() for slider in sliders]
    assert len(set(labels)) == len(labels)
    assert set(groups) <= {*TITLES.values(), OTHER}


def test_the_open_head_needs_no_region_for_the_rest():
    groups = slider_groups(load_head())
    assert list(groups) == ["Brows", "Eyes", "Gaze", "Cheeks and nose", "Jaw", "Mouth"]
    assert {slider.name for slider in groups["Jaw"]} == {"jawForward", "jawLeft", "jawOpen", "jawRight"}
    assert len(groups["Gaze"]) == 12
    assert all((slider.low, slider.high) == (0.0, 1.0) for sliders in groups.values() for slider in sliders)


def test_numbered_directions_go_both_ways():
    slider = slider_groups(numbered(3))["Other"][0]
    assert (slider.low, slider.high) == (-2.0, 2.0)


@pytest.mark.parametrize(
    ("name", "label"),
    [("eyeBlinkLeft", "Eye shut, left"), ("mouthLeft", "Mouth to the left"), ("browInnerUp", "Inner brows up")],
)
def test_names_people_understand(name, label):
    assert label_of(name) == label


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_presets_sliders_add_up_to_it(preset):
    asset = load_head()
    amounts = preset_amounts(preset, asset.expression_names)
    known = {slider.name for sliders in slider_groups(asset).values() for slider in sliders}
    assert set(amounts) <= known
    found, wanted = expression_vector(amounts, asset), expression_vector({preset: 1.0}, asset)
    assert all(torch.equal(getattr(found, part), getattr(wanted, part)) for part in ("expr", "jaw", "eyes"))
