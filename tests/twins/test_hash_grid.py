"""The hash grid's kernels against their PyTorch twin, and the twin against finite differences and hand-made grids.

Both kernel sets run here on the CPU: the native one that CPUs use and the portable one that CUDA uses.
"""

import itertools
import random

import pytest
import torch

from avatar.base.errors import ConfigError, InputError
from avatar.kernels.hash_grid import reference
from avatar.kernels.hash_grid.op import hash_encode
from avatar.kernels.hash_grid.types import HashGridSpec

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")])
SPECS = {
    "mixed": HashGridSpec(levels=5, log2_entries=9, features=2, base_resolution=4, finest_resolution=61),
    "four features": HashGridSpec(levels=3, log2_entries=10, features=4, base_resolution=7, finest_resolution=33),
    "one level": HashGridSpec(levels=1, log2_entries=6, features=2, base_resolution=2, finest_resolution=2),
    "all hashed": HashGridSpec(levels=2, log2_entries=4, features=2, base_resolution=8, finest_resolution=16),
    "two entries": HashGridSpec(levels=2, log2_entries=1, features=4, base_resolution=3, finest_resolution=9),
}
"""With two entries a level most corners of a cell share one: additions to it must not get lost."""


def kernel_encode(positions, table, spec, kernels, table_index=None, level_weights=None):
    from avatar.kernels.hash_grid.autograd import HashEncode

    weights = None if level_weights is None else level_weights.tolist()
    return HashEncode.apply(positions, table, spec, table_index, weights, kernels == "portable")


def make_positions(count: int, spec: HashGridSpec, seed: int = 0) -> torch.Tensor:
    """Random points in and around [0, 1], with every kind of special place mixed in."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, generator=generator) * 1.2 - 0.1
    special = [0.0, 1.0, -0.05, 1.05, 0.5, 1 / spec.base_resolution, 1 - 1 / spec.finest_resolution]
    corners = torch.tensor(list(itertools.product(special, repeat=3)))
    corners = corners[torch.randperm(len(corners), generator=generator)][: count // 2]
    points[: len(corners)] = corners
    return points


def compare(spec, count, kernels, *, tables=1, weights=None, device="cpu", dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed + 1)
    table = torch.randn(tables, spec.table_size, spec.features, generator=generator).to(dtype)
    index = torch.randint(tables, (count,), generator=generator, dtype=torch.int32) if tables > 1 else None
    incoming = torch.randn(count, spec.output_size, generator=generator)
    results = []
    for kind in ("torch", kernels):
        positions = make_positions(count, spec, seed).to(device).requires_grad_()
        # the twin sums gradients in the table's own type, so it gets the same numbers as float32
        entries = table.clone().to(device, torch.float32 if kind == "torch" else dtype).requires_grad_()
        where = None if index is None else index.to(device)
        if kind == "torch":
            # in float32 too, so that a point on a border falls to the same cell
            scale = None if weights is None else weights.to(device)
            output = reference.hash_encode(positions, entries, spec, table_index=where, level_weights=scale)
        else:
            output = kernel_encode(positions, entries, spec, kernels, where, weights)
            assert (output.dtype, entries.dtype) == (torch.float32, dtype)
        (output * incoming.to(device)).sum().backward()
        results.append([value.detach().double().cpu() for value in (output, positions.grad, entries.grad)])
    return results


def assert_close(results, spec: HashGridSpec, table_tolerance: float = 1e-6):
    """All to a few roundings: float32 places a point within its cell to 6e-8 times the resolution."""
    rounding = 1e-7 * max(10, spec.finest_resolution)
    tolerances = {"output": rounding, "positions": rounding, "table": max(rounding, table_tolerance)}
    for (name, tolerance), twin, kernel in zip(tolerances.items(), *results, strict=True):
        assert twin.shape == kernel.shape
        if twin.numel():
            # a slope is a difference of table values times the resolution, and may be small by chance
            size = max(float(twin.abs().max()), spec.finest_resolution if name == "positions" else 1e-6)
            assert float((twin - kernel).abs().max()) <= tolerance * size, name


@pytest.mark.parametrize("kernels", ["native", "portable"])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 777])
def test_kernels_agree_with_the_twin(name, count, kernels):
    spec = SPECS[name]
    assert_close(compare(spec, count, kernels), spec)


@pytest.mark.parametrize("kernels", ["native", "portable"])
@pytest.mark.parametrize("seed", range(4))
def test_any_size_agrees(seed, kernels):
    """Everything drawn at random: levels, tables, resolutions, points, weights and precision, for F = 2 and 4."""
    draw = random.Random(seed)
    base = draw.randint(1, 12)
    spec = HashGridSpec(
        levels=draw.randint(1, 7),
        log2_entries=draw.randint(1, 12),
        features=2 if seed % 2 else 4,
        base_resolution=base,
        finest_resolution=draw.randint(base, 90),
    )
    weights = torch.tensor([draw.choice([0.0, 0.3, 1.0]) for _ in range(spec.levels)])
    dtype = draw.choice([torch.float32, torch.float16])
    results = compare(
        spec, draw.randint(2, 3000), kernels, tables=draw.randint(1, 5), weights=weights, dtype=dtype, seed=seed
    )
    assert_close(results, spec, table_tolerance=1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps)


@pytest.mark.parametrize("kernels", ["native", "portable"])
@pytest.mark.parametrize("resolution", [1, 4, 8, 33])
def test_points_on_every_border_of_a_level_agree(resolution, kernels):
    """The corners of all cells, and the same pushed out of the box."""
    spec = HashGridSpec(levels=1, log2_entries=8, base_resolution=resolution, finest_resolution=resolution)
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(resolution + 1, (500, 3), generator=generator) / resolution
    corners[::3] += torch.randint(-1, 2, (len(corners[::3]), 3), generator=generator) * 0.5
    table = torch.randn(1, spec.table_size, 2, generator=generator)
    incoming = torch.randn(500, 2, generator=generator)
    results = []
    for kind in ("torch", kernels):
        positions, entries = corners.clone().requires_grad_(), table.clone().requires_grad_()
        if kind == "torch":
            output = reference.hash_encode(positions, entries, spec)
        else:
            output = kernel_encode(positions, entries, spec, kind)
        (output * incoming).sum().backward()
        # clamping has no slope at the border itself: the twin takes the one from inside, as the kernels do
        results.append([value.detach().double() for value in (output, positions.grad, entries.grad)])
    assert_close(results, spec)


@pytest.mark.parametrize("kernels", ["native", "portable"])
def test_many_points_on_many_threads_agree(kernels):
    spec = SPECS["mixed"]
    assert_close(compare(spec, 20001, kernels), spec, table_tolerance=1e-5)


@pytest.mark.parametrize("kernels", ["native", "portable"])
def test_several_tables_agree(kernels):
    assert_close(compare(SPECS["mixed"], 501, kernels, tables=3), SPECS["mixed"])


@pytest.mark.parametrize("kernels", ["native", "portable"])
def test_level_weights_are_fused(kernels):
    spec = SPECS["mixed"]
    weights = torch.tensor([1.0, 0.7, 0.25, 0.0, 0.0])
    results = compare(spec, 300, kernels, weights=weights)
    assert_close(results, spec)
    kernel_output, kernel_table = results[1][0], results[1][2]
    assert (kernel_output.view(300, 5, 2)[:, 3:] == 0).all()
    assert (kernel_table[:, spec.level_offsets[3] :] == 0).all()


@pytest.mark.parametrize("kernels", ["native", "portable"])
@pytest.mark.parametrize("name", ["mixed", "four features", "two entries"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tables_agree(dtype, name, kernels):
    results = compare(SPECS[name], 400, kernels, dtype=dtype)
    # the gradient is summed in float32 and rounded once
    assert_close(results, SPECS[name], table_tolerance=torch.finfo(dtype).eps)


def test_gradients_repeat_exactly():
    spec = SPECS["mixed"]
    first = compare(spec, 20001, "native")[1]
    second = compare(spec, 20001, "native")[1]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_threads_do_not_change_the_result():
    spec = SPECS["mixed"]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = compare(spec, 9000, "native")[1]
        torch.set_num_threads(3)
        together = compare(spec, 9000, "native")[1]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone[0], together[0])
    assert torch.equal(alone[2], together[2])
    assert torch.allclose(alone[1], together[1], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("only", ["positions", "table"])
def test_one_gradient_alone_is_the_same(only):
    spec = SPECS["mixed"]
    twin = compare(spec, 200, "native")[0]
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(1, spec.table_size, spec.features, generator=generator)
    incoming = torch.randn(200, spec.output_size, generator=generator)
    positions = make_positions(200, spec).requires_grad_(only == "positions")
    table.requires_grad_(only == "table")
    (hash_encode(positions, table, spec) * incoming).sum().backward()
    gradient, expected = (positions.grad, twin[1]) if only == "positions" else (table.grad, twin[2])
    assert float((gradient.double() - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_twin_passes_gradcheck():
    spec = HashGridSpec(levels=2, log2_entries=5, features=2, base_resolution=2, finest_resolution=5)
    # away from cell borders, where the slope jumps
    generator = torch.Generator().manual_seed(3)
    positions = ((torch.randint(10, (6, 3), generator=generator) + 0.37) / 10).double().requires_grad_()
    table = torch.randn(2, spec.table_size, 2, generator=generator, dtype=torch.double, requires_grad=True)
    index = torch.tensor([0, 1, 1, 0, 1, 0])
    weights = torch.tensor([1.0, 0.3], dtype=torch.double)
    assert torch.autograd.gradcheck(
        lambda p, t: reference.hash_encode(p, t, spec, table_index=index, level_weights=weights), (positions, table)
    )


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_a_dense_grid_that_holds_a_linear_function_gives_it_back(backend):
    """Independent of the twin: corner values a + b . x make trilinear interpolation exact and its slope b."""
    spec = HashGridSpec(levels=1, log2_entries=12, features=2, base_resolution=9, finest_resolution=9)
    z, y, x = torch.meshgrid(*[torch.arange(10) / 9] * 3, indexing="ij")
    values = torch.stack([1 + 2 * x - 3 * y + 0.5 * z, x * 0 + 4 - z], -1).reshape(-1, 2)
    p = torch.rand(100, 3, requires_grad=True)
    output = hash_encode(p, values, spec, backend=backend)
    expected = torch.stack([1 + 2 * p[:, 0] - 3 * p[:, 1] + 0.5 * p[:, 2], 4 - p[:, 2]], -1)
    assert torch.allclose(output, expected, atol=1e-5)
    output[:, 0].sum().backward()
    assert torch.allclose(p.grad, torch.tensor([2.0, -3.0, 0.5]).expand(100, 3), atol=1e-4)


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_the_hash_is_the_paper_s(backend):
    """Equation 4 worked out with Python's integers for the lower corner of one cell."""
    spec = HashGridSpec(levels=1, log2_entries=10, features=2, base_resolution=100, finest_resolution=100)
    cell = (17, 93, 58)
    entry = (cell[0] ^ (cell[1] * 2654435761) % 2**32 ^ (cell[2] * 805459861) % 2**32) % 1024
    table = torch.zeros(1024, 2)
    table[entry] = torch.tensor([3.0, -1.0])
    point = torch.tensor([[(c + 1e-4) / 100 for c in cell]])
    assert torch.allclose(hash_encode(point, table, spec, backend=backend), torch.tensor([[3.0, -1.0]]), atol=5e-3)


def test_spec_sizes():
    spec = HashGridSpec(levels=12, log2_entries=16, base_resolution=16, finest_resolution=512)
    assert spec.level_resolutions[0] == 16
    assert spec.level_resolutions[-1] == 512
    growth = 32 ** (1 / 11)
    assert spec.level_resolutions == tuple(int(16 * growth**l + 1e-6) for l in range(12))
    assert spec.level_sizes[:4] == (17**3, 22**3, 31**3, 2**16)
    assert spec.level_hashed[:4] == (False, False, False, True)
    assert spec.table_size == sum(spec.level_sizes)
    assert spec.output_size == 24


@pytest.mark.parametrize(
    "change", [{"levels": 0}, {"features": 3}, {"log2_entries": 0}, {"log2_entries": 30}, {"finest_resolution": 2}]
)
def test_impossible_specs_are_refused(change):
    with pytest.raises(ConfigError, match="hash grid"):
        HashGridSpec(**change)


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_bad_input_is_refused_before_any_kernel(backend):
    spec = SPECS["mixed"]
    table = torch.zeros(spec.table_size, 2)
    points = torch.rand(10, 3)

    def refuse(message, positions=points, entries=table, **more):
        with pytest.raises(InputError, match=message):
            hash_encode(positions, entries, spec, backend=backend, **more)

    for value in (float("nan"), float("inf"), -float("inf")):
        bad = points.clone()
        bad[7, 1] = value
        refuse("1 of 10 positions are not finite", bad)
    refuse("wrong shape", points[:, :2])
    refuse("does not fit", entries=table[:-1])
    refuse("floating point", entries=table.long())
    refuse("several tables", entries=table.expand(2, -1, -1))
    refuse("out of range", entries=table.expand(2, -1, -1), table_index=torch.full((10,), 2))
    refuse("out of range", entries=table.expand(2, -1, -1), table_index=torch.full((10,), -1))
    refuse("table_index", entries=table.expand(2, -1, -1), table_index=torch.zeros(9, dtype=torch.int32))
    refuse("table_index", entries=table.expand(2, -1, -1), table_index=torch.zeros(10))
    refuse("level_weights", level_weights=torch.ones(4))
    refuse("different devices", entries=table.to("meta"))
    with pytest.raises(ConfigError, match="unknown backend"):
        hash_encode(points, table, spec, backend="fast")


@pytest.mark.parametrize("kernels", ["native", "portable", pytest.param("cuda", marks=GPU.marks)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_table_may_begin_anywhere_in_memory(kernels, dtype):
    """Part of a flat list of parameters: vector loads want multiples of their width."""
    spec, device = SPECS["mixed"], "cuda" if kernels == "cuda" else "cpu"
    flat = torch.randn(1 + 2 * spec.table_size, device=device).to(dtype)
    table, points = flat[1:].view(1, -1, 2), torch.rand(50, 3, device=device)
    assert table.data_ptr() % 4 or dtype == torch.float32
    found = kernel_encode(points, table, spec, "native" if kernels == "native" else "portable")
    torch.testing.assert_close(found, reference.hash_encode(points, table, spec), rtol=1e-4, atol=1e-5)


def test_tensors_that_are_not_contiguous_are_understood():
    spec = SPECS["mixed"]
    table = torch.randn(2, spec.table_size, 2)
    points = torch.rand(3, 50).T
    wide = torch.randn(spec.table_size, 4)[:, ::2]
    assert torch.allclose(
        hash_encode(points, wide, spec), hash_encode(points.contiguous(), wide.contiguous(), spec), atol=0
    )
    index = torch.stack([torch.zeros(50), torch.ones(50)], 1).int()[:, 1]
    assert torch.equal(hash_encode(points, table, spec, table_index=index), hash_encode(points, table[1], spec))


def test_gradient_reaches_through_an_expanded_gradient():
    spec = SPECS["mixed"]
    table = torch.randn(spec.table_size, 2, requires_grad=True)
    hash_encode(torch.rand(70, 3), table, spec).sum().backward()  # the incoming gradient is a broadcast one
    for level in range(spec.levels):
        rows = slice(spec.level_offsets[level], spec.level_offsets[level + 1])
        assert float(table.grad[rows].sum()) == pytest.approx(70 * 2, rel=1e-5)  # weights sum to one


@pytest.mark.parametrize("device", [GPU])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tables", [1, 3])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("count", [0, 1, 65, 5001])
def test_cuda_agrees(device, dtype, tables, name, count):
    table_tolerance = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    results = compare(SPECS[name], count, "portable", device=device, dtype=dtype, tables=tables)
    assert_close(results, SPECS[name], table_tolerance=table_tolerance)


@pytest.mark.parametrize("device", [GPU])
def test_nan_is_not_hidden_on_cuda(device):
    spec = SPECS["mixed"]
    points = torch.rand(10, 3)
    points[3, 2] = float("nan")
    output = hash_encode(points.to(device), torch.ones(spec.table_size, 2, device=device), spec)
    assert output[3].isnan().all()
    assert output[:3].isfinite().all()
