"""CPU kernels of the fused MLP in bfloat16, for processors with AVX-512 BF16: as `cpu.py`, with two products per lane.

One instruction multiplies pairs of bfloat16 numbers and adds both products to a float32 sum. The left factor of a block
product therefore packs neighbours along the summed axis into one 32-bit word, and the right factor packs two of its
rows. Activations are kept in both layouts: by rows for the next layer, and with two samples per word for the gradient
of the weights. Sums, biases, inputs and outputs are float32.
"""

from functools import cache
from types import SimpleNamespace

from avatar.kernels.mlp.cpu import COMMON, PRODUCT, WRITE_INPUT_GRADIENTS
from avatar.kernels.mlp.native import make_kernels

LAYOUT = (
    COMMON
    + """
    typedef __bf16 halves __attribute__((vector_size(64)));
    typedef unsigned words __attribute__((vector_size(64)));
    typedef unsigned left_t;
    typedef words right_t;
    auto multiply_add = [](vec sum, left_t left, right_t right) __attribute__((always_inline)) {
        return (vec)__builtin_ia32_dpbf16ps_512(sum, (halves)(left - words{}), (halves)right);
    };
    typedef unsigned short bits __attribute__((vector_size(32)));
    typedef __bf16 narrowed __attribute__((vector_size(32)));
    auto narrow = [](vec v) __attribute__((always_inline)) { return (bits)__builtin_convertvector(v, narrowed); };
    auto join = [&](vec low, vec high) __attribute__((always_inline)) {
        return __builtin_convertvector(narrow(low), words) | (__builtin_convertvector(narrow(high), words) << 16);
    };
    auto half = [](float v) { return __builtin_bit_cast(unsigned short, (__bf16)v); };
    int widest = 0;
    unsigned short* rows[MAX_LAYERS]; unsigned* in_pairs[MAX_LAYERS]; unsigned* out_pairs[MAX_LAYERS];
    for (int k = 0; k < layer_count; ++k) {
        rows[k] = (unsigned short*)take((count_t)TILE * wide[k] / 2 + 16);
        in_pairs[k] = (unsigned*)take((count_t)(wide[k] / 2 + 16) * padded(fan_out(k)));
        out_pairs[k] = (unsigned*)take((count_t)padded(fan_out(k)) / 2 * wide[k]);
        if (wide[k] > widest) widest = wide[k];
    }
    if (wide[layer_count] > widest) widest = wide[layer_count];
    float* flat = take((count_t)TILE * widest + 16);
    {
        const float* w = parameters.data;
        for (int k = 0; k < layer_count; ++k) {
            const int n = padded(fan_out(k));
            for (int o = 0; o < fan_out(k); ++o)
                for (int i = 0; i < fan_in(k); ++i) {
                    const unsigned short value = half(*w++);
                    const count_t at = column(k, i);
                    ((unsigned short*)in_pairs[k])[(at / 2 * n + o) * 2 + at % 2] = value;
                    ((unsigned short*)out_pairs[k])[((count_t)(o / 2) * wide[k] + at) * 2 + o % 2] = value;
                }
            for (int o = 0; o < fan_out(k); ++o) shift[k][o] = with_bias ? *w++ : 0.0f;
        }
    }
"""
    + PRODUCT
    + """
    // a float32 tile as rows of bfloat16, and as words of two samples each
    auto to_rows = [&](const float* from, count_t ldf, unsigned short* to, count_t ldt, int columns) {
        for (int s = 0; s < TILE; ++s)
            for (int c = 0; c < columns; c += 16)
                *(bits*)(to + s * ldt + c) = narrow(*(const vec*)(from + s * ldf + c));
    };
    auto to_pairs = [&](const float* from, count_t ldf, unsigned* to, count_t ldt, int columns) {
        for (int s = 0; s < TILE; s += 2)
            for (int c = 0; c < columns; c += 16)
                *(words*)(to + s / 2 * ldt + c) =
                    join(*(const vec*)(from + s * ldf + c), *(const vec*)(from + (s + 1) * ldf + c));
    };
    unsigned* pairs[MAX_LAYERS];
    for (int k = 0; k < layer_count; ++k)
        pairs[k] = keep_pairs ? (unsigned*)take((count_t)TILE / 2 * wide[k] + 16) : nullptr;
    auto forward = [&](int last) {
        to_rows(input, wide[0], rows[0], wide[0], wide[0]);
        if (keep_pairs) to_pairs(input, wide[0], pairs[0], wide[0], wide[0]);
        for (int k = 0; k < last; ++k) {
            const int out = padded(fan_out(k));
            if (k > 0 && k == skip) {
                const int behind = padded(fan_out(k - 1));
                to_rows(input, wide[0], rows[k] + behind, wide[k], wide[0]);
                if (keep_pairs) to_pairs(input, wide[0], pairs[k] + behind, wide[k], wide[0]);
            }
            const int depth = k > 0 && k == skip ? wide[k] / 2 : (fan_in(k) + 1) / 2;
            product((const unsigned*)rows[k], wide[k] / 2, 1, in_pairs[k], out, depth, flat, out, TILE, out, shift[k],
                    false, k + 1 < layer_count);
            if (k + 1 == layer_count) break;
            to_rows(flat, out, rows[k + 1], wide[k + 1], out);
            if (keep_pairs) to_pairs(flat, out, pairs[k + 1], wide[k + 1], out);
        }
    };
"""
)

FORWARD = """
    for (int begin = first; begin < last; begin += TILE) {
        const int n = last - begin < TILE ? last - begin : TILE;
        load(begin, n);
        forward(layer_count);
        const int out = padded(outputs);
        for (int s = 0; s < n; ++s)
            copy(result.data + (count_t)(begin + s) * outputs, flat + (count_t)s * out, outputs);
    }
"""

BACKWARD = (
    """
    float* sums[MAX_LAYERS]; float* shift_sums[MAX_LAYERS];
    for (int k = 0; k < layer_count; ++k) {
        sums[k] = take((count_t)(wide[k] + 16) * padded(fan_out(k)));
        shift_sums[k] = take(padded(fan_out(k)));
    }
    float* delta = take((count_t)TILE * widest + 16);
    float* below = take((count_t)TILE * widest + 16);
    unsigned short* delta_rows = (unsigned short*)take((count_t)TILE * widest / 2 + 16);
    unsigned* delta_pairs = (unsigned*)take((count_t)TILE / 2 * widest + 16);
    float* input_delta = take((count_t)TILE * wide[0]);
    for (int begin = first; begin < last; begin += TILE) {
        const int n = last - begin < TILE ? last - begin : TILE;
        load(begin, n);
        forward(layer_count - 1);
        for (int j = 0; j < TILE * padded(outputs); ++j) delta[j] = 0.0f;
        for (int s = 0; s < n; ++s)
            copy(delta + (count_t)s * padded(outputs), incoming.data + (count_t)(begin + s) * outputs, outputs);
        for (int j = 0; j < TILE * wide[0]; ++j) input_delta[j] = 0.0f;
        for (int k = layer_count - 1; k >= 0; --k) {
            const int out = padded(fan_out(k));
            to_pairs(delta, out, delta_pairs, out, out);
            product(pairs[k], 1, wide[k], delta_pairs, out, TILE / 2, sums[k], out, wide[k], out, nullptr, true, false);
            for (int s = 0; s < n; ++s)
                for (int c = 0; c < out; ++c) shift_sums[k][c] += delta[(count_t)s * out + c];
            if (k == 0 && !want_inputs) break;
            to_rows(delta, out, delta_rows, out, out);
            product((const unsigned*)delta_rows, out / 2, 1, out_pairs[k], wide[k], (fan_out(k) + 1) / 2, below,
                    wide[k], TILE, wide[k], nullptr, false, false);
            if (k == 0 || k == skip) {
                const int behind = k > 0 ? padded(fan_out(k - 1)) : 0;
                for (int s = 0; s < TILE; ++s)
                    for (int c = 0; c < wide[0]; ++c)
                        input_delta[(count_t)s * wide[0] + c] += below[(count_t)s * wide[k] + behind + c];
            }
            if (k == 0) break;
            const int hidden = padded(fan_out(k - 1));
            for (int s = 0; s < TILE; ++s)
                for (int c = 0; c < hidden; ++c) {
                    const bool closed = (rows[k][(count_t)s * wide[k] + c] & 0x7fff) == 0;
                    delta[(count_t)s * hidden + c] = closed ? 0.0f : below[(count_t)s * wide[k] + c];
                }
        }
"""
    + WRITE_INPUT_GRADIENTS
)


@cache
def kernels() -> SimpleNamespace:
    """`forward` and `backward` in bfloat16; see `native.make_kernels`."""
    return make_kernels(LAYOUT + FORWARD, LAYOUT + BACKWARD)
