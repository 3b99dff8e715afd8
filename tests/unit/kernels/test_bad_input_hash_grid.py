"""What `hash_encode` refuses before any kernel starts; tests/twins/test_hash_grid.py has the plain cases."""

import pytest
import torch

from avatar.base.errors import ConfigError, InputError
from avatar.kernels.hash_grid.op import hash_encode
from avatar.kernels.hash_grid.types import HashGridSpec

SPEC = HashGridSpec(levels=3, log2_entries=8, base_resolution=4, finest_resolution=32)
POINTS = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
TABLE = torch.ones(SPEC.table_size, 2)
BOTH = pytest.mark.parametrize("backend", ["warp", "torch"])


def refuse(message, backend, positions=POINTS, table=TABLE, **more):
    with pytest.raises(InputError, match=message):
        hash_encode(positions, table, SPEC, backend=backend, **more)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_positions_of_another_type(backend, dtype):
    refuse("positions must be of a floating point type", backend, POINTS.to(dtype))


@BOTH
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.complex64])
def test_tables_of_another_type(backend, dtype):
    refuse("table must be of a floating point type", backend, table=TABLE.to(dtype))


def test_double_precision_is_the_twins_alone():
    refuse("positions must be", "warp", POINTS.double())
    refuse("table must be", "warp", table=TABLE.double())
    assert hash_encode(POINTS.double(), TABLE.double(), SPEC, backend="torch").dtype == torch.float64


@BOTH
def test_a_table_of_another_size_says_which_one_fits(backend):
    """A level's size follows from its log2, so what is not a power of two is simply not the grid's table."""
    for size in (SPEC.table_size - 1, SPEC.table_size + 1, 1000, 0):
        refuse(rf"the table does not fit its grid\n.*{SPEC.table_size}, 2\].*2\^8", backend, table=torch.ones(size, 2))
    refuse("does not fit", backend, table=torch.ones(SPEC.table_size, 4))
    refuse("does not fit", backend, table=torch.ones(SPEC.table_size))


@pytest.mark.parametrize("log2", [0, 25, -3])
def test_log2_sizes_that_no_grid_has(log2):
    with pytest.raises(ConfigError, match="log2_entries of 1 to 24"):
        HashGridSpec(log2_entries=log2)


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(backend, value):
    bad = POINTS.clone()
    bad[2:4, 0] = value
    refuse("2 of 10 positions are not finite\n  found: first 2", backend, bad)
    refuse("level weights are not finite", backend, level_weights=torch.tensor([1.0, value, 1.0]))


def test_large_positions_are_not_taken_for_infinite_ones():
    large = torch.full((10, 3), 2e38)  # their sum overflows
    assert torch.equal(hash_encode(large, TABLE, SPEC), torch.ones(10, SPEC.output_size))


@BOTH
def test_level_weights_of_another_type(backend):
    refuse("level_weights do not fit", backend, level_weights=torch.ones(3, dtype=torch.int64))
    refuse("level_weights do not fit", backend, level_weights=torch.ones(1, 3))


@BOTH
def test_an_index_into_no_tables(backend):
    refuse("table_index", backend, table=TABLE.expand(0, -1, -1), table_index=torch.zeros(10, dtype=torch.int32))


@BOTH
def test_more_than_the_kernels_can_count(backend):
    points = torch.zeros(1, 1).expand(2**31 // SPEC.output_size + 1, 3)  # takes no memory
    refuse("too much for one call", backend, points)


@BOTH
@pytest.mark.parametrize("tables", [None, 3])
def test_no_points_give_nothing_and_no_gradient(backend, tables):
    points = torch.empty(0, 3, requires_grad=True)
    table = (TABLE if tables is None else TABLE.expand(tables, -1, -1)).clone().requires_grad_()
    index = None if tables is None else torch.empty(0, dtype=torch.int64)
    output = hash_encode(points, table, SPEC, table_index=index, backend=backend)
    assert output.shape == (0, SPEC.output_size)
    output.sum().backward()
    assert points.grad is None or points.grad.shape == (0, 3)
    assert table.grad is None or not table.grad.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_devices_may_not_be_mixed():
    refuse("different devices", "warp", POINTS.cuda())
    refuse("different devices", "warp", table=TABLE.cuda())
