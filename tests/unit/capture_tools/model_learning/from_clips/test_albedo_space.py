"""The albedo of people: hair and wrong light in a clip do not become skin, and what was hidden is completed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar.base.errors import HeadModelError
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from capture_tools.model_learning.from_clips.albedo import SeenAlbedo
from capture_tools.model_learning.from_clips.albedo_space import (
    AlbedoSpace,
    albedo_arrays,
    albedo_from_head,
    complete,
    learn_albedo,
    normal_harmonics,
    weighted_median,
)
from capture_tools.model_learning.from_clips.learning import with_albedo

PEOPLE, HELD_OUT = 30, 5


@pytest.fixture(scope="module")
def asset() -> HeadAsset:
    return load_head()


@pytest.fixture(scope="module")
def people(asset: HeadAsset) -> tuple[list[SeenAlbedo], Tensor, Tensor]:
    """What clips show of people, their true albedos `[N, P, 3]`, and where hair covered them `[N, P]`."""
    rng = np.random.default_rng(3)
    harmonics = normal_harmonics(asset)
    count = len(harmonics)
    mean = torch.as_tensor(0.2 * np.sin(np.arange(count) / 7))[:, None].expand(-1, 3)
    direction = torch.as_tensor(0.06 * np.sin(np.arange(count) / 31))[:, None].expand(-1, 3)
    shown, true, hair = [], [], []
    for _ in range(PEOPLE + HELD_OUT):
        albedo = (mean + rng.standard_normal() * direction).exp()
        light = (harmonics[:, 1:] @ torch.as_tensor(0.1 * rng.standard_normal((3, 3)))).exp()
        covered = torch.as_tensor((np.arange(count) + rng.integers(count)) % count < count // 6)
        seen = torch.as_tensor((np.arange(count) + rng.integers(count)) % count > count // 8).double()
        colours = torch.where(covered[:, None], torch.full_like(albedo, 0.15), albedo * light)
        colours = torch.where(seen[:, None] > 0, colours, torch.full_like(colours, 5.0))
        shown.append(SeenAlbedo(colours, seen, torch.ones(3, dtype=torch.float64)))
        true.append(albedo)
        hair.append(covered)
    return shown, torch.stack(true), torch.stack(hair)


@pytest.fixture(scope="module")
def space(people: tuple[list[SeenAlbedo], Tensor, Tensor], asset: HeadAsset) -> AlbedoSpace:
    return learn_albedo(people[0][:PEOPLE], asset, 1)


def test_hair_and_light_stay_out_of_the_mean(space: AlbedoSpace, people, asset: HeadAsset) -> None:
    true = people[1].log()[:PEOPLE].mean(0)
    off = (space.mean - true)[..., 0]
    off = off - off.median()
    assert off.abs().quantile(0.95) < 0.07
    shown = torch.stack([person.linear for person in people[0][:PEOPLE]]).clamp_min(0.01).log()
    plain = (shown.mean(0) - true)[..., 0]
    assert (plain - plain.median()).abs().quantile(0.95) > 0.2  # what a plain mean makes of the same people


def test_a_person_is_completed_where_hair_or_nothing_was_seen(space: AlbedoSpace, people) -> None:
    shown, true, hair = (part[PEOPLE:] for part in people)
    for person, albedo, covered in zip(shown, true, hair, strict=True):
        ratio = (complete(person, space) / albedo).log()[..., 0]
        ratio = ratio - ratio.median()  # one gain is free
        for place in (covered, person.seen == 0, ~covered & (person.seen > 0)):
            assert ratio[place].abs().median() < 0.055


def test_the_space_travels_with_the_head(space: AlbedoSpace, people, asset: HeadAsset) -> None:
    head = with_albedo(asset, space, "learned")
    assert set(albedo_arrays(space, asset)) <= set(head.extras)
    again = albedo_from_head(head)
    person = people[0][-1]
    assert torch.allclose(complete(person, again), complete(person, space), rtol=1e-4)
    with pytest.raises(HeadModelError, match="has no albedo"):
        albedo_from_head(asset)


def test_a_median_counts_weights() -> None:
    values = torch.tensor([3.0, 1.0, 2.0, 9.0]).reshape(4, 1, 1).double()
    for weights, expected in (((1, 1, 1, 0), 2.0), ((0, 0, 1, 3), 9.0), ((5, 1, 1, 1), 3.0), ((0, 0, 0, 0), 1.0)):
        assert weighted_median(values, torch.tensor(weights).double()[:, None]).item() == expected
