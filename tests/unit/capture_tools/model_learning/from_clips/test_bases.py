"""Displacements of people: without size and place, off the expressions."""

from __future__ import annotations

import pytest
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from capture_tools.model_learning.from_clips.bases import (
    expression_span,
    largest_cosine,
    off_span,
    vertex_areas,
    without_similarity,
)


@pytest.fixture(scope="module")
def asset() -> HeadAsset:
    return load_head()


def test_the_areas_of_vertices_are_those_of_the_mesh(asset: HeadAsset) -> None:
    vertices, faces = torch.as_tensor(asset.template).double(), torch.as_tensor(asset.faces).long()
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    whole = torch.linalg.cross(b - a, c - a).norm(dim=1).sum() / 2
    assert vertex_areas(asset).sum().item() == pytest.approx(whole.item())


def test_a_moved_and_grown_head_is_the_same_person(asset: HeadAsset) -> None:
    template = torch.as_tensor(asset.template).double()
    weights = vertex_areas(asset) * torch.as_tensor(asset.region("face"))
    axis = torch.tensor([0.01, -0.02, 0.005], dtype=torch.float64).expand_as(template)
    moved = 0.03 * template + torch.linalg.cross(axis, template) + torch.tensor([0.01, 0.0, -0.02])
    own = 0.002 * torch.sin(80 * template)
    alone, both = (without_similarity(one[None], template, weights)[0] for one in (own, own + moved))
    assert (alone - both).abs().max() < 1e-9
    assert alone.norm() > 0.5 * own.norm()


@pytest.mark.parametrize("share", [0.95, 1.0])
def test_what_is_projected_is_orthogonal_to_the_expressions(asset: HeadAsset, share: float) -> None:
    areas = vertex_areas(asset)
    span = expression_span(asset, areas, share)
    identity = torch.as_tensor(asset.shapedirs[..., :6]).double().permute(2, 0, 1)
    assert largest_cosine(identity, span, areas) > 0.05
    assert largest_cosine(off_span(identity, span, areas), span, areas) < 1e-7


def test_the_whole_span_holds_every_expression(asset: HeadAsset) -> None:
    areas = vertex_areas(asset)
    expressions = torch.as_tensor(asset.exprdirs).double().permute(2, 0, 1)
    left = off_span(expressions, expression_span(asset, areas, 1.0), areas)
    assert torch.einsum("v,nvd,nvd->n", areas, left, left).sqrt().max() < 1e-6
    assert len(expression_span(asset, areas, 0.9)) < len(expression_span(asset, areas, 1.0))
