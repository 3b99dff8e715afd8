"""The displacement grids of the shipped head against trying every triangle, where it matters most: lips and lids."""

from dataclasses import replace

import pytest
import torch

from avatar.config import WarpConfig
from avatar.field.displacement import DisplacementGrids, morton_order
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.kernels.mesh import reference

FRAMES = 20


@pytest.fixture(scope="module")
def head():
    asset = load_head("open-head")
    return asset, HeadModel(asset)


@pytest.fixture(scope="module")
def grids(head):
    asset, model = head
    return DisplacementGrids(model, asset, HeadParameters.neutral(asset), WarpConfig())


def strong_expressions(asset) -> HeadParameters:
    """A third of all actions at up to 1.2, jaw open up to 20 degrees, eyes turned: lips pass each other."""
    generator = torch.Generator().manual_seed(5)
    params = HeadParameters.neutral(asset, FRAMES)
    size = params.expr.shape
    some = torch.rand(size, generator=generator) < 0.35
    jaw = torch.randn(FRAMES, 3, generator=generator) * 0.03
    jaw[:, 0] = torch.rand(FRAMES, generator=generator) * 0.35
    return replace(
        params,
        expr=1.2 * torch.rand(size, generator=generator) * some,
        jaw=jaw,
        eyes=torch.randn(FRAMES, 6, generator=generator) * 0.2,
    )


@pytest.mark.slow
def test_nodes_carry_the_motion_of_the_nearest_surface_point(head, grids):
    asset, model = head
    params = strong_expressions(asset)
    built = grids.build(params).double()
    layout, nodes = grids.layout, grids.layout.nodes()
    generator = torch.Generator().manual_seed(0)
    grid_of = torch.bucketize(layout.active, layout.offsets, right=True) - 1
    errors, largest = [[] for _ in layout.cell], 0.0
    for frame in range(FRAMES):
        posed = model(params.frame(frame)).vertices[0]
        for grid in range(len(layout.cell)):
            inside = layout.active[grid_of == grid]
            chosen = inside[torch.randperm(len(inside), generator=generator)[:40]]
            expected = reference.spread(
                posed, grids.faces, nodes[chosen], posed - grids.neutral, fade=0.04, reach=0.055
            )
            errors[grid].append((built[frame, chosen] - expected).norm(dim=1))
            largest = max(largest, float(expected.norm(dim=1).max()))
    assert len(errors) == 4
    assert largest > 0.02  # metres: the expressions are strong
    for found in errors:
        found = torch.cat(found)
        # half precision rounds 2 cm to 8 micrometres; two nearest points at one distance may differ by more
        assert float(found.mean()) < 5e-6
        assert float((found > 2e-5).double().mean()) < 2e-3


def test_between_parted_lips_each_half_follows_its_own_lip(head, grids):
    """Nodes right at the upper lip stay as it does, those at the lower lip go down with the jaw."""
    asset, model = head
    params = replace(HeadParameters.neutral(asset), jaw=torch.tensor([[0.3, 0.0, 0.0]]))
    posed = model(params).vertices[0]
    moved = posed - grids.neutral
    lips = torch.as_tensor(asset.region("lips"))
    falls = moved[:, 1] < -0.5 * moved[lips, 1].abs().max()
    assert 10 < int((lips & falls).sum()) < int(lips.sum()) - 10
    built = grids.build(params)[0].float()
    nodes, active = grids.layout.nodes(), grids.layout.active
    mouth = active[(active >= grids.layout.offsets[1]) & (active < grids.layout.offsets[2])]
    for moving in (True, False):
        own = posed[lips & (falls if moving else moved[:, 1].abs() < 0.001)]
        distance = torch.cdist(nodes[mouth], own).amin(1)
        other = torch.cdist(nodes[mouth], posed[falls if not moving else ~falls]).amin(1)
        close = (distance < 0.002) & (other > 0.006)
        assert int(close.sum()) > 5
        drop = built[mouth[close], 1]
        assert (drop < -0.008).all() if moving else (drop.abs() < 0.002).all()


def test_the_neutral_head_is_not_displaced_and_inactive_nodes_never(head, grids):
    asset, _ = head
    still = grids.build(HeadParameters.neutral(asset))
    assert (still == 0).all()
    built = grids.build(strong_expressions(asset).select([0, 1]))
    inactive = torch.ones(grids.layout.size, dtype=torch.bool)
    inactive[grids.layout.active] = False
    assert (built[:, inactive] == 0).all()
    assert (built[:, ~inactive] != 0).any(-1).float().mean() > 0.5


def test_active_nodes_are_ordered_in_space(grids):
    """Sixteen neighbours in the list fill a small block: on average within four cells of each other."""
    keys = morton_order(grids.layout)
    assert len(keys.unique()) == grids.layout.size
    nodes = grids.active_nodes[grids.layout.active >= grids.layout.offsets[1]]
    packets = nodes[: len(nodes) // 16 * 16].view(-1, 16, 3)
    spread = (packets.amax(1) - packets.amin(1)).amax(-1) / 0.0025
    assert float(spread.median()) <= 4
