"""CPU kernels of the frequency encoding: native code in Warp, compiled by Warp's compiler for the host processor.

The angle of band j is pi 2^j x. Both 2^j x and its reduction by whole periods are exact in floating point, so one
polynomial serves all bands at full precision; the compiler vectorises it.
"""

# pyright: reportInvalidTypeForm=false

from functools import cache
from types import SimpleNamespace

from avatar.kernels.runtime.launch import get_warp

wp = get_warp()

ENCODE = """
    // angles of a sample: band major, dimensions within; MAX covers 16 bands of 3 dimensions
    enum { MAX = 48 };
    const int angles = bands * dimensions;
    alignas(64) float turn[MAX], scale[MAX], weight[MAX], sine[MAX], cosine[MAX];
    int axis[MAX];
    for (int k = 0; k < MAX; ++k) scale[k] = weight[k] = turn[k] = 0.0f;
    for (int k = 0; k < angles; ++k) {
        axis[k] = k % dimensions;
        scale[k] = (float)(1 << (k / dimensions));
        weight[k] = window.data[k / dimensions];
    }
    for (int i = first; i < last; ++i) {
        const float* x = values.data + (long long)i * dimensions;
        float* out = result.data + (long long)i * (dimensions + 2 * angles);
        for (int d = 0; d < dimensions; ++d) out[d] = x[d];
        for (int k = 0; k < angles; ++k) turn[k] = scale[k] * x[axis[k]];
        #pragma clang loop vectorize(enable)
        for (int k = 0; k < MAX; ++k) {
            // sin(pi u) and cos(pi u): half turns off, then Taylor's series for a rest of up to a quarter turn
            const float half = __builtin_rintf(turn[k]);
            const float r = turn[k] - half, q = r * r;
            const float odd = half - 2.0f * __builtin_floorf(0.5f * half), sign = 1.0f - 2.0f * odd;
            float s = -0.00737043094f;
            s = s * q + 0.0821458866f; s = s * q - 0.599264529f; s = s * q + 2.55016404f;
            s = s * q - 5.16771278f; s = s * q + 3.14159265f;
            float c = 0.00192957431f;
            c = c * q - 0.0258068913f; c = c * q + 0.235330630f; c = c * q - 1.33526277f;
            c = c * q + 4.05871213f; c = c * q - 4.93480220f; c = c * q + 1.0f;
            sine[k] = weight[k] * sign * s * r;
            cosine[k] = weight[k] * sign * c;
        }
        for (int k = 0; k < angles; ++k) out[dimensions + k] = sine[k];
        for (int k = 0; k < angles; ++k) out[dimensions + angles + k] = cosine[k];
    }
"""

GRADIENT = """
    enum { MAX = 48 };
    const int angles = bands * dimensions;
    alignas(64) float slope[MAX], part[MAX];
    int axis[MAX];
    for (int k = 0; k < angles; ++k) {
        axis[k] = k % dimensions;
        slope[k] = 3.14159265f * (float)(1 << (k / dimensions));
    }
    for (int i = first; i < last; ++i) {
        const float* out = result.data + (long long)i * (dimensions + 2 * angles) + dimensions;
        const float* g = incoming.data + (long long)i * (dimensions + 2 * angles);
        float* to = gradient.data + (long long)i * dimensions;
        for (int d = 0; d < dimensions; ++d) to[d] = g[d];
        g += dimensions;
        for (int k = 0; k < angles; ++k) part[k] = slope[k] * (g[k] * out[angles + k] - g[angles + k] * out[k]);
        for (int k = 0; k < angles; ++k) to[axis[k]] += part[k];
    }
"""


@cache
def make_cpu_kernels() -> SimpleNamespace:
    """`encode` and `gradient`, launched with dim 1 for the rows `first` to `last`; compiled on first launch.

    values, gradient: `[N, D]`; window: `[bands]`; result, incoming: `[N, D + 2 D bands]`, float32, flat.
    """

    @wp.func_native(ENCODE)
    def encode_samples(
        values: wp.array(dtype=float),
        dimensions: int,
        bands: int,
        window: wp.array(dtype=float),
        result: wp.array(dtype=float),
        first: int,
        last: int,
    ): ...

    @wp.func_native(GRADIENT)
    def gradient_of_samples(
        result: wp.array(dtype=float),
        incoming: wp.array(dtype=float),
        dimensions: int,
        bands: int,
        gradient: wp.array(dtype=float),
        first: int,
        last: int,
    ): ...

    @wp.kernel(enable_backward=False, module="unique")
    def encode(
        values: wp.array(dtype=float),
        dimensions: int,
        bands: int,
        window: wp.array(dtype=float),
        result: wp.array(dtype=float),
        first: int,
        last: int,
    ):
        encode_samples(values, dimensions, bands, window, result, first, last)

    @wp.kernel(enable_backward=False, module="unique")
    def gradient(
        result: wp.array(dtype=float),
        incoming: wp.array(dtype=float),
        dimensions: int,
        bands: int,
        gradient: wp.array(dtype=float),
        first: int,
        last: int,
    ):
        gradient_of_samples(result, incoming, dimensions, bands, gradient, first, last)

    return SimpleNamespace(encode=encode, gradient=gradient)
