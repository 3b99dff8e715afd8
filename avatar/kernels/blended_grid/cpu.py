"""CPU kernels of the blended hash grids: native code in Warp, compiled by Warp's compiler for the host processor.

An entry holds the features of all K tables side by side (with F = 2 and K = 8 one cache line), so a corner costs one
load, whatever the number of tables, and no frame's blended table is written to memory.
"""

# pyright: reportInvalidTypeForm=false

from functools import cache
from types import SimpleNamespace

from avatar.kernels.hash_grid.cpu import LOCATE
from avatar.kernels.hash_grid.types import PRIMES
from avatar.kernels.runtime.launch import get_warp

wp = get_warp()

LINE = """
    typedef float line __attribute__((ext_vector_type(W), aligned(4)));
"""
"""The floats of an entry as one vector, of any alignment."""

ENCODE = """
    float* __restrict__ out = output.data;
    for (int level = 0; level < level_count; ++level) {
        const int* l = levels.data + 4 * level;
        const float* __restrict__ values = tables.data + (long long)W * l[1];
        for (int begin = first; begin < last; begin += BLOCK) {
            const int n = last - begin < BLOCK ? last - begin : BLOCK;
            load(begin, n);
            locate(l[0], l[2], l[3]);
            for (int j = 0; j < n; ++j) {
                float* to = out + ((long long)(begin + j) * level_count + level) * F;
                const int frame = which[begin + j];
                if (frame < 0) {
                    for (int f = 0; f < F; ++f) to[f] = 0.0f;
                    continue;
                }
                const int ahead = j + AHEAD < n ? j + AHEAD : n - 1;
                for (int c = 0; c < 8; ++c) __builtin_prefetch(values + (long long)W * entry[c][ahead]);
                line sum = 0.0f;
                for (int c = 0; c < 8; ++c) sum += weight[c][j] * *(const line*)(values + (long long)W * entry[c][j]);
                const float* share = coefficients.data + frame * K;
                for (int f = 0; f < F; ++f) {
                    float total = 0.0f;
                    for (int k = 0; k < K; ++k) total += sum[f * K + k] * share[k];
                    to[f] = total;
                }
            }
        }
    }
"""

GRADIENT = """
    const int count = positions.shape[0];
    const float* __restrict__ incoming = grad_output.data;
    float* __restrict__ grad_place = grad_positions.data;
    for (int level = first_level; level < level_count; level += level_step) {
        const int* l = levels.data + 4 * level;
        const float* __restrict__ values = tables.data + (long long)W * l[1];
        float* __restrict__ grad_values = grad_tables.data + (long long)W * l[1];
        const float cells = (float)l[0];
        for (int begin = 0; begin < count; begin += BLOCK) {
            const int n = count - begin < BLOCK ? count - begin : BLOCK;
            load(begin, n);
            locate(l[0], l[2], l[3]);
            for (int j = 0; j < n; ++j) {
                const int frame = which[begin + j];
                if (frame < 0) continue;
                const float* g = incoming + ((long long)(begin + j) * level_count + level) * F;
                const float* share = coefficients.data + frame * K;
                float* grad_share = grad_coefficients.data + (long long)frame * W;
                const int ahead = j + AHEAD < n ? j + AHEAD : n - 1;
                for (int c = 0; c < 8; ++c) {
                    __builtin_prefetch(values + (long long)W * entry[c][ahead]);
                    __builtin_prefetch(grad_values + (long long)W * entry[c][ahead], 1);
                }
                line pull, push, sum = 0.0f;
                for (int f = 0; f < F; ++f)
                    for (int k = 0; k < K; ++k) {
                        push[f * K + k] = g[f];
                        pull[f * K + k] = g[f] * share[k];
                    }
                line v[8];
                for (int c = 0; c < 8; ++c) {
                    v[c] = *(const line*)(values + (long long)W * entry[c][j]);
                    sum += weight[c][j] * v[c];
                    *(line*)(grad_values + (long long)W * entry[c][j]) += weight[c][j] * pull;
                }
                *(line*)grad_share += push * sum;
                const float x = fx[j], y = fy[j], z = fz[j], a = 1.0f - x, b = 1.0f - y, e = 1.0f - z;
                const line dx = pull * (b * e * (v[1] - v[0]) + y * e * (v[3] - v[2])
                    + b * z * (v[5] - v[4]) + y * z * (v[7] - v[6]));
                const line dy = pull * (a * e * (v[2] - v[0]) + x * e * (v[3] - v[1])
                    + a * z * (v[6] - v[4]) + x * z * (v[7] - v[5]));
                const line dz = pull * (a * b * (v[4] - v[0]) + x * b * (v[5] - v[1])
                    + a * y * (v[6] - v[2]) + x * y * (v[7] - v[3]));
                float sx = 0.0f, sy = 0.0f, sz = 0.0f;
                for (int w = 0; w < W; ++w) { sx += dx[w]; sy += dy[w]; sz += dz[w]; }
                // no slope along an axis on which the point was clamped
                float* p = grad_place + 3ll * (begin + j);
                p[0] += px[j] < 0.0f || px[j] > 1.0f ? 0.0f : cells * sx;
                p[1] += py[j] < 0.0f || py[j] > 1.0f ? 0.0f : cells * sy;
                p[2] += pz[j] < 0.0f || pz[j] > 1.0f ? 0.0f : cells * sz;
            }
        }
    }
"""


@cache
def make_cpu_kernels(features: int, tables: int) -> SimpleNamespace:
    """`encode` and `gradient` for `tables` tables of `features` features per entry; compiled on first launch.

    Both are launched with dim 1. `encode` processes the points `first` to `last` on all levels; `gradient` all points
    on every `level_step`-th level from `first_level`. Arrays are flat: levels `[L, 4]` (resolution, offset, size,
    hashed), positions `[N, 3]`, tables `[T, F, K]`, coefficients `[B, K]`, table_index `[N]` (frame, -1 for none),
    output and grad_output `[N, L, F]`, grad_coefficients `[B, F, K]` (to be summed over F).
    """

    def source(code: str) -> str:
        # the lanes of a vector may be summed in any order
        head = "#pragma clang fp reassociate(on)\n"
        text = f"{head}enum {{ F = {features}, K = {tables}, W = F * K }};\n" + LINE + LOCATE + code
        return text.replace("PRIME_Y", str(PRIMES[1])).replace("PRIME_Z", str(PRIMES[2]))

    @wp.func_native(source(ENCODE))
    def encode_points(
        levels: wp.array(dtype=int),
        level_count: int,
        positions: wp.array2d(dtype=float),
        tables: wp.array(dtype=float),
        coefficients: wp.array(dtype=float),
        table_index: wp.array(dtype=int),
        output: wp.array(dtype=float),
        first: int,
        last: int,
    ): ...

    @wp.func_native(source(GRADIENT))
    def gradient_of_levels(
        levels: wp.array(dtype=int),
        level_count: int,
        positions: wp.array2d(dtype=float),
        tables: wp.array(dtype=float),
        coefficients: wp.array(dtype=float),
        table_index: wp.array(dtype=int),
        grad_output: wp.array(dtype=float),
        grad_tables: wp.array(dtype=float),
        grad_coefficients: wp.array(dtype=float),
        grad_positions: wp.array(dtype=float),
        first_level: int,
        level_step: int,
    ): ...

    @wp.kernel(enable_backward=False, module="unique")
    def encode(
        levels: wp.array(dtype=int),
        level_count: int,
        positions: wp.array2d(dtype=float),
        tables: wp.array(dtype=float),
        coefficients: wp.array(dtype=float),
        table_index: wp.array(dtype=int),
        output: wp.array(dtype=float),
        first: int,
        last: int,
    ):
        encode_points(levels, level_count, positions, tables, coefficients, table_index, output, first, last)

    @wp.kernel(enable_backward=False, module="unique")
    def gradient(
        levels: wp.array(dtype=int),
        level_count: int,
        positions: wp.array2d(dtype=float),
        tables: wp.array(dtype=float),
        coefficients: wp.array(dtype=float),
        table_index: wp.array(dtype=int),
        grad_output: wp.array(dtype=float),
        grad_tables: wp.array(dtype=float),
        grad_coefficients: wp.array(dtype=float),
        grad_positions: wp.array(dtype=float),
        first_level: int,
        level_step: int,
    ):
        gradient_of_levels(
            levels,
            level_count,
            positions,
            tables,
            coefficients,
            table_index,
            grad_output,
            grad_tables,
            grad_coefficients,
            grad_positions,
            first_level,
            level_step,
        )

    return SimpleNamespace(encode=encode, gradient=gradient)
