"""Portable Warp kernels of the hash grid, built for a number of features and a table type. They serve CUDA; the CPU has
faster ones in `cpu.py`. Imported on first use."""

# pyright: reportInvalidTypeForm=false
# ruff: noqa: UP018, RUF046, SIM108
# Warp takes a bare literal for a constant, so variables start as `float(1.0)`.

from functools import cache
from types import SimpleNamespace
from typing import Any

from avatar.kernels.runtime.launch import get_warp

wp = get_warp()

LOAD = """
    const auto* at = source.data + (long long)row * source.shape[1] + index;
    auto entry = *at;
#ifdef __CUDA_ARCH__
    const RAW raw = __ldg((const RAW*)at);
    memcpy(&entry, &raw, sizeof(RAW));
#endif
    wp::vec_t<F, float> value;
    for (int f = 0; f < F; ++f) value[f] = (float)entry[f];
    return value;
"""
"""One load of a whole vector through the read-only cache; Warp itself loads scalar by scalar."""

STORE = """
    float* at = (float*)(target.data + (long long)row * target.shape[1] + index);
#ifdef __CUDA_ARCH__
#if F == 2
    *(float2*)at = make_float2(value[0], value[1]);
#else
    *(float4*)at = make_float4(value[0], value[1], value[2], value[3]);
#endif
#else
    for (int f = 0; f < F; ++f) at[f] = value[f];
#endif
"""
"""One store of a whole vector."""

ADD = """
    float* at = (float*)(target.data + (long long)row * target.shape[1] + index);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#if F == 2
    asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" :: "l"(at), "f"(value[0]), "f"(value[1]) : "memory");
#else
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                 :: "l"(at), "f"(value[0]), "f"(value[1]), "f"(value[2]), "f"(value[3]) : "memory");
#endif
#else
    for (int f = 0; f < F; ++f) wp::atomic_add(at + f, value[f]);
#endif
"""
"""An atomic addition to 2 or 4 floats; one instruction from compute capability 9.0 on."""

PRIME_Y = wp.constant(wp.uint32(2654435761))
PRIME_Z = wp.constant(wp.uint32(805459861))


@wp.struct
class Level:
    """One level: cells along an axis, first entry and number of entries in the table, and 1 where it is hashed."""

    resolution: int
    offset: int
    size: int
    hashed: int


@wp.func
def corner_entry(cell: wp.vec3i, corner: int, level: Level):
    x = cell[0] + (corner & 1)
    y = cell[1] + ((corner >> 1) & 1)
    z = cell[2] + ((corner >> 2) & 1)
    if level.hashed == 1:
        mixed = wp.uint32(x) ^ (wp.uint32(y) * PRIME_Y) ^ (wp.uint32(z) * PRIME_Z)
        return level.offset + int(mixed & wp.uint32(level.size - 1))
    row = level.resolution + 1
    return level.offset + x + row * (y + row * z)


@wp.func
def corner_weight(part: wp.vec3, corner: int):
    weight = float(1.0)
    for axis in range(3):
        if (corner >> axis) & 1 == 1:
            weight = weight * part[axis]
        else:
            weight = weight * (1.0 - part[axis])
    return weight


@wp.func
def scale(position: wp.vec3, resolution: int):
    n = float(resolution)
    return wp.vec3(
        wp.clamp(position[0], 0.0, 1.0) * n, wp.clamp(position[1], 0.0, 1.0) * n, wp.clamp(position[2], 0.0, 1.0) * n
    )


@wp.func
def cell_of(scaled: wp.vec3, resolution: int):
    return wp.vec3i(
        wp.min(int(scaled[0]), resolution - 1),
        wp.min(int(scaled[1]), resolution - 1),
        wp.min(int(scaled[2]), resolution - 1),
    )


@cache
def make_load(size: int, dtype: type) -> Any:
    """A function that reads one vector of `size` scalars from a contiguous array, as floats."""
    kind, vec = wp.types.vector(size, dtype), wp.types.vector(size, float)
    raw = {4: "unsigned", 8: "uint2", 16: "uint4"}[size * wp.types.type_size_in_bytes(dtype)]

    @wp.func_native(f"#define F {size}\n#define RAW {raw}\n{LOAD}#undef RAW\n#undef F\n")
    def load(source: wp.array2d(dtype=kind), row: int, index: int) -> vec: ...

    return load


@cache
def make_write(size: int, code: str) -> Any:
    """A function that stores (STORE) a vector of 2 or 4 floats in a contiguous array, or adds it atomically (ADD)."""
    vec = wp.types.vector(size, float)

    @wp.func_native(f"#define F {size}\n{code}#undef F\n")
    def write(target: wp.array2d(dtype=vec), row: int, index: int, value: vec): ...

    return write


@cache
def make_kernels(features: int, dtype: type) -> SimpleNamespace:
    """`encode` and `gradient` for entries of `features` values of a Warp scalar type; compiled on first launch.

    Both are launched over (level, point), level by level: the threads of a CUDA block share a level, and on a CPU one
    level's table at a time stays in cache. `grad_positions` has four floats per point, the last unused, so that one
    vector addition writes them all.
    """
    entry_type = wp.types.vector(features, dtype)
    vec = wp.types.vector(features, float)
    load_entry, load_features = make_load(features, dtype), make_load(features, wp.float32)
    store_features, add_entry, add_slope = make_write(features, STORE), make_write(features, ADD), make_write(4, ADD)

    def encode(
        first: int,
        levels: wp.array(dtype=Level),
        weights: wp.array(dtype=float),
        positions: wp.array(dtype=wp.vec3),
        table: wp.array2d(dtype=entry_type),
        table_index: wp.array(dtype=wp.int32),
        output: wp.array2d(dtype=vec),
    ):
        index = first + wp.tid()
        level_index = index // positions.shape[0]
        i = index - level_index * positions.shape[0]
        level = levels[level_index]
        position = positions[i]
        # not finite in, not finite out: the clamp alone would hide it
        total = vec(0.0 * (position[0] + position[1] + position[2]))
        if weights[level_index] != 0.0:
            scaled = scale(position, level.resolution)
            cell = cell_of(scaled, level.resolution)
            part = scaled - wp.vec3(float(cell[0]), float(cell[1]), float(cell[2]))
            which = int(0)
            if table_index:
                which = wp.clamp(table_index[i], 0, table.shape[0] - 1)
            for corner in range(8):
                total += corner_weight(part, corner) * load_entry(table, which, corner_entry(cell, corner, level))
        store_features(output, i, level_index, weights[level_index] * total)

    def gradient(
        first: int,
        levels: wp.array(dtype=Level),
        weights: wp.array(dtype=float),
        positions: wp.array(dtype=wp.vec3),
        table: wp.array2d(dtype=entry_type),
        table_index: wp.array(dtype=wp.int32),
        grad_output: wp.array2d(dtype=vec),
        grad_table: wp.array2d(dtype=vec),
        grad_positions: wp.array2d(dtype=wp.vec4),
    ):
        index = first + wp.tid()
        level_index = index // positions.shape[0]
        i = index - level_index * positions.shape[0]
        if weights[level_index] == 0.0:
            return
        level = levels[level_index]
        position = positions[i]
        scaled = scale(position, level.resolution)
        cell = cell_of(scaled, level.resolution)
        part = scaled - wp.vec3(float(cell[0]), float(cell[1]), float(cell[2]))
        which = int(0)
        if table_index:
            which = wp.clamp(table_index[i], 0, table.shape[0] - 1)
        incoming = weights[level_index] * load_features(grad_output, i, level_index)
        slope = wp.vec3(0.0, 0.0, 0.0)
        for corner in range(8):
            entry = corner_entry(cell, corner, level)
            if grad_table:
                add_entry(grad_table, which, entry, corner_weight(part, corner) * incoming)
            if grad_positions:
                product = wp.dot(incoming, load_entry(table, which, entry))
                for axis in range(3):
                    others = product
                    for other in range(3):
                        if other != axis:
                            if (corner >> other) & 1 == 1:
                                others = others * part[other]
                            else:
                                others = others * (1.0 - part[other])
                    if (corner >> axis) & 1 == 1:
                        slope[axis] = slope[axis] + others
                    else:
                        slope[axis] = slope[axis] - others
        if grad_positions:
            for axis in range(3):
                if position[axis] < 0.0 or position[axis] > 1.0:
                    slope[axis] = 0.0  # clamped
            slope = float(level.resolution) * slope
            add_slope(grad_positions, 0, i, wp.vec4(slope[0], slope[1], slope[2], 0.0))

    return SimpleNamespace(
        encode=wp.kernel(encode, enable_backward=False, module="unique"),
        gradient=wp.kernel(gradient, enable_backward=False, module="unique"),
    )
