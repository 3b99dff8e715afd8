"""The ray march's kernel against its PyTorch twin, and both against places known by hand."""

import pytest
import torch

from avatar.base.errors import ConfigError
from avatar.kernels.march.op import march
from avatar.kernels.march.reference import interpolate_grids, lookup
from avatar.kernels.march.types import MarchMotion, MarchSpace

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")])


def rotation(axis_angle):
    return torch.linalg.matrix_exp(torch.linalg.cross(torch.eye(3), torch.tensor(axis_angle).expand(3, 3)).T)


def make_case(seed: int = 0, frames: int = 3, rays: int = 400):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    counts = (14, 12, 10)
    space = MarchSpace(
        low=torch.tensor([-0.35, -0.3, -0.25]),
        cell=torch.tensor([0.05, 0.05, 0.05]),
        counts=counts,
        neck=(-0.05, -0.15),
        skull_from_canonical=torch.eye(4),
    )
    space.skull_from_canonical[:3, :3] = rotation([0.1, 0.3, -0.2])
    space.skull_from_canonical[:3, 3] = torch.tensor([0.01, -0.02, 0.03])
    matrices = torch.stack(
        [torch.cat([rotation([0.2 * i, -0.1 * i, 0.3]), rand(3, 1) * 0.1 - 0.05], 1) for i in range(frames)]
    )
    height = torch.cat(
        [torch.nn.functional.normalize(rand(frames, 3) + torch.tensor([0.0, 2.0, 0.0])), rand(frames, 1) * 0.1], 1
    )
    grid_counts = torch.tensor([[8, 9, 7], [6, 5, 4]])
    nodes = int(grid_counts.prod(-1).sum())
    motion = MarchMotion(
        canonical_from_world=matrices,
        height=height,
        grids=((rand(frames, nodes, 3) - 0.5) * 0.06).half(),
        grid_origin=torch.tensor([[-0.2, -0.2, -0.15], [-0.06, -0.04, -0.03]]),
        grid_cell=torch.tensor([0.05, 0.02]),
        grid_counts=grid_counts,
        grid_offsets=torch.tensor([0, int(grid_counts[0].prod())]),
    )
    origins = torch.tensor([0.0, 0.0, 1.0]) + 0.02 * rand(rays, 3)
    directions = torch.nn.functional.normalize((rand(rays, 3) - 0.5) * 0.5 - origins, dim=-1)
    arguments = {
        "frame": torch.randint(frames, (rays,), generator=generator),
        "near": 0.6 + 0.1 * rand(rays),
        "far": 1.3 + 0.2 * rand(rays),
        "step": 0.02,
        "offset": rand(rays),
        "dilated": rand(*counts) < 0.8,
        "occupied": rand(*counts) < 0.4,
        "max_samples": 6,
    }
    return space, motion, origins, directions, arguments


def to(device, *parts):
    moved = []
    for part in parts:
        if isinstance(part, dict):
            moved.append({k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in part.items()})
        elif isinstance(part, torch.Tensor):
            moved.append(part.to(device))
        else:
            moved.append(type(part)(**to(device, vars(part))[0]))
    return moved


def compare(parts, device="cpu", **sizes):
    """The kernel's samples are the twin's, which are returned."""
    space, motion, origins, directions, arguments = make_case(**sizes)
    if parts != "all":
        motion.grids = None
    if parts == "no motion":
        motion.canonical_from_world = motion.height = None
    twin = march(space, motion, origins, directions, **arguments, backend="torch")
    space, motion, origins, directions, arguments = to(device, space, motion, origins, directions, arguments)
    found = march(space, motion, origins, directions, **arguments, backend="warp")
    # a sample on the very border of a cell may round either way: few rays may differ
    differing = found.count.cpu() != twin.count
    assert int(differing.sum()) <= len(differing) // 200
    same = ~differing
    kept, twin_kept = same[found.ray.cpu()], same[twin.ray]
    torch.testing.assert_close(found.depth.cpu()[kept], twin.depth[twin_kept], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.displacement.cpu()[kept], twin.displacement[twin_kept], atol=1e-5, rtol=0)
    return twin


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("parts", ["all", "no grids", "no motion"])
def test_kernel_matches_its_twin(device, parts):
    twin = compare(parts, device)
    assert 1 < float(twin.count.float().mean()) < 6
    assert int(twin.count.max()) == 6
    if parts == "all":
        assert float(twin.displacement.norm(dim=-1).mean()) > 0.003


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize(("rays", "frames"), [(0, 1), (1, 1), (127, 2), (129, 5), (2000, 1)])
def test_any_number_of_rays_and_frames_agrees(device, rays, frames):
    twin = compare("all", device, rays=rays, frames=frames, seed=rays)
    assert len(twin.count) == rays
    assert int(twin.count.sum()) == len(twin.depth) == len(twin.displacement)


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_a_straight_ray_through_one_cell(backend):
    space = MarchSpace(torch.zeros(3), torch.full((3,), 0.1), (4, 4, 4), (0.0, -1.0), torch.eye(4))
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[1, 2, 3] = True  # x 0.1..0.2, y 0.2..0.3, z 0.3..0.4
    found = march(
        space,
        MarchMotion(None, None, None),
        torch.tensor([[0.15, 0.25, 1.0], [0.25, 0.25, 1.0]]),
        torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, -1.0]]),
        torch.zeros(2, dtype=torch.int64),
        torch.tensor([0.5, 0.5]),
        torch.tensor([1.2, 1.2]),
        step=0.03,
        offset=torch.tensor([0.5, 0.5]),
        dilated=torch.ones_like(occupied),
        occupied=occupied,
        max_samples=8,
        backend=backend,
    )
    assert found.count.tolist() == [4, 0]
    torch.testing.assert_close(found.depth, torch.tensor([0.605, 0.635, 0.665, 0.695]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_the_head_moves_and_what_is_below_the_neck_does_not(backend):
    """Frame 0 has moved 0.2 along x: an occupied cell is met 0.2 further, but only above the neck."""
    space = MarchSpace(torch.full((3,), -0.5), torch.full((3,), 0.1), (10, 10, 10), (0.0, -0.1), torch.eye(4))
    occupied = torch.zeros(10, 10, 10, dtype=torch.bool)
    occupied[5, :, 5] = True  # x 0..0.1, z 0..0.1, every height
    matrix = torch.eye(4)[None, :3].clone()
    matrix[0, 0, 3] = -0.2
    origins = torch.tensor([[0.25, 0.3, 1.0], [0.05, 0.3, 1.0], [0.25, -0.3, 1.0], [0.05, -0.3, 1.0]])
    found = march(
        space,
        MarchMotion(matrix, torch.tensor([[0.0, 1.0, 0.0, 0.0]]), None),
        origins,
        torch.tensor([[0.0, 0.0, -1.0]]).expand(4, 3),
        torch.zeros(4, dtype=torch.int64),
        torch.full((4,), 0.5),
        torch.full((4,), 1.5),
        step=0.02,
        offset=torch.full((4,), 0.5),
        dilated=torch.ones_like(occupied),
        occupied=occupied,
        max_samples=8,
        backend=backend,
    )
    assert found.count.tolist() == [5, 0, 0, 5]


def test_interpolation_is_exact_for_linear_motion_and_prefers_the_finer_grid():
    counts = torch.tensor([[5, 6, 7], [4, 4, 4]])
    origin, cell = torch.tensor([[-0.2, -0.2, -0.2], [-0.05, -0.05, -0.05]]), torch.tensor([0.1, 0.03])
    values = []
    for index in range(2):
        axes = [torch.arange(int(n)) * cell[index] + origin[index, i] for i, n in enumerate(counts[index])]
        nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        values.append(nodes * torch.tensor([1.0, -0.5, 2.0]) + 0.25 * index)
    motion = MarchMotion(None, None, torch.cat(values)[None], origin, cell, counts, torch.tensor([0, 5 * 6 * 7]))
    points = torch.tensor([[-0.13, 0.11, 0.2], [0.0, 0.01, -0.04], [0.5, 0.0, 0.0]])
    found = interpolate_grids(motion, torch.zeros(3, dtype=torch.int64), points)
    expected = points * torch.tensor([1.0, -0.5, 2.0])
    expected[1] += 0.25
    expected[2] = 0
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_lookup_outside_is_false():
    space = MarchSpace(torch.zeros(3), torch.ones(3), (2, 2, 2), (0.0, -1.0), torch.eye(4))
    points = torch.tensor([[0.5, 0.5, 0.5], [-0.1, 0.5, 0.5], [0.5, 2.0, 0.5]])
    assert lookup(space, torch.ones(2, 2, 2, dtype=torch.bool), points).tolist() == [True, False, False]


def test_unknown_backend():
    space, motion, origins, directions, arguments = make_case(rays=2)
    with pytest.raises(ConfigError, match="ray march"):
        march(space, motion, origins, directions, **arguments, backend="magic")
