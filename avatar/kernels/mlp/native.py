"""The arguments, tiles and scratch memory of the fused MLP's native kernels in float32 and bfloat16."""

# pyright: reportInvalidTypeForm=false

from types import SimpleNamespace

from avatar.kernels.mlp.types import MAX_LAYERS
from avatar.kernels.runtime.launch import get_warp

wp = get_warp()
TILE = 48
"""Samples per tile: a multiple of all row blocks (6, 8, 12 and 16) of the block product."""
LANES = 16
"""Floats per vector."""


def make_kernels(forward_source: str, backward_source: str) -> SimpleNamespace:
    """`forward` and `backward` for MLPs of any size, from native sources; compiled on first launch.

    Both are launched with dim 1 and process the samples `first` to `last` with their own part of `scratch`. layers:
    `[L, 2]` fan-in and fan-out; pointers: `[P, 6]` (see `autograd._pointers`); parameters: weights `[out, in]` and bias
    of every layer, one after another; result and incoming: `[N, outputs]`; gradients: `[workers, parameters]`.
    """

    def constants(keep_pairs: int) -> str:
        return f"enum {{ TILE = {TILE}, MAX_LAYERS = {MAX_LAYERS}, keep_pairs = {keep_pairs} }};\n"

    @wp.func_native(constants(keep_pairs=0) + forward_source)
    def forward_tiles(
        layers: wp.array(dtype=int),
        layer_count: int,
        skip: int,
        with_bias: int,
        parameters: wp.array(dtype=float),
        pointers: wp.array(dtype=wp.int64),
        part_count: int,
        scratch: wp.array(dtype=float),
        scratch_size: int,
        worker: int,
        first: int,
        last: int,
        result: wp.array(dtype=float),
    ): ...

    @wp.func_native(constants(keep_pairs=1) + backward_source)
    def backward_tiles(
        layers: wp.array(dtype=int),
        layer_count: int,
        skip: int,
        with_bias: int,
        parameters: wp.array(dtype=float),
        pointers: wp.array(dtype=wp.int64),
        part_count: int,
        scratch: wp.array(dtype=float),
        scratch_size: int,
        worker: int,
        first: int,
        last: int,
        incoming: wp.array(dtype=float),
        want_inputs: int,
        gradients: wp.array(dtype=float),
    ): ...

    @wp.kernel(enable_backward=False, module="unique")
    def forward(
        layers: wp.array(dtype=int),
        layer_count: int,
        skip: int,
        with_bias: int,
        parameters: wp.array(dtype=float),
        pointers: wp.array(dtype=wp.int64),
        part_count: int,
        scratch: wp.array(dtype=float),
        scratch_size: int,
        worker: int,
        first: int,
        last: int,
        result: wp.array(dtype=float),
    ):
        forward_tiles(
            layers, layer_count, skip, with_bias, parameters, pointers, part_count, scratch, scratch_size, worker,
            first, last, result,
        )  # fmt: skip

    @wp.kernel(enable_backward=False, module="unique")
    def backward(
        layers: wp.array(dtype=int),
        layer_count: int,
        skip: int,
        with_bias: int,
        parameters: wp.array(dtype=float),
        pointers: wp.array(dtype=wp.int64),
        part_count: int,
        scratch: wp.array(dtype=float),
        scratch_size: int,
        worker: int,
        first: int,
        last: int,
        incoming: wp.array(dtype=float),
        want_inputs: int,
        gradients: wp.array(dtype=float),
    ):
        backward_tiles(
            layers, layer_count, skip, with_bias, parameters, pointers, part_count, scratch, scratch_size, worker,
            first, last, incoming, want_inputs, gradients,
        )  # fmt: skip

    return SimpleNamespace(forward=forward, backward=backward)


def scratch_size(layers: list[tuple[int, int]], skip: int, *, backward: bool, half: bool) -> int:
    """Floats of scratch memory per worker; mirrors the `take` calls of the sources."""

    def padded(count: int) -> int:
        return -(-count // LANES) * LANES

    def taken(count: int) -> int:
        return (count + 31) // LANES * LANES

    out = [padded(size) for _, size in layers]
    wide = [padded(layers[0][0])]
    wide += [out[k - 1] + wide[0] if k == skip else padded(layers[k][0]) for k in range(1, len(layers))]
    tile = [taken(TILE * width + LANES) for width in [*wide, out[-1]]]
    half_tile = [taken(TILE * width // 2 + LANES) for width in wide]
    biases = sum(taken(width) for width in out)
    sums = sum(taken((wide[k] + LANES) * out[k]) for k in range(len(out))) + biases
    size = biases + tile[0]
    if not half:
        weights = sum(taken((wide[k] + LANES) * out[k]) + taken(out[k] * wide[k]) for k in range(len(out)))
        size += weights + sum(tile[1:])
        return size + (sums + sum(tile) + taken(TILE * wide[0]) if backward else 0)
    weights = sum(taken((wide[k] // 2 + LANES) * out[k]) + taken(out[k] // 2 * wide[k]) for k in range(len(out)))
    size += weights + sum(half_tile) + max(tile)
    if backward:
        widest = max([*wide, out[-1]])
        size += sum(half_tile) + sums + 2 * max(tile) + 2 * taken(TILE * widest // 2 + LANES) + taken(TILE * wide[0])
    return size
