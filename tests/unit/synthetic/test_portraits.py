"""A sitter's paint on other heads: where the head lies, the hair lies too; the same draw gives the same picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.synthetic import portraits


@pytest.fixture(scope="module")
def sitter() -> portraits.Sitter:
    return portraits.Sitter(7, load_head())


def test_hair_keeps_its_distance_from_scalps_of_other_shapes(sitter):
    rng = np.random.default_rng(0)
    person = sitter.person
    first = person.asset.vertex_count
    hair = slice(first, first + len(person.hair.vertices))
    scalp = torch.as_tensor(person.asset.region("scalp"))
    own = torch.cdist(torch.from_numpy(person.hair.vertices), sitter.neutral[scalp]).min(1).values
    params = HeadParameters.neutral(person.asset)
    params.shape = portraits.random_identity(rng, person.asset, 0.7)
    posed = sitter.pose(params, 0.0)
    with torch.no_grad():
        head = HeadModel(person.asset)(params).vertices[0]
    other = torch.cdist(posed.vertices[hair], head[scalp]).min(1).values
    assert float((head[scalp] - sitter.neutral[scalp]).norm(dim=-1).median()) > 0.003
    near = own < 0.03
    assert float((other - own)[near].abs().mean()) < 0.002


def test_bald_heads_show_their_scalp_where_hair_was(sitter):
    params = HeadParameters.neutral(sitter.asset)
    centre = sitter.model.landmarks(sitter.model(params).vertices)[0].mean(0)
    camera = portraits.place(np.random.default_rng(1), params, 0.2, 48, centre)
    backdrop = np.full((48, 48, 3), (0.0, 1.0, 0.0), np.float32)
    light = portraits.random_light(np.random.default_rng(2))
    usual, bald = (
        sitter.draw(params, 0.0, camera, light, backdrop, shadows=False, bald=bald) for bald in (False, True)
    )
    assert np.array_equal(usual.landmarks, bald.landmarks)
    assert not (bald.mask & ~usual.mask).any()  # nothing is added
    person = sitter.person
    first = person.asset.vertex_count
    hair = sitter.pose(params, 0.0, bald=True).vertices[first : first + len(person.hair.vertices)]
    head = sitter.model(params).vertices[0].detach()
    assert ((hair > head.amin(0)) & (hair < head.amax(0))).all()
    changed = (usual.image != bald.image).any(-1)
    assert 0.03 < changed[bald.mask].mean() < 0.6  # the scalp, not the face


def test_a_portrait_shows_the_face_at_its_landmarks(sitter):
    draws = []
    for _ in range(2):
        rng = np.random.default_rng(4)
        params = portraits.random_face(rng, sitter.asset)
        params.shape = portraits.random_identity(rng, sitter.asset, 0.5)
        centre = sitter.model.landmarks(sitter.model(HeadParameters.neutral(sitter.asset)).vertices)[0].mean(0)
        camera = portraits.place(rng, params, 0.3, 64, centre)
        backdrop = np.full((64, 64, 3), (0.0, 1.0, 0.0), np.float32)
        light = portraits.random_light(rng)
        draws.append(sitter.draw(params, 0.1, camera, light, backdrop, shadows=False))
    assert np.array_equal(draws[0].image, draws[1].image)
    inside = draws[0].landmarks
    assert ((inside > 0) & (inside < 64)).all()
    nose, lip = (draws[0].image[int(y), int(x)].astype(int) for x, y in inside[[4, 13]])
    assert nose[0] > nose[1]  # skin, not the green wall
    assert lip[0] > lip[1]
    assert tuple(draws[0].image[0, 0]) == (0, 255, 0)


def test_faces_stay_within_what_the_head_allows():
    asset, rng = load_head(), np.random.default_rng(1)
    drawn = [portraits.random_face(rng, asset) for _ in range(60)]
    expr = torch.cat([face.expr for face in drawn])
    assert float(expr.min()) >= 0
    assert float(expr.max()) <= 1
    assert float(expr.max(1).values.min()) < 0.3  # some at rest
    for name in portraits.LEFT_ALONE:
        assert not expr[:, asset.expression_index(name)].any()
