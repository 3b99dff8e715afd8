"""CPU kernels of the hash grid: native code in Warp, compiled by Warp's compiler for the host processor.

Points are processed in blocks. A vectorised pass computes the entries and weights of a block, and a pass of scalar
loads and fused multiply-adds reads the table, which on x86 beats gather instructions. They are three to four times
faster on a CPU than the portable kernels of `portable.py`, which serve CUDA. Tables are float32.
"""

# pyright: reportInvalidTypeForm=false

from functools import cache
from types import SimpleNamespace

from avatar.kernels.hash_grid.types import PRIMES
from avatar.kernels.runtime.launch import get_warp

wp = get_warp()

LOCATE = """
    const int BLOCK = 64, AHEAD = 4;  // entries are fetched for so many points ahead: caches hold no whole level
    const float* __restrict__ place = positions.data;
    const int* __restrict__ which = table_index.data;
    alignas(64) unsigned entry[8][BLOCK];
    alignas(64) float weight[8][BLOCK];
    alignas(64) float px[BLOCK], py[BLOCK], pz[BLOCK], fx[BLOCK], fy[BLOCK], fz[BLOCK];
    auto load = [&](int begin, int n) __attribute__((always_inline)) {
        for (int j = 0; j < n; ++j) {
            const float* p = place + 3ll * (begin + j);
            px[j] = p[0]; py[j] = p[1]; pz[j] = p[2];
        }
        for (int j = n; j < BLOCK; ++j) px[j] = py[j] = pz[j] = 0.0f;
    };
    // entries and weights of a block's corners on one level; corner c is at x + (c & 1), y + (c >> 1 & 1), z + (c >> 2)
    auto locate = [&](int resolution, int size, int hashed) __attribute__((always_inline)) {
        const float cells = (float)resolution;
        const int edge = resolution - 1;
        const unsigned row = resolution + 1, slab = row * row, mask = size - 1;
        #pragma clang loop vectorize(enable)
        for (int j = 0; j < BLOCK; ++j) {
            float x = px[j] > 0.0f ? px[j] : 0.0f, y = py[j] > 0.0f ? py[j] : 0.0f, z = pz[j] > 0.0f ? pz[j] : 0.0f;
            x = (x < 1.0f ? x : 1.0f) * cells; y = (y < 1.0f ? y : 1.0f) * cells; z = (z < 1.0f ? z : 1.0f) * cells;
            int cx = (int)x, cy = (int)y, cz = (int)z;
            cx = cx < edge ? cx : edge; cy = cy < edge ? cy : edge; cz = cz < edge ? cz : edge;
            x -= (float)cx; y -= (float)cy; z -= (float)cz;
            fx[j] = x; fy[j] = y; fz[j] = z;
            const float a = 1.0f - x, b = 1.0f - y, c = 1.0f - z;
            const float bc = b * c, yc = y * c, bz = b * z, yz = y * z;
            weight[0][j] = a * bc; weight[1][j] = x * bc; weight[2][j] = a * yc; weight[3][j] = x * yc;
            weight[4][j] = a * bz; weight[5][j] = x * bz; weight[6][j] = a * yz; weight[7][j] = x * yz;
            const unsigned x0 = cx, x1 = cx + 1;
            if (hashed) {
                const unsigned y0 = (unsigned)cy * PRIME_Yu, z0 = (unsigned)cz * PRIME_Zu;
                const unsigned y1 = y0 + PRIME_Yu, z1 = z0 + PRIME_Zu;
                entry[0][j] = (x0 ^ y0 ^ z0) & mask; entry[1][j] = (x1 ^ y0 ^ z0) & mask;
                entry[2][j] = (x0 ^ y1 ^ z0) & mask; entry[3][j] = (x1 ^ y1 ^ z0) & mask;
                entry[4][j] = (x0 ^ y0 ^ z1) & mask; entry[5][j] = (x1 ^ y0 ^ z1) & mask;
                entry[6][j] = (x0 ^ y1 ^ z1) & mask; entry[7][j] = (x1 ^ y1 ^ z1) & mask;
            } else {
                const unsigned e = x0 + row * (unsigned)cy + slab * (unsigned)cz;
                entry[0][j] = e; entry[1][j] = e + 1;
                entry[2][j] = e + row; entry[3][j] = e + row + 1;
                entry[4][j] = e + slab; entry[5][j] = e + slab + 1;
                entry[6][j] = e + slab + row; entry[7][j] = e + slab + row + 1;
            }
        }
    };
"""
"""Shared by both snippets. NaN compares false and is clamped to 0; positions are checked before the launch."""

ENCODE = """
    float* __restrict__ out = output.data;
    for (int level = 0; level < level_count; ++level) {
        const int* l = levels.data + 4 * level;
        const float scale = weights.data[level];
        const float* __restrict__ values = table.data + (long long)F * l[1];
        for (int begin = first; begin < last; begin += BLOCK) {
            const int n = last - begin < BLOCK ? last - begin : BLOCK;
            float* __restrict__ row = out + ((long long)begin * level_count + level) * F;
            if (scale == 0.0f) {
                for (int j = 0; j < n; ++j)
                    for (int f = 0; f < F; ++f) row[(long long)j * level_count * F + f] = 0.0f;
                continue;
            }
            load(begin, n);
            locate(l[0], l[2], l[3]);
            for (int j = 0; j < n; ++j) {
                const float* base = which ? values + (long long)which[begin + j] * table_stride : values;
                const int ahead = j + AHEAD < n ? j + AHEAD : n - 1;
                for (int c = 0; c < 8; ++c) __builtin_prefetch(base + (long long)F * entry[c][ahead]);
                float sum[F] = {};
                for (int c = 0; c < 8; ++c) {
                    const float* v = base + (long long)F * entry[c][j];
                    for (int f = 0; f < F; ++f) sum[f] += weight[c][j] * v[f];
                }
                for (int f = 0; f < F; ++f) row[(long long)j * level_count * F + f] = scale * sum[f];
            }
        }
    }
"""

GRADIENT = """
    const int count = positions.shape[0];
    float* __restrict__ grad_place = grad_positions.data;
    const float* __restrict__ incoming = grad_output.data;
    alignas(64) float dot[8][BLOCK];
    for (int level = first_level; level < level_count; level += level_step) {
        const int* l = levels.data + 4 * level;
        const float scale = weights.data[level];
        if (scale == 0.0f) continue;
        const float* __restrict__ values = table.data + (long long)F * l[1];
        float* __restrict__ grad_values = grad_table.data ? grad_table.data + (long long)F * l[1] : nullptr;
        const float cells = (float)l[0];
        for (int begin = 0; begin < count; begin += BLOCK) {
            const int n = count - begin < BLOCK ? count - begin : BLOCK;
            load(begin, n);
            locate(l[0], l[2], l[3]);
            for (int j = 0; j < n; ++j) {
                const long long table_base = which ? (long long)which[begin + j] * table_stride : 0;
                const float* g = incoming + ((long long)(begin + j) * level_count + level) * F;
                const int ahead = j + AHEAD < n ? j + AHEAD : n - 1;
                for (int c = 0; c < 8; ++c) {
                    if (grad_values) __builtin_prefetch(grad_values + table_base + (long long)F * entry[c][ahead], 1);
                    if (grad_place) __builtin_prefetch(values + table_base + (long long)F * entry[c][ahead]);
                }
                float pull[F];
                for (int f = 0; f < F; ++f) pull[f] = scale * g[f];
                if (grad_values)
                    for (int c = 0; c < 8; ++c) {
                        float* v = grad_values + table_base + (long long)F * entry[c][j];
                        for (int f = 0; f < F; ++f) v[f] += weight[c][j] * pull[f];
                    }
                if (grad_place)
                    for (int c = 0; c < 8; ++c) {
                        const float* v = values + table_base + (long long)F * entry[c][j];
                        float product = 0.0f;
                        for (int f = 0; f < F; ++f) product += pull[f] * v[f];
                        dot[c][j] = product;
                    }
            }
            if (!grad_place) continue;
            alignas(64) float sx[BLOCK], sy[BLOCK], sz[BLOCK];
            #pragma clang loop vectorize(enable)
            for (int j = 0; j < BLOCK; ++j) {
                const float x = fx[j], y = fy[j], z = fz[j], a = 1.0f - x, b = 1.0f - y, c = 1.0f - z;
                const float d0 = dot[0][j], d1 = dot[1][j], d2 = dot[2][j], d3 = dot[3][j];
                const float d4 = dot[4][j], d5 = dot[5][j], d6 = dot[6][j], d7 = dot[7][j];
                const float gx = (d1 - d0) * b * c + (d3 - d2) * y * c + (d5 - d4) * b * z + (d7 - d6) * y * z;
                const float gy = (d2 - d0) * a * c + (d3 - d1) * x * c + (d6 - d4) * a * z + (d7 - d5) * x * z;
                const float gz = (d4 - d0) * a * b + (d5 - d1) * x * b + (d6 - d2) * a * y + (d7 - d3) * x * y;
                // no slope along an axis on which the point was clamped
                sx[j] = px[j] < 0.0f || px[j] > 1.0f ? 0.0f : cells * gx;
                sy[j] = py[j] < 0.0f || py[j] > 1.0f ? 0.0f : cells * gy;
                sz[j] = pz[j] < 0.0f || pz[j] > 1.0f ? 0.0f : cells * gz;
            }
            for (int j = 0; j < n; ++j) {
                float* p = grad_place + 3ll * (begin + j);
                p[0] += sx[j]; p[1] += sy[j]; p[2] += sz[j];
            }
        }
    }
"""


@cache
def make_cpu_kernels(features: int) -> SimpleNamespace:
    """`encode` and `gradient` for float32 tables of `features` features per entry; compiled on first launch.

    Both are launched with dim 1. `encode` processes the points `first` to `last` on all levels; `gradient` all points
    on every `level_step`-th level from `first_level`, adding to `grad_table` and `grad_positions` where these are
    given. Arrays are flat: levels `[L, 4]` (resolution, offset, size, hashed), weights `[L]`, positions `[N, 3]`,
    table `[B, T, F]` with `table_stride` = T * F, table_index `[N]` or none, output and grad_output `[N, L, F]`.
    """

    def source(code: str) -> str:
        text = f"enum {{ F = {features} }};\n" + LOCATE + code
        return text.replace("PRIME_Y", str(PRIMES[1])).replace("PRIME_Z", str(PRIMES[2]))

    @wp.func_native(source(ENCODE))
    def encode_points(
        levels: wp.array(dtype=int),
        level_count: int,
        weights: wp.array(dtype=float),
        positions: wp.array2d(dtype=float),
        table: wp.array(dtype=float),
        table_stride: int,
        table_index: wp.array(dtype=int),
        output: wp.array(dtype=float),
        first: int,
        last: int,
    ): ...

    @wp.func_native(source(GRADIENT))
    def gradient_of_levels(
        levels: wp.array(dtype=int),
        level_count: int,
        weights: wp.array(dtype=float),
        positions: wp.array2d(dtype=float),
        table: wp.array(dtype=float),
        table_stride: int,
        table_index: wp.array(dtype=int),
        grad_output: wp.array(dtype=float),
        grad_table: wp.array(dtype=float),
        grad_positions: wp.array(dtype=float),
        first_level: int,
        level_step: int,
    ): ...

    @wp.kernel(enable_backward=False, module="unique")
    def encode(
        levels: wp.array(dtype=int),
        level_count: int,
        weights: wp.array(dtype=float),
        positions: wp.array2d(dtype=float),
        table: wp.array(dtype=float),
        table_stride: int,
        table_index: wp.array(dtype=int),
        output: wp.array(dtype=float),
        first: int,
        last: int,
    ):
        encode_points(levels, level_count, weights, positions, table, table_stride, table_index, output, first, last)

    @wp.kernel(enable_backward=False, module="unique")
    def gradient(
        levels: wp.array(dtype=int),
        level_count: int,
        weights: wp.array(dtype=float),
        positions: wp.array2d(dtype=float),
        table: wp.array(dtype=float),
        table_stride: int,
        table_index: wp.array(dtype=int),
        grad_output: wp.array(dtype=float),
        grad_table: wp.array(dtype=float),
        grad_positions: wp.array(dtype=float),
        first_level: int,
        level_step: int,
    ):
        gradient_of_levels(
            levels,
            level_count,
            weights,
            positions,
            table,
            table_stride,
            table_index,
            grad_output,
            grad_table,
            grad_positions,
            first_level,
            level_step,
        )

    return SimpleNamespace(encode=encode, gradient=gradient)
