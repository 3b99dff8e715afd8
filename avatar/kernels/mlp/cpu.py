"""CPU kernels of the fused MLP: native code in Warp, compiled by Warp's compiler for the host processor.

A tile of samples passes through all layers while its activations stay in the L1 and L2 caches. Only inputs and outputs
go to memory; the backward pass recomputes the activations. All three products of a layer (forward, gradient of its
input, gradient of its weights) are one block product C += A B with C in vector registers: entries of A are broadcast,
rows of B are vectors of 16 floats. The compiler lowers these vectors to those of the processor.
"""

from functools import cache
from types import SimpleNamespace

from avatar.kernels.mlp.native import make_kernels

COMMON = """
    typedef float vec __attribute__((vector_size(64)));
    typedef long long count_t;
    struct Rows6 { enum { N = 6 }; }; struct Rows8 { enum { N = 8 }; };
    struct Rows12 { enum { N = 12 }; }; struct Rows16 { enum { N = 16 }; };
    struct Wide1 { enum { N = 1 }; }; struct Wide2 { enum { N = 2 }; };
    struct Wide3 { enum { N = 3 }; }; struct Wide4 { enum { N = 4 }; };
    const int* sizes = layers.data;              // fan-in, fan-out of each layer
    auto padded = [](int n) { return (n + 15) / 16 * 16; };
    auto fan_in = [&](int layer) { return sizes[2 * layer]; };
    auto fan_out = [&](int layer) { return sizes[2 * layer + 1]; };
    const int inputs = sizes[0], outputs = fan_out(layer_count - 1);
    float* pool = scratch.data + (count_t)worker * scratch_size;
    auto take = [&](count_t n) { float* p = pool; pool += (n + 31) / 16 * 16; return p; };
    // columns of each layer's input, and its bias; last, those of the output
    int wide[MAX_LAYERS + 1]; float* shift[MAX_LAYERS];
    for (int k = 0; k < layer_count; ++k) {
        wide[k] = k > 0 && k == skip ? padded(fan_out(k - 1)) + padded(inputs) : padded(fan_in(k));
        shift[k] = take(padded(fan_out(k)));
    }
    wide[layer_count] = padded(outputs);
    float* input = take((count_t)TILE * wide[0] + 16);
    // column of a layer's input where weight column i belongs: behind a skip the inputs start at a whole vector
    auto column = [&](int k, int i) {
        return k > 0 && k == skip && i >= fan_out(k - 1) ? i - fan_out(k - 1) + padded(fan_out(k - 1)) : i;
    };
    // a few numbers from row to row; loops of unknown length would go one by one
    typedef float eight __attribute__((ext_vector_type(8), aligned(4)));
    typedef float four __attribute__((ext_vector_type(4), aligned(4)));
    auto copy = [](float* to, const float* from, int n) __attribute__((always_inline)) {
        int c = 0;
        for (; c + 8 <= n; c += 8) *(eight*)(to + c) = *(const eight*)(from + c);
        if (c + 4 <= n) { *(four*)(to + c) = *(const four*)(from + c); c += 4; }
        for (; c < n; ++c) to[c] = from[c];
    };
    // pointers.data: for each part of the input values, row stride, columns, index or 0, gradient or 0,
    // and for an indexed part its rows
    const count_t* parts = pointers.data;
    auto load = [&](int begin, int n) {
        int at = 0;
        for (int p = 0; p < part_count; ++p) {
            const float* values = (const float*)parts[6 * p];
            const count_t stride = parts[6 * p + 1], columns = parts[6 * p + 2];
            const count_t* index = (const count_t*)parts[6 * p + 3];
            for (int s = 0; s < n; ++s) {
                const float* from = values + stride * (index ? index[begin + s] : begin + s);
                copy(input + (count_t)s * wide[0] + at, from, (int)columns);
            }
            at += columns;
        }
    };
"""
"""Sizes, scratch memory, and loading of a tile of inputs."""

PRODUCT = """
    // C [R x 16 V] (rows ldc apart) = start + A B, with A[r][k] at a + r * row + k * step and rows of B ldb apart;
    // the layout before this says what a number of A and B is (left_t), a vector of B (right_t), how to multiply_add
    auto block = [&](auto rows, auto vectors, const left_t* __restrict__ a, count_t row, count_t step,
                     const left_t* __restrict__ b, count_t ldb, int depth, float* __restrict__ c, count_t ldc,
                     const float* __restrict__ bias, bool add, bool relu) __attribute__((always_inline)) {
        enum { R = decltype(rows)::N, V = decltype(vectors)::N };
        vec sum[R][V];
        #pragma clang loop unroll(full)
        for (int r = 0; r < R; ++r)
            #pragma clang loop unroll(full)
            for (int v = 0; v < V; ++v)
                sum[r][v] = add ? *(const vec*)(c + r * ldc + 16 * v) : bias ? *(const vec*)(bias + 16 * v) : vec{};
        for (int k = 0; k < depth; ++k) {
            right_t right[V];
            #pragma clang loop unroll(full)
            for (int v = 0; v < V; ++v) right[v] = *(const right_t*)(b + k * ldb + 16 * v);
            #pragma clang loop unroll(full)
            for (int r = 0; r < R; ++r) {
                const left_t left = a[r * row + k * step];
                #pragma clang loop unroll(full)
                for (int v = 0; v < V; ++v) sum[r][v] = multiply_add(sum[r][v], left, right[v]);
            }
        }
        #pragma clang loop unroll(full)
        for (int r = 0; r < R; ++r)
            #pragma clang loop unroll(full)
            for (int v = 0; v < V; ++v) {
                vec value = sum[r][v];
                if (relu) value = value < 0.0f ? vec{} : value;  // NaN stays NaN
                *(vec*)(c + r * ldc + 16 * v) = value;
            }
    };
    // the same for any number of rows (rounded up to whole blocks: the buffers have room) and of columns
    auto product = [&](const left_t* a, count_t row, count_t step, const left_t* b, count_t ldb, int depth,
                       float* c, count_t ldc, int row_count, int columns, const float* bias, bool add, bool relu) {
        // as many sums as the registers hold: 32 of 16 numbers with AVX-512, else 16 of 8 (AVX2) or 32 of 4 (NEON)
    #ifdef __AVX512F__
        enum { WIDEST = 4 };
    #else
        enum { WIDEST = 1 };
    #endif
        for (int j = 0; j < columns; j += 16 * WIDEST) {
            const int left = (columns - j) / 16;
            const float* shifted = bias ? bias + j : nullptr;
            auto run = [&](auto rows, auto vectors) {
                for (int r = 0; r < row_count; r += decltype(rows)::N)
                    block(rows, vectors, a + r * row, row, step, b + j, ldb, depth, c + r * ldc + j, ldc, shifted, add,
                          relu);
            };
    #ifdef __AVX512F__
            if (left >= 4) run(Rows6{}, Wide4{});
            else if (left == 3) run(Rows8{}, Wide3{});
            else if (left == 2) run(Rows12{}, Wide2{});
            else run(Rows16{}, Wide1{});
    #else
            run(Rows6{}, Wide1{});
    #endif
        }
    };
"""
"""The block product, for the element types of a layout."""

LAYOUT = (
    COMMON
    + """
    typedef float left_t;
    typedef vec right_t;
    auto multiply_add = [](vec sum, left_t left, right_t right) __attribute__((always_inline)) {
        return sum + left * right;
    };
    // each layer's input tile, its weights as [in][out] and [out][in]
    float* tile[MAX_LAYERS + 1]; float* by_in[MAX_LAYERS]; float* by_out[MAX_LAYERS];
    for (int k = 0; k < layer_count; ++k) {
        tile[k] = k > 0 ? take((count_t)TILE * wide[k] + 16) : input;
        by_in[k] = take((count_t)(wide[k] + 16) * padded(fan_out(k)));
        by_out[k] = take((count_t)padded(fan_out(k)) * wide[k]);
    }
    tile[layer_count] = take((count_t)TILE * wide[layer_count] + 16);
    {
        const float* w = parameters.data;
        for (int k = 0; k < layer_count; ++k) {
            const int n = padded(fan_out(k));
            for (int o = 0; o < fan_out(k); ++o)
                for (int i = 0; i < fan_in(k); ++i) {
                    const float value = *w++;
                    by_in[k][(count_t)column(k, i) * n + o] = value;
                    by_out[k][(count_t)o * wide[k] + column(k, i)] = value;
                }
            for (int o = 0; o < fan_out(k); ++o) shift[k][o] = with_bias ? *w++ : 0.0f;
        }
    }
"""
    + PRODUCT
    + """
    auto forward = [&](int last) {
        for (int k = 0; k < last; ++k) {
            if (k > 0 && k == skip)
                for (int s = 0; s < TILE; ++s)
                    for (int c = 0; c < wide[0]; ++c)
                        tile[k][(count_t)s * wide[k] + padded(fan_out(k - 1)) + c] = tile[0][(count_t)s * wide[0] + c];
            product(tile[k], wide[k], 1, by_in[k], padded(fan_out(k)), k == skip && k > 0 ? wide[k] : fan_in(k),
                    tile[k + 1], wide[k + 1], TILE, padded(fan_out(k)), shift[k], false, k + 1 < layer_count);
        }
    };
"""
)

FORWARD = """
    for (int begin = first; begin < last; begin += TILE) {
        const int n = last - begin < TILE ? last - begin : TILE;
        load(begin, n);
        forward(layer_count);
        for (int s = 0; s < n; ++s)
            copy(result.data + (count_t)(begin + s) * outputs, tile[layer_count] + (count_t)s * wide[layer_count],
                 outputs);
    }
"""

WRITE_INPUT_GRADIENTS = """
        if (!want_inputs) continue;
        int at = 0;
        for (int p = 0; p < part_count; ++p) {
            const count_t columns = parts[6 * p + 2];
            const count_t* index = (const count_t*)parts[6 * p + 3];
            float* gradient = (float*)parts[6 * p + 4];
            if (gradient) {
                for (int s = 0; s < n; ++s) {
                    const float* from = input_delta + (count_t)s * wide[0] + at;
                    if (index) {
                        float* to = gradient + columns * (index[begin + s] + (count_t)worker * parts[6 * p + 5]);
                        for (int c = 0; c < columns; ++c) to[c] += from[c];
                    } else {
                        copy(gradient + columns * (begin + s), from, (int)columns);
                    }
                }
            }
            at += columns;
        }
    }
    float* g = gradients.data + (count_t)worker * parameters.shape[0];
    for (int k = 0; k < layer_count; ++k) {
        const int out = padded(fan_out(k));
        for (int o = 0; o < fan_out(k); ++o)
            for (int i = 0; i < fan_in(k); ++i) *g++ = sums[k][(count_t)column(k, i) * out + o];
        if (with_bias)
            for (int o = 0; o < fan_out(k); ++o) *g++ = shift_sums[k][o];
    }
"""
"""The end of the backward loop over tiles, and the sums of the gradients of the weights."""

BACKWARD = (
    """
    float* sums[MAX_LAYERS]; float* shift_sums[MAX_LAYERS]; float* delta[MAX_LAYERS + 1];
    int widest = 0;
    for (int k = 0; k < layer_count; ++k) {
        sums[k] = take((count_t)(wide[k] + 16) * padded(fan_out(k)));
        shift_sums[k] = take(padded(fan_out(k)));
        delta[k] = take((count_t)TILE * wide[k] + 16);
    }
    delta[layer_count] = take((count_t)TILE * wide[layer_count] + 16);
    float* input_delta = skip > 0 ? take((count_t)TILE * wide[0]) : delta[0];
    for (int begin = first; begin < last; begin += TILE) {
        const int n = last - begin < TILE ? last - begin : TILE;
        load(begin, n);
        forward(layer_count - 1);
        for (int j = n * wide[layer_count]; j < TILE * wide[layer_count]; ++j) delta[layer_count][j] = 0.0f;
        for (int s = 0; s < n; ++s)
            copy(delta[layer_count] + (count_t)s * wide[layer_count], incoming.data + (count_t)(begin + s) * outputs,
                 outputs);
        for (int k = layer_count - 1; k >= 0; --k) {
            const int out = padded(fan_out(k));
            const float* arriving = delta[k + 1];
            const int arriving_width = wide[k + 1];
            product(tile[k], 1, wide[k], arriving, arriving_width, n, sums[k], out, wide[k], out, nullptr, true, false);
            for (int s = 0; s < n; ++s)
                for (int c = 0; c < out; ++c) shift_sums[k][c] += arriving[(count_t)s * arriving_width + c];
            if (k == 0 && !want_inputs) break;
            product(arriving, arriving_width, 1, by_out[k], wide[k], fan_out(k), delta[k], wide[k], TILE, wide[k],
                    nullptr, false, false);
            if (k > 0) {
                const int hidden = padded(fan_out(k - 1));
                for (int s = 0; s < TILE; ++s) {
                    float* d = delta[k] + (count_t)s * wide[k];
                    const float* h = tile[k] + (count_t)s * wide[k];
                    if (k == skip)
                        for (int c = 0; c < wide[0]; ++c) input_delta[(count_t)s * wide[0] + c] = d[hidden + c];
                    for (int c = 0; c < hidden; ++c) d[c] = h[c] <= 0.0f ? 0.0f : d[c];
                }
            } else if (skip > 0)
                for (int j = 0; j < TILE * wide[0]; ++j) input_delta[j] += delta[0][j];
        }
"""
    + WRITE_INPUT_GRADIENTS
)


@cache
def kernels() -> SimpleNamespace:
    """`forward` and `backward` in float32; see `native.make_kernels`."""
    return make_kernels(LAYOUT + FORWARD, LAYOUT + BACKWARD)
