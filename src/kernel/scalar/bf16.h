/* SPDX-License-Identifier: Apache-2.0 */
/* bf16.h - bf16 operands, summed in f32 in the order and with the roundings of the AMX instruction
 * tdpbf16ps, which is the definition of a bf16 product in every kernel set.
 *
 * k runs in k32s, groups of 32 aligned at 0, the last one filled with zeros. Per result and k32,
 * with a and b rounded to bf16:
 *
 *   even = fma(a[30], b[30], .. fma(a[2], b[2], fma(a[0], b[0], +0)))    and odd likewise
 *   c = c + (even + odd)
 *
 * Operands that are denormal count as zero of their sign, and so does every result (of each fma, of
 * the inner sum, of the outer sum) that is tiny: one that, rounded to 24 bits with an unbounded
 * exponent, is below 2^-126 in magnitude. For a sum that is the same as the f32 result being
 * denormal. For an fma it is not quite: the exact value 2^-126 - 0.75 * 2^-150 rounds to 2^-126 in
 * f32, yet is tiny. Projections have no restart: c runs over all k32s, then the bias is added.
 */
#ifndef GQA__KERNEL_SCALAR_BF16_H
#define GQA__KERNEL_SCALAR_BF16_H

#include <float.h>
#include <string.h>

#include "kernel/scalar/attention.h"
#include "kernel/scalar/linear.h"
#include "kernel/scalar/scaled.h"

enum {
    K32 = 32,     /* values of k that are summed before they meet the accumulator */
    BF16_ROWS = 4 /* rows of a in the block product */
};

/* Multiplies one factor and the addend of an fma to see its rounding away from the denormals. */
#define BF16_LIFT 4294967296.0f

/* x, or zero of its sign where size < limit. */
static inline float flush_below(float x, float size, float limit)
{
    const uint32_t keep = 0u - (uint32_t) !(fabsf(size) < limit); /* all bits, or none */
    return gqa__f32_from_bits(gqa__f32_bits(x) & (keep | 0x80000000u));
}

static inline float flush(float x)
{
    return flush_below(x, x, FLT_MIN);
}

/* fma of which a tiny result is flushed. A lifted value that overflows was not tiny. */
static inline float flushed_fma(float a, float b, float c)
{
    const float lifted = fmaf(a * BF16_LIFT, b, c * BF16_LIFT);
    return flush_below(fmaf(a, b, c), lifted, FLT_MIN * BF16_LIFT);
}

/* The same of a product. */
static inline float flushed_product(float a, float b)
{
    return flush_below(a * b, a * BF16_LIFT * b, FLT_MIN * BF16_LIFT);
}

/* What a stored bf16 counts as in a product: denormals are zero. */
static inline float operand_value(uint16_t h)
{
    return flush(gqa__bf16_to_f32(h));
}

/* What a factor that is given as f32 (Q, activations) counts as: a denormal is zero before it is
 * rounded, as in the conversion instruction. */
static inline float factor_value(float x)
{
    return gqa__bf16_to_f32(gqa__f32_to_bf16(flush(x)));
}

/* c = c + (even + odd) of a k32. */
static inline void add_k32(float *restrict c, const float *restrict even, const float *restrict odd,
                           int32_t width)
{
    for (int32_t j = 0; j < width; j++) {
        c[j] = flush(c[j] + flush(even[j] + odd[j]));
    }
}

/* One k32 for BF16_ROWS rows: c[BF16_ROWS][SCALAR_LANES] += a [BF16_ROWS][a_row] b [32][b_step],
 * operand values as f32. */
static inline void k32_block(float (*restrict c)[SCALAR_LANES], const float *restrict a,
                             int64_t a_row, const float *restrict b, int64_t b_step)
{
    float even[BF16_ROWS][SCALAR_LANES], odd[BF16_ROWS][SCALAR_LANES];

    memset(even, 0, sizeof even);
    memset(odd, 0, sizeof odd);
    for (int32_t k = 0; k < K32; k += 2) {
        const float *restrict b0 = b + k * b_step; /* [SCALAR_LANES] */
        const float *restrict b1 = b0 + b_step;
        const float *restrict ak = a + k;

        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            even[0][j] = flushed_fma(ak[0], b0[j], even[0][j]);
            even[1][j] = flushed_fma(ak[a_row], b0[j], even[1][j]);
            even[2][j] = flushed_fma(ak[2 * a_row], b0[j], even[2][j]);
            even[3][j] = flushed_fma(ak[3 * a_row], b0[j], even[3][j]);
            odd[0][j] = flushed_fma(ak[1], b1[j], odd[0][j]);
            odd[1][j] = flushed_fma(ak[a_row + 1], b1[j], odd[1][j]);
            odd[2][j] = flushed_fma(ak[2 * a_row + 1], b1[j], odd[2][j]);
            odd[3][j] = flushed_fma(ak[3 * a_row + 1], b1[j], odd[3][j]);
        }
    }
    for (int32_t i = 0; i < BF16_ROWS; i++) {
        add_k32(c[i], even[i], odd[i], SCALAR_LANES);
    }
}

/* The same for one row: c [SCALAR_LANES]. */
static inline void k32_row(float *restrict c, const float *restrict a, const float *restrict b,
                           int64_t b_step)
{
    float even[SCALAR_LANES] = {0.0f}, odd[SCALAR_LANES] = {0.0f};

    for (int32_t k = 0; k < K32; k += 2) {
        const float *restrict b0 = b + k * b_step; /* [SCALAR_LANES] */
        const float *restrict b1 = b0 + b_step;

        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            even[j] = flushed_fma(a[k], b0[j], even[j]);
            odd[j] = flushed_fma(a[k + 1], b1[j], odd[j]);
        }
    }
    add_k32(c, even, odd, SCALAR_LANES);
}

/* One k32 for any number of rows of a [rows][a_row]: c [rows][c_row] += a b, SCALAR_LANES wide.
 */
static inline void k32_rows(float *c, int64_t c_row, const float *a, int64_t a_row, const float *b,
                            int64_t b_step, int32_t rows)
{
    int32_t i = 0;

    for (; i + BF16_ROWS <= rows; i += BF16_ROWS) {
        float sums[BF16_ROWS][SCALAR_LANES];
        for (int32_t r = 0; r < BF16_ROWS; r++) {
            memcpy(sums[r], c + (i + r) * c_row, sizeof sums[r]);
        }
        k32_block(sums, a + i * a_row, a_row, b, b_step);
        for (int32_t r = 0; r < BF16_ROWS; r++) {
            memcpy(c + (i + r) * c_row, sums[r], sizeof sums[r]);
        }
    }
    for (; i < rows; i++) {
        k32_row(c + i * c_row, a + i * a_row, b, b_step);
    }
}

static inline int64_t round_to_k32(int64_t n)
{
    return (n + K32 - 1) / K32 * K32;
}

/* --- attention ------------------------------------------------------------------------------- */

static inline size_t q_bytes_bf16(int32_t dk, int32_t ld)
{
    return (size_t)round_to_k32(dk) * (size_t)ld * sizeof(float);
}

/* q^T [dk rounded up][ld], scaled, operand values kept as f32; lanes beyond the rows are zero. */
static inline void pack_q_bf16(const struct gqa__pack_q_args *args)
{
    const int32_t ld = args->ld, dk = args->dk;
    float *out = args->dst;

    assert(args->map->count <= ld && ld % SCALAR_LANES == 0);
    memset(out, 0, q_bytes_bf16(dk, ld));
    for (int32_t r = 0; r < args->map->count; r++) {
        const int64_t row = gqa__row_offset(args->map, r);
        for (int32_t d = 0; d < dk; d++) {
            const float q = plain_value(args->q, row + d, args->q_type);
            out[(int64_t)d * ld + r] = factor_value(q * args->scale);
        }
    }
}

static inline void append_k_bf16(const struct gqa__append_args *args)
{
    if (gqa__scaled(args->storage)) {
        (void)append_scaled(args, false, true);
        return;
    }
    assert(args->storage == GQA_BF16);
    for (int32_t i = 0; i < args->n; i++) {
        uint16_t *row = (uint16_t *)args->page + (args->slot + i) * args->stride; /* [dim] */
        for (int32_t d = 0; d < args->dim; d++) {
            row[d] = gqa__f32_to_bf16(args->src[i * args->src_stride + d]);
        }
    }
}

/* Transposed: page [dim rounded up][stride] */
static inline bool append_v_bf16(const struct gqa__append_args *args)
{
    bool special = false;

    if (gqa__scaled(args->storage)) {
        return append_scaled(args, true, true);
    }
    assert(args->storage == GQA_BF16);
    for (int32_t i = 0; i < args->n; i++) {
        for (int32_t d = 0; d < args->dim; d++) {
            const uint16_t value = gqa__f32_to_bf16(args->src[i * args->src_stride + d]);
            ((uint16_t *)args->page)[d * args->stride + args->slot + i] = value;
            special |= (value & 0x7fffu) >= GQA__LARGE_BF16;
        }
    }
    return special;
}

/* n operand values of consecutive bf16. */
static inline void load_operands(float *restrict dst, const uint16_t *restrict src, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        dst[i] = operand_value(src[i]);
    }
}

/* q [dk rounded up][ld] */
static inline void score_bf16(const struct gqa__score_args *args)
{
    const int32_t ld = args->ld;

    assert(args->keys % BF16_ROWS == 0 && ld % SCALAR_LANES == 0);
    memset(args->s, 0, (size_t)args->keys * (size_t)ld * sizeof(float));
    for (int32_t key = 0; key < args->keys; key += BF16_ROWS) {
        const uint16_t *k = (const uint16_t *)args->k + key * args->k_stride;
        for (int32_t d = 0; d < args->dk; d += K32) {
            float a[BF16_ROWS][K32];
            for (int32_t i = 0; i < BF16_ROWS; i++) {
                load_operands(a[i], k + i * args->k_stride + d, K32);
            }
            for (int32_t lane = 0; lane < ld; lane += SCALAR_LANES) {
                k32_rows(args->s + (int64_t)key * ld + lane, ld, a[0], K32,
                         (const float *)args->q + (int64_t)d * ld + lane, ld, BF16_ROWS);
            }
        }
    }
    for (int32_t key = 0; key < args->keys && args->scale != NULL; key++) {
        float *restrict row = args->s + (int64_t)key * ld; /* [ld] */
        for (int32_t j = 0; j < ld; j++) {
            row[j] = flushed_product(row[j], args->scale[key]);
        }
    }
}

/* p >= 0 to bf16: to nearest, ties up. NaN stays NaN: the low half of a score's is zero. */
static inline uint16_t probability_to_bf16(float p)
{
    return (uint16_t)((gqa__f32_bits(p) + 0x8000u) >> 16);
}

/* A reference is raised where a maximum lies further above it than this: so p is at most 2^32. */
#define BF16_RISE  32.0f
#define BF16_RISEN 0x1p+32f /* exp2 of it */

/* m [ld]: the reference of each lane, to which its exponentials are relative. It is the largest
 * score of the first k32 of keys of which the lane sees one, and follows that of a later k32 only
 * when it must; so a vector kernel can exponentiate one k32 while the scores of the next are
 * computed. NaN is left out, a denormal counts as zero, never -0. s [keys][ld] */
static inline void reference_scores(float *restrict m, const float *s, int32_t keys, int32_t ld)
{
    for (int32_t j = 0; j < ld; j++) {
        m[j] = -INFINITY;
    }
    for (int32_t key = 0; key < keys; key += K32) {
        float top[SCALAR_TILE_ROWS];
        max_scores(top, s + (int64_t)key * ld, K32, ld);
        for (int32_t j = 0; j < ld; j++) {
            const float t = flush(top[j]) + 0.0f;
            m[j] = t - m[j] > BF16_RISE ? t : m[j];
        }
    }
}

/* m [lanes] of lanes that see a key with a large V: the largest score, so that p is at most 1 and
 * p V does not overflow where V does not. s [keys][stride], large [keys]. */
static inline void take_maxima(float *restrict m, const float *restrict s, int32_t stride,
                               const uint8_t *restrict large, int32_t keys, int32_t lanes)
{
    for (int32_t j = 0; j < lanes; j++) {
        float top = -INFINITY;
        bool seen = false;
        for (int32_t key = 0; key < keys; key++) {
            const float score = s[(int64_t)key * stride + j];
            top = score > top ? score : top;
            seen = seen || (large[key] != 0 && score != -INFINITY);
        }
        m[j] = seen ? flush(top) + 0.0f : m[j];
    }
}

/* p [keys][ld] bf16; l sums p before it is rounded. p is never denormal: exp2 ends at 2^-126. A
 * score, or a difference of scores, that is denormal counts as zero: vector kernels flush there. */
static inline void softmax_bf16(const struct gqa__softmax_args *args)
{
    const uint16_t hidden = args->mark != NULL ? 0x8000u : 0u;
    const int32_t ld = args->ld;
    float safe[SCALAR_TILE_ROWS];
    float sums[4][SCALAR_TILE_ROWS];

    assert(args->keys % K32 == 0 && ld <= SCALAR_TILE_ROWS);
    reference_scores(args->m, args->s, args->keys, ld);
    if (args->mark != NULL) {
        take_maxima(args->m, args->s, ld, args->mark, args->keys, ld);
    }
    safe_max(safe, args->m, ld);
    memset(sums, 0, sizeof sums);
    for (int32_t key = 0; key < args->keys; key++) {
        const float *restrict row = args->s + (int64_t)key * ld;          /* [ld] */
        uint16_t *restrict out = (uint16_t *)args->p + (int64_t)key * ld; /* [ld] */
        float *restrict sum = sums[key % 4];
        for (int32_t j = 0; j < ld; j++) {
            const float e = gqa__exp2f_fast(flush(flush(row[j]) - safe[j]));
            const float weight = args->scale != NULL ? flushed_product(e, args->scale[key]) : e;
            sum[j] += e;
            out[j] = row[j] == -INFINITY ? hidden : probability_to_bf16(weight);
        }
    }
    join_sums(args->l, sums, ld);
}

/* One dimension of v over a k32, taken as +0 where a lane's p is -0. c [SCALAR_LANES]. */
static inline void k32_nonfinite(float *restrict c, const float *restrict v,
                                 const float *restrict p, int64_t ld)
{
    float even[SCALAR_LANES] = {0.0f}, odd[SCALAR_LANES] = {0.0f};

    for (int32_t k = 0; k < K32; k += 2) {
        const float *restrict p0 = p + k * ld; /* [SCALAR_LANES] */
        const float *restrict p1 = p0 + ld;
        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            const float v0 = gqa__f32_bits(p0[j]) == 0x80000000u ? 0.0f : v[k];
            const float v1 = gqa__f32_bits(p1[j]) == 0x80000000u ? 0.0f : v[k + 1];
            even[j] = flushed_fma(v0, p0[j], even[j]);
            odd[j] = flushed_fma(v1, p1[j], odd[j]);
        }
    }
    add_k32(c, even, odd, SCALAR_LANES);
}

/* The k32 of keys from key on; p [32][ld] operand values. */
static inline void accumulate_k32(const struct gqa__accumulate_args *args, int32_t key,
                                  const float *p)
{
    const int32_t ld = args->ld;
    const bool marked = (args->flags & GQA__ACC_MARKED) != 0;

    for (int32_t d = 0; d < args->dv; d += BF16_ROWS) {
        const int32_t rows = args->dv - d < BF16_ROWS ? args->dv - d : BF16_ROWS;
        const uint16_t *v = (const uint16_t *)args->v + d * args->v_stride + key;
        float a[BF16_ROWS][K32];

        for (int32_t i = 0; i < rows; i++) {
            load_operands(a[i], v + i * args->v_stride, K32);
        }
        for (int32_t lane = 0; lane < ld; lane += SCALAR_LANES) {
            float *out = args->o + (int64_t)d * ld + lane; /* [rows][ld] */
            for (int32_t i = 0; i < rows && marked; i++) {
                k32_nonfinite(out + (int64_t)i * ld, a[i], p + lane, ld);
            }
            if (!marked) {
                k32_rows(out, ld, a[0], K32, p + lane, ld, rows);
            }
        }
    }
}

/* Probabilities of a k32 as f32, on the way of accumulate_bf16. */
enum { SCRATCH_BF16 = K32 * SCALAR_TILE_ROWS * (int)sizeof(float) };

/* p [keys][ld] */
static inline void accumulate_bf16(const struct gqa__accumulate_args *args)
{
    const int32_t ld = args->ld;
    float *probability = args->scratch; /* [32][ld] */

    assert(args->keys % K32 == 0 && ld % SCALAR_LANES == 0 && ld <= SCALAR_TILE_ROWS);
    if (args->flags & GQA__ACC_FIRST) {
        memset(args->o, 0, (size_t)args->dv * (size_t)ld * sizeof(float));
    }
    for (int32_t key = 0; key < args->keys; key += K32) {
        load_operands(probability, (const uint16_t *)args->p + (int64_t)key * ld, K32 * ld);
        accumulate_k32(args, key, probability);
    }
}

/* --- projections ----------------------------------------------------------------------------- */

static inline size_t weight_bytes_bf16(int64_t out, int64_t in)
{
    const int64_t blocks = (out + SCALAR_OUT_STEP - 1) / SCALAR_OUT_STEP;
    return (size_t)(blocks * SCALAR_OUT_STEP * round_to_k32(in)) * sizeof(uint16_t);
}

/* dst [out / SCALAR_OUT_STEP][in rounded up][SCALAR_OUT_STEP] bf16 */
static inline void pack_weight_bf16(void *dst, int64_t row, const float *src, int64_t out,
                                    int64_t in)
{
    const int64_t block = row / SCALAR_OUT_STEP;
    uint16_t *to =
        (uint16_t *)dst + block * SCALAR_OUT_STEP * round_to_k32(in) + row % SCALAR_OUT_STEP;

    assert(row < out);
    (void)out;
    for (int64_t k = 0; k < in; k++) {
        to[k * SCALAR_OUT_STEP] = gqa__f32_to_bf16(src[k]);
    }
}

static inline size_t int8_bytes_bf16(int64_t out, int64_t in)
{
    return int8_packed_bytes(out, round_to_k32(in));
}

/* dst [out / SCALAR_OUT_STEP][in rounded up][SCALAR_OUT_STEP] */
static inline void pack_int8_bf16(void *dst, int64_t row, const int8_t *src, int64_t out,
                                  int64_t in)
{
    assert(row < out);
    (void)out;
    pack_int8_row(dst, row, src, in, round_to_k32(in));
}

static inline size_t x_bytes_bf16(int32_t tokens, int64_t in)
{
    return (size_t)tokens * (size_t)round_to_k32(in) * sizeof(float);
}

/* dst [tokens][in rounded up] operand values, kept as f32 */
static inline void pack_x_bf16(void *dst, const float *x, int64_t x_stride, int32_t tokens,
                               int64_t in)
{
    const int64_t padded = round_to_k32(in);

    for (int32_t t = 0; t < tokens; t++) {
        float *to = (float *)dst + t * padded; /* [padded] */
        for (int64_t k = 0; k < in; k++) {
            to[k] = factor_value(x[t * x_stride + k]);
        }
        for (int64_t k = in; k < padded; k++) {
            to[k] = 0.0f;
        }
    }
}

/* Tokens of one output block whose sums are kept at hand. */
enum { BF16_TOKENS = 32 };

/* Outputs out .. out + SCALAR_OUT_STEP of rows tokens: c [rows][SCALAR_OUT_STEP], x [rows][in
 * rounded up]. */
static inline void linear_block(const struct gqa__linear_args *args, int64_t out,
                                float (*restrict c)[SCALAR_OUT_STEP], const float *x, int32_t rows)
{
    const int64_t padded = round_to_k32(args->in);

    memset(c, 0, (size_t)rows * sizeof c[0]);
    for (int64_t k = 0; k < padded; k += K32) {
        const int64_t at = out * padded + k * SCALAR_OUT_STEP;
        float b[K32 * SCALAR_OUT_STEP]; /* [K32][SCALAR_OUT_STEP] */
        if (args->scale != NULL) {
            expand_int8(b, (const int8_t *)args->weight + at, K32 * SCALAR_OUT_STEP);
        } else {
            load_operands(b, (const uint16_t *)args->weight + at, K32 * SCALAR_OUT_STEP);
        }
        for (int32_t half = 0; half < SCALAR_OUT_STEP; half += SCALAR_LANES) {
            k32_rows(c[0] + half, SCALAR_OUT_STEP, x + k, padded, b + half, SCALAR_OUT_STEP, rows);
        }
    }
}

static inline void linear_bf16(const struct gqa__linear_args *args)
{
    const int64_t padded = round_to_k32(args->in);

    assert(args->out_begin % SCALAR_OUT_STEP == 0);
    for (int64_t out = args->out_begin; out < args->out_end; out += SCALAR_OUT_STEP) {
        const int64_t rest = args->out_end - out;
        const int32_t valid = (int32_t)(rest < SCALAR_OUT_STEP ? rest : SCALAR_OUT_STEP);

        for (int32_t t = 0; t < args->tokens; t += BF16_TOKENS) {
            const int32_t tokens = args->tokens - t;
            const int32_t rows = tokens < BF16_TOKENS ? tokens : BF16_TOKENS;
            float c[BF16_TOKENS][SCALAR_OUT_STEP];

            linear_block(args, out, c, (const float *)args->x + t * padded, rows);
            for (int32_t i = 0; i < rows; i++) {
                float *y = args->y + (t + i) * args->y_stride + out; /* [valid] */
                for (int32_t j = 0; j < valid; j++) {
                    y[j] = output_value(args, c[i][j], t + i, out + j);
                }
            }
        }
    }
}

#endif
