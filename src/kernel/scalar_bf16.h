/* scalar_bf16.h - bf16 operands, summed in f32 in the order and with the roundings of the AMX
 * instruction tdpbf16ps, which is the definition of a bf16 product on every row.
 *
 * k runs in groups of 32 aligned at 0, the last one filled with zeros. Per result and group, with a
 * and b rounded to bf16:
 *
 *   even = fma(a[30], b[30], .. fma(a[2], b[2], fma(a[0], b[0], +0)))    and odd likewise
 *   c = c + (even + odd)
 *
 * Operands that are denormal count as zero of their sign, and so does every result (of each fma,
 * of the inner sum, of the outer sum) that is tiny: one that, rounded to 24 bits with an unbounded
 * exponent, is below 2^-126 in magnitude. For a sum that is the same as the f32 result being
 * denormal. For an fma it is not quite: the exact value 2^-126 - 0.75 * 2^-150 rounds to 2^-126 in
 * f32, yet is tiny. Projections have no restart: c runs over all groups, then the bias is added.
 */
#ifndef GQA__SCALAR_BF16_H
#define GQA__SCALAR_BF16_H

#include <float.h>
#include <string.h>

#include "kernel/scalar_attention.h"

enum {
    SCALAR_GROUP = 32, /* values of k that are summed before they meet the accumulator */
    BF16_ROWS = 4      /* rows of a in the block product */
};

/* Multiplies one factor and the addend of an fma to see its rounding away from the denormals. */
#define BF16_LIFT 4294967296.0f

/* x, or zero of its sign where size < limit. */
static inline float flush_below(float x, float size, float limit)
{
    const uint32_t keep = fabsf(size) < limit ? 0x80000000u : 0xffffffffu;
    return gqa__f32_from_bits(gqa__f32_bits(x) & keep);
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

/* Rounded to bf16 as an operand: denormals are zero. */
static inline uint16_t operand_bf16(float x)
{
    const uint16_t h = gqa__f32_to_bf16(x);
    return (h & 0x7f80u) != 0 ? h : (uint16_t)(h & 0x8000u);
}

/* The operand's value from the bf16 that a page or a packed tile holds. */
static inline float operand_value(uint16_t h)
{
    return flush(gqa__bf16_to_f32(h));
}

/* One group: c[BF16_ROWS][SCALAR_LANES] += a [BF16_ROWS][SCALAR_GROUP] b [SCALAR_GROUP][b_step].
 * a holds operand values, b flushed bf16. */
static inline void group_block(float (*restrict c)[SCALAR_LANES], float (*restrict a)[SCALAR_GROUP],
                               const uint16_t *restrict b, int64_t b_step)
{
    float sum[2][BF16_ROWS][SCALAR_LANES]; /* even and odd chains */

    memset(sum, 0, sizeof sum);
    for (int32_t k = 0; k < SCALAR_GROUP; k++) {
        const uint16_t *restrict bk = b + k * b_step; /* [SCALAR_LANES] */
        float(*restrict s)[SCALAR_LANES] = sum[k % 2];
        const float a0 = a[0][k], a1 = a[1][k], a2 = a[2][k], a3 = a[3][k];

        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            const float value = gqa__bf16_to_f32(bk[j]);
            s[0][j] = flushed_fma(a0, value, s[0][j]);
            s[1][j] = flushed_fma(a1, value, s[1][j]);
            s[2][j] = flushed_fma(a2, value, s[2][j]);
            s[3][j] = flushed_fma(a3, value, s[3][j]);
        }
    }
    for (int32_t i = 0; i < BF16_ROWS; i++) {
        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            c[i][j] = flush(c[i][j] + flush(sum[0][i][j] + sum[1][i][j]));
        }
    }
}

/* The same for one row of a and width columns, a constant multiple of SCALAR_LANES. */
static inline void group_row(float *restrict c, const float *restrict a, const uint16_t *restrict b)
{
    float even[SCALAR_OUT_STEP] = {0.0f}, odd[SCALAR_OUT_STEP] = {0.0f};

    for (int32_t k = 0; k < SCALAR_GROUP; k += 2) {
        const uint16_t *restrict bk = b + k * SCALAR_OUT_STEP; /* [2][SCALAR_OUT_STEP] */
        const float a0 = a[k], a1 = a[k + 1];

        for (int32_t j = 0; j < SCALAR_OUT_STEP; j++) {
            even[j] = flushed_fma(a0, gqa__bf16_to_f32(bk[j]), even[j]);
            odd[j] = flushed_fma(a1, gqa__bf16_to_f32(bk[SCALAR_OUT_STEP + j]), odd[j]);
        }
    }
    for (int32_t j = 0; j < SCALAR_OUT_STEP; j++) {
        c[j] = flush(c[j] + flush(even[j] + odd[j]));
    }
}

static inline int64_t round_to_group(int64_t n)
{
    return (n + SCALAR_GROUP - 1) / SCALAR_GROUP * SCALAR_GROUP;
}

/* --- attention ------------------------------------------------------------------------------- */

static size_t q_bytes_bf16(int32_t dk, int32_t ld)
{
    return (size_t)round_to_group(dk) * (size_t)ld * sizeof(uint16_t);
}

/* q^T [dk rounded up][ld], scaled, flushed bf16; lanes beyond the rows are zero. */
static void pack_q_bf16(void *dst, const float *q, const struct gqa__row_map *map, int32_t ld,
                        int32_t dk, float scale)
{
    uint16_t *out = dst;

    assert(map->count <= ld && ld % SCALAR_LANES == 0);
    memset(out, 0, q_bytes_bf16(dk, ld));
    for (int32_t r = 0; r < map->count; r++) {
        const float *row = q + gqa__row_offset(map, r); /* [dk] */
        for (int32_t d = 0; d < dk; d++) {
            out[(int64_t)d * ld + r] = operand_bf16(row[d] * scale);
        }
    }
}

static void append_k_bf16(void *page, int64_t k_stride, int32_t slot, int32_t n, const float *k,
                          int64_t token_stride, int32_t dk, gqa_dtype storage)
{
    assert(storage == GQA_BF16);
    (void)storage;
    for (int32_t i = 0; i < n; i++) {
        uint16_t *row = (uint16_t *)page + (slot + i) * k_stride; /* [dk] */
        for (int32_t d = 0; d < dk; d++) {
            row[d] = gqa__f32_to_bf16(k[i * token_stride + d]);
        }
    }
}

/* page [dv rounded up][v_stride]: transposed */
static bool append_v_bf16(void *page, int64_t v_stride, int32_t slot, int32_t n, const float *v,
                          int64_t token_stride, int32_t dv, gqa_dtype storage)
{
    bool nonfinite = false;

    assert(storage == GQA_BF16);
    (void)storage;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t d = 0; d < dv; d++) {
            const uint16_t value = gqa__f32_to_bf16(v[i * token_stride + d]);
            ((uint16_t *)page)[d * v_stride + slot + i] = value;
            nonfinite |= (value & 0x7f80u) == 0x7f80u;
        }
    }
    return nonfinite;
}

/* a [BF16_ROWS][SCALAR_GROUP] operand values from rows rows of src; rows beyond are zero. */
static inline void load_operands(float (*restrict a)[SCALAR_GROUP], const uint16_t *restrict src,
                                 int64_t stride, int32_t rows)
{
    for (int32_t i = 0; i < BF16_ROWS; i++) {
        for (int32_t k = 0; k < SCALAR_GROUP; k++) {
            a[i][k] = i < rows ? operand_value(src[i * stride + k]) : 0.0f;
        }
    }
}

/* s [keys][ld], q [dk rounded up][ld], k [keys][k_stride] */
static void score_bf16(float *s, int32_t ld, const void *q, const void *k, int64_t k_stride,
                       int32_t keys, int32_t dk)
{
    assert(keys % BF16_ROWS == 0 && ld % SCALAR_LANES == 0);
    memset(s, 0, (size_t)keys * (size_t)ld * sizeof(float));
    for (int32_t key = 0; key < keys; key += BF16_ROWS) {
        for (int32_t d = 0; d < dk; d += SCALAR_GROUP) {
            float a[BF16_ROWS][SCALAR_GROUP];
            load_operands(a, (const uint16_t *)k + key * k_stride + d, k_stride, BF16_ROWS);
            for (int32_t lane = 0; lane < ld; lane += SCALAR_LANES) {
                float *out = s + (int64_t)key * ld + lane; /* [BF16_ROWS][ld] */
                float c[BF16_ROWS][SCALAR_LANES];
                for (int32_t i = 0; i < BF16_ROWS; i++) {
                    memcpy(c[i], out + (int64_t)i * ld, sizeof c[i]);
                }
                group_block(c, a, (const uint16_t *)q + (int64_t)d * ld + lane, ld);
                for (int32_t i = 0; i < BF16_ROWS; i++) {
                    memcpy(out + (int64_t)i * ld, c[i], sizeof c[i]);
                }
            }
        }
    }
}

/* p [keys][ld] bf16; l sums p before it is rounded. p is never denormal: exp2 ends at 2^-126. */
static void softmax_bf16(void *p, float *m, float *l, float *s, int32_t keys, int32_t ld, bool mark)
{
    const uint16_t hidden = mark ? 0x8000u : 0u;
    float safe[SCALAR_TILE_ROWS];
    float sums[4][SCALAR_TILE_ROWS];

    assert(keys % 4 == 0 && ld <= SCALAR_TILE_ROWS);
    max_scores(m, s, keys, ld);
    safe_max(safe, m, ld);
    memset(sums, 0, sizeof sums);
    for (int32_t key = 0; key < keys; key++) {
        const float *restrict row = s + (int64_t)key * ld;          /* [ld] */
        uint16_t *restrict out = (uint16_t *)p + (int64_t)key * ld; /* [ld] */
        float *restrict sum = sums[key % 4];
        for (int32_t j = 0; j < ld; j++) {
            const float e = gqa__exp2f_fast(row[j] - safe[j]);
            sum[j] += e;
            out[j] = row[j] == -INFINITY ? hidden : gqa__f32_to_bf16(e);
        }
    }
    join_sums(l, sums, ld);
}

/* One dimension of v over a group, taken as +0 where a lane's p is -0. c [SCALAR_LANES]. */
static inline void group_marked(float *restrict c, const float *restrict a,
                                const uint16_t *restrict p, int64_t ld)
{
    float sum[2][SCALAR_LANES];

    memset(sum, 0, sizeof sum);
    for (int32_t k = 0; k < SCALAR_GROUP; k++) {
        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            const float seen = p[k * ld + j] == 0x8000u ? 0.0f : a[k];
            sum[k % 2][j] = flushed_fma(seen, gqa__bf16_to_f32(p[k * ld + j]), sum[k % 2][j]);
        }
    }
    for (int32_t j = 0; j < SCALAR_LANES; j++) {
        c[j] = flush(c[j] + flush(sum[0][j] + sum[1][j]));
    }
}

/* One group of keys for rows value dimensions and SCALAR_LANES lanes. */
static inline void accumulate_group(float *o, int32_t ld, float (*restrict a)[SCALAR_GROUP],
                                    const uint16_t *p, int32_t rows, int flags)
{
    float c[BF16_ROWS][SCALAR_LANES];

    memset(c, 0, sizeof c);
    for (int32_t i = 0; i < rows && !(flags & GQA__ACC_FIRST); i++) {
        memcpy(c[i], o + (int64_t)i * ld, sizeof c[i]);
    }
    if (flags & GQA__ACC_MARKED) {
        for (int32_t i = 0; i < rows; i++) {
            group_marked(c[i], a[i], p, ld);
        }
    } else {
        group_block(c, a, p, ld);
    }
    for (int32_t i = 0; i < rows; i++) {
        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            const float ended = gqa__canonical(c[i][j] + 0.0f); /* -0 + 0 = +0 */
            o[(int64_t)i * ld + j] = flags & GQA__ACC_LAST ? ended : c[i][j];
        }
    }
}

/* o [dv][ld], p [keys][ld], v [dv][v_stride] */
static void accumulate_bf16(float *o, int32_t ld, const void *p, const void *v, int64_t v_stride,
                            int32_t keys, int32_t dv, int flags)
{
    assert(keys % SCALAR_GROUP == 0 && ld % SCALAR_LANES == 0);
    for (int32_t d = 0; d < dv; d += BF16_ROWS) {
        const int32_t rows = dv - d < BF16_ROWS ? dv - d : BF16_ROWS;
        for (int32_t key = 0; key < keys; key += SCALAR_GROUP) {
            const int first = key == 0 ? GQA__ACC_FIRST : 0;
            const int last = key + SCALAR_GROUP == keys ? GQA__ACC_LAST : 0;
            const int here = flags & (first | last | GQA__ACC_MARKED);
            float a[BF16_ROWS][SCALAR_GROUP];

            load_operands(a, (const uint16_t *)v + d * v_stride + key, v_stride, rows);
            for (int32_t lane = 0; lane < ld; lane += SCALAR_LANES) {
                accumulate_group(o + (int64_t)d * ld + lane, ld, a,
                                 (const uint16_t *)p + (int64_t)key * ld + lane, rows, here);
            }
        }
    }
}

/* --- projections ----------------------------------------------------------------------------- */

static size_t weight_bytes_bf16(int64_t out, int64_t in)
{
    const int64_t blocks = (out + SCALAR_OUT_STEP - 1) / SCALAR_OUT_STEP;
    return (size_t)(blocks * SCALAR_OUT_STEP * round_to_group(in)) * sizeof(uint16_t);
}

/* dst [out / SCALAR_OUT_STEP][in rounded up][SCALAR_OUT_STEP] flushed bf16 */
static void pack_weight_bf16(void *dst, int64_t row, const float *src, int64_t out, int64_t in)
{
    const int64_t block = row / SCALAR_OUT_STEP;
    uint16_t *to =
        (uint16_t *)dst + block * SCALAR_OUT_STEP * round_to_group(in) + row % SCALAR_OUT_STEP;

    assert(row < out);
    (void)out;
    for (int64_t k = 0; k < in; k++) {
        to[k * SCALAR_OUT_STEP] = operand_bf16(src[k]);
    }
}

static size_t x_bytes_bf16(int32_t tokens, int64_t in)
{
    return (size_t)tokens * (size_t)round_to_group(in) * sizeof(float);
}

/* dst [tokens][in rounded up] operand values, kept as f32 */
static void pack_x_bf16(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in)
{
    const int64_t padded = round_to_group(in);

    memset(dst, 0, x_bytes_bf16(tokens, in));
    for (int32_t t = 0; t < tokens; t++) {
        for (int64_t k = 0; k < in; k++) {
            ((float *)dst)[t * padded + k] = operand_value(operand_bf16(x[t * x_stride + k]));
        }
    }
}

/* c [width] outputs out .. of one token, bias added. */
static inline void store_outputs(const struct gqa__linear_args *args, int32_t token, int64_t out,
                                 const float *restrict c, int32_t width)
{
    const int32_t valid = (int32_t)(args->out_end - out < width ? args->out_end - out : width);
    float *restrict y = args->y + token * args->y_stride + out; /* [valid] */

    for (int32_t j = 0; j < valid; j++) {
        y[j] = gqa__canonical(args->bias != NULL ? c[j] + args->bias[out + j] : c[j]);
    }
}

/* SCALAR_LANES outputs of up to BF16_ROWS tokens; w [in rounded up][SCALAR_OUT_STEP]. */
static inline void linear_block(const struct gqa__linear_args *args, int32_t token, int64_t out,
                                const uint16_t *w)
{
    const int64_t padded = round_to_group(args->in);
    const int32_t left = args->tokens - token;
    const int32_t rows = left < BF16_ROWS ? left : BF16_ROWS;
    float a[BF16_ROWS][SCALAR_GROUP];
    float c[BF16_ROWS][SCALAR_LANES];

    memset(c, 0, sizeof c);
    memset(a, 0, sizeof a);
    for (int64_t k = 0; k < padded; k += SCALAR_GROUP) {
        for (int32_t i = 0; i < rows; i++) {
            memcpy(a[i], (const float *)args->x + (token + i) * padded + k, sizeof a[i]);
        }
        group_block(c, a, w + k * SCALAR_OUT_STEP, SCALAR_OUT_STEP);
    }
    for (int32_t i = 0; i < rows; i++) {
        store_outputs(args, token + i, out, c[i], SCALAR_LANES);
    }
}

static void linear_bf16(const struct gqa__linear_args *args)
{
    const int64_t padded = round_to_group(args->in);

    assert(args->out_begin % SCALAR_OUT_STEP == 0);
    for (int64_t out = args->out_begin; out < args->out_end; out += SCALAR_OUT_STEP) {
        const uint16_t *w = (const uint16_t *)args->weight + out * padded;
        if (args->tokens == 1) {
            float c[SCALAR_OUT_STEP] = {0.0f};
            for (int64_t k = 0; k < padded; k += SCALAR_GROUP) {
                group_row(c, (const float *)args->x + k, w + k * SCALAR_OUT_STEP);
            }
            store_outputs(args, 0, out, c, SCALAR_OUT_STEP);
            continue;
        }
        for (int32_t t = 0; t < args->tokens; t += BF16_ROWS) {
            for (int32_t half = 0; half < SCALAR_OUT_STEP; half += SCALAR_LANES) {
                linear_block(args, t, out + half, w + half);
            }
        }
    }
}

#endif
