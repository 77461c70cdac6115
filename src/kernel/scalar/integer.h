/* SPDX-License-Identifier: Apache-2.0 */
/* integer.h - attention over integer K and V in plain C: the specification of the others.
 *
 *   Q: t = q * scale, a = max |t|;  Q16 = rint(t * (32512 / a)), factor = a / 32512
 *   s: sum over the groups of K, from +0, of fma((float)(sum of Q16 * K), factor * scale_K, s)
 *   m, p, l: as with f32 operands
 *   w = p * scale_V, W = max |w| of the row;  P16 = rint(w * (32512 / W))
 *   o: (float)(sum of P16 * V) * (W / 32512)
 *
 * With one group s is (float)sum * (factor * scale_K), rounded once, -0 as +0.
 *
 * Packed q: [ld] factors, then [pairs][ld] words of two int16, dims 2 i and 2 i + 1, up to the last
 * pair of a whole int4 group.
 */
#ifndef GQA__KERNEL_SCALAR_INTEGER_H
#define GQA__KERNEL_SCALAR_INTEGER_H

#include <string.h>

#include "kernel/contract/integer.h"
#include "kernel/scalar/attention.h"
#include "kernel/scalar/integer_gather.h"

enum { INTEGER_DIMS = 512 }; /* most of a row, padding included */

/* Pairs of dims that are packed of a row of Q: enough for K of either type. */
static inline int32_t integer_pairs(int32_t dk)
{
    return gqa__integer_row_values(GQA_I4, dk) / 2;
}

/* Two int16 as a word, the first in its lower half; and back. */
static inline int32_t word_of(int32_t first, int32_t second)
{
    return (int32_t)(((uint32_t)first & 0xffffu) | (uint32_t)second << 16);
}

static inline int32_t word_first(int32_t word)
{
    return (int16_t)(uint16_t)((uint32_t)word & 0xffffu);
}

static inline int32_t word_second(int32_t word)
{
    return (int16_t)(uint16_t)((uint32_t)word >> 16);
}

static inline uint32_t float_size(float x)
{
    return gqa__f32_bits(x) & 0x7fffffffu;
}

/* Two factors of a row whose largest size is `top` (bits without the sign): *to_integer takes a
 * value to its integer, *from_integer back. */
static inline void integer_factors(uint32_t top, float *to_integer, float *from_integer)
{
    const float size = gqa__f32_from_bits(top);

    *to_integer = 0.0f;
    *from_integer = 0.0f;
    if (top >= 0x7f800000u) {
        *from_integer = gqa__f32_from_bits(GQA__NAN_BITS);
    } else if (size >= GQA__INT_TINY) {
        *to_integer = (float)GQA__INT_TOP / size;
        *from_integer = size / (float)GQA__INT_TOP;
    }
}

/* To nearest even; to_integer is 0 for rows with values that are not finite. */
static inline int32_t integer_of(float x, float to_integer)
{
    return to_integer == 0.0f ? 0 : (int32_t)rintf(x * to_integer);
}

/* One row of Q as integers: *factor, and its pairs of dims, words `step` apart. */
static inline void pack_query(const struct gqa__pack_q_args *args, int32_t r, float *factor,
                              int32_t *pair, int64_t step)
{
    const int64_t row = gqa__row_offset(args->map, r);
    float to_integer;
    uint32_t top = 0;

    for (int32_t d = 0; d < args->dk; d++) {
        const uint32_t size = float_size(scaled_query(args, row + d));
        top = size > top ? size : top;
    }
    integer_factors(top, &to_integer, factor);
    for (int32_t d = 0; d < args->dk; d += 2, pair += step) {
        const int32_t first = integer_of(scaled_query(args, row + d), to_integer);
        const int32_t second =
            d + 1 < args->dk ? integer_of(scaled_query(args, row + d + 1), to_integer) : 0;
        *pair = word_of(first, second);
    }
}

static inline size_t q_bytes_integer(int32_t dk, int32_t ld)
{
    return (size_t)(integer_pairs(dk) + 1) * (size_t)ld * sizeof(int32_t);
}

static inline void pack_q_integer(const struct gqa__pack_q_args *args)
{
    float *const factor = args->dst;                       /* [ld] */
    int32_t *const pair = (int32_t *)args->dst + args->ld; /* [pairs][ld] */

    assert(args->map->count <= args->ld && args->dk <= INTEGER_DIMS);
    memset(args->dst, 0, q_bytes_integer(args->dk, args->ld));
    for (int32_t r = 0; r < args->map->count; r++) {
        pack_query(args, r, factor + r, pair + r, args->ld);
    }
}

/* Half a byte as -8..7. */
static inline int16_t integer_of_half(unsigned half)
{
    return (int16_t)((int32_t)(half ^ 8u) - 8);
}

/* A stored row as integers, padding included. */
static inline void unpack_row(int16_t *restrict to, const unsigned char *restrict row,
                              gqa_dtype type, int32_t dim)
{
    const int64_t bytes = gqa__integer_row_bytes(type, dim);

    if (type == GQA_I8) {
        for (int64_t i = 0; i < bytes; i++) {
            to[i] = (int8_t)row[i];
        }
        return;
    }
    for (int64_t g = 0; g < bytes; g += GQA__I4_GROUP_BYTES, to += GQA__I4_GROUP) {
        for (int32_t i = 0; i < GQA__I4_GROUP_BYTES; i++) {
            to[i] = integer_of_half(row[g + i] & 15u);
            to[i + GQA__I4_GROUP_BYTES] = integer_of_half((unsigned)row[g + i] >> 4);
        }
    }
}

/* A block's scratch. */
struct plain_scratch {
    int16_t row[INTEGER_DIMS];      /* an unpacked row of K or V */
    uint32_t top[SCALAR_TILE_ROWS]; /* each row's largest weight ... */
    float factor[SCALAR_TILE_ROWS]; /* ... and what takes weights to integers */
    float back[SCALAR_TILE_ROWS];   /* ... and sums back */
    int32_t sum[];                  /* [dims][ld] of a group of V */
};

/* --- scores ---------------------------------------------------------------------------------- */

/* Scores s [ld] of one key, integers k [..]. */
static inline void score_key(float *restrict s, const struct gqa__integer_block *block,
                             const int16_t *restrict k, const float *scale, int64_t scale_step)
{
    const int32_t ld = block->ld;
    const float *restrict factor = block->q;                       /* [ld] */
    const int32_t *restrict pair = (const int32_t *)block->q + ld; /* [pairs][ld] */
    const int32_t groups = gqa__row_scales(block->type_k, block->dk);
    const int32_t values = gqa__integer_row_values(block->type_k, block->dk);
    const int32_t pairs = values / 2 / groups; /* of a group */

    for (int32_t j = 0; j < ld; j++) {
        s[j] = 0.0f;
    }
    for (int32_t g = 0; g < groups; g++) {
        int32_t sum[SCALAR_TILE_ROWS] = {0};
        for (int32_t i = g * pairs; i < (g + 1) * pairs; i++) {
            const int32_t *restrict two = pair + (int64_t)i * ld; /* [ld] */
            for (int32_t j = 0; j < ld; j++) {
                sum[j] += word_first(two[j]) * k[2 * i] + word_second(two[j]) * k[2 * i + 1];
            }
        }
        for (int32_t j = 0; j < ld; j++) {
            s[j] = fmaf((float)sum[j], factor[j] * scale[g * scale_step], s[j]);
        }
    }
}

static inline void score_integer(const struct gqa__integer_block *block)
{
    struct plain_scratch *const scratch = block->scratch;
    int16_t *const k = scratch->row;
    float *s = block->s;

    assert(block->ld <= SCALAR_TILE_ROWS);
    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_rows *const rows = &block->run[i].k;
        for (int32_t key = 0; key < block->run[i].keys; key++, s += block->ld) {
            unpack_row(k, rows->row + key * rows->row_step, block->type_k, block->dk);
            score_key(s, block, k, rows->scale + key, rows->scale_step);
        }
    }
}

/* --- values ---------------------------------------------------------------------------------- */

/* block->s becomes p; m and l of the state. */
static inline void softmax_integer(const struct gqa__integer_block *block)
{
    const int32_t ld = block->ld;
    float safe[SCALAR_TILE_ROWS];
    float sums[4][SCALAR_TILE_ROWS];

    assert(block->keys % 4 == 0 && ld <= SCALAR_TILE_ROWS);
    max_scores(block->state.m, block->s, block->keys, ld);
    safe_max(safe, block->state.m, ld);
    memset(sums, 0, sizeof sums);
    for (int32_t key = 0; key < block->keys; key++) {
        float *restrict row = block->s + (int64_t)key * ld; /* [ld] */
        float *restrict sum = sums[key % 4];
        for (int32_t j = 0; j < ld; j++) {
            row[j] = gqa__exp2f(row[j] - safe[j]);
            sum[j] += row[j];
        }
    }
    join_sums(block->state.l, sums, ld);
}

/* The weight of a key: 0 where p is, whatever the scale. */
static inline float integer_weight(float p, float scale)
{
    return p == 0.0f ? 0.0f : p * scale;
}

/* The weights of a group of V as integers, to [keys][ld], and scratch->back. */
static inline void weigh_group(const struct gqa__integer_block *block, int32_t group,
                               int16_t *restrict to)
{
    const int32_t ld = block->ld;
    struct plain_scratch *const scratch = block->scratch;
    uint32_t *restrict top = scratch->top;    /* [ld] */
    float *restrict factor = scratch->factor; /* [ld] */

    memset(top, 0, (size_t)ld * sizeof *top);

    for (int32_t pass = 0; pass < 2; pass++) { /* the largest; the integers */
        for (int32_t i = 0, at = 0; i < block->runs; at += block->run[i++].keys) {
            const struct gqa__integer_rows *const rows = &block->run[i].v;
            const float *const scale = rows->scale + group * rows->scale_step; /* [keys] */
            for (int32_t key = 0; key < block->run[i].keys; key++) {
                const float *restrict p = block->s + (int64_t)(at + key) * ld; /* [ld] */
                int16_t *restrict out = to + (int64_t)(at + key) * ld;         /* [ld] */
                for (int32_t j = 0; j < ld; j++) {
                    const float w = integer_weight(p[j], scale[key]);
                    if (pass == 0) {
                        top[j] = float_size(w) > top[j] ? float_size(w) : top[j];
                    } else {
                        out[j] = (int16_t)integer_of(w, factor[j]);
                    }
                }
            }
        }
        for (int32_t j = 0; j < ld; j++) {
            integer_factors(top[j], &factor[j], &scratch->back[j]);
        }
    }
}

/* One key's part of the sums [dims][ld] of value dimensions [first, first + dims). */
static inline void add_key(int32_t *restrict sum, const int16_t *restrict weight, /* [ld] */
                           const int16_t *restrict v, int32_t dims, int32_t ld)
{
    for (int32_t d = 0; d < dims; d++) {
        for (int32_t j = 0; j < ld; j++) {
            sum[(int64_t)d * ld + j] += weight[j] * v[d];
        }
    }
}

/* o of the value dimensions [first, first + dims), which are one group, from its weights. */
static inline void sum_group(const struct gqa__integer_block *block, const int16_t *weight,
                             int32_t first, int32_t dims)
{
    const int32_t ld = block->ld;
    float *const o = block->state.o + (int64_t)first * ld; /* [dims][ld] */
    struct plain_scratch *const scratch = block->scratch;
    const float *restrict back = scratch->back; /* [ld] */
    int32_t *const sum = scratch->sum;          /* [dims][ld] */
    int16_t *const v = scratch->row;

    memset(sum, 0, (size_t)dims * (size_t)ld * sizeof *sum);
    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_rows *const rows = &block->run[i].v;
        for (int32_t key = 0; key < block->run[i].keys; key++, weight += ld) {
            unpack_row(v, rows->row + key * rows->row_step, block->type_v, block->dv);
            add_key(sum, weight, v + first, dims, ld);
        }
    }
    for (int32_t d = 0; d < dims; d++) {
        for (int32_t j = 0; j < ld; j++) {
            o[(int64_t)d * ld + j] = (float)sum[(int64_t)d * ld + j] * back[j];
        }
    }
}

static inline void values_integer(const struct gqa__integer_block *block)
{
    const int32_t groups = gqa__row_scales(block->type_v, block->dv);
    const int32_t group_dims = gqa__scale_group(block->type_v, block->dv);

    softmax_integer(block);
    for (int32_t g = 0; g < groups; g++) {
        const int32_t first = g * group_dims, rest = block->dv - first;
        weigh_group(block, g, block->p);
        sum_group(block, block->p, first, rest < group_dims ? rest : group_dims);
    }
}

static inline void block_integer(const struct gqa__integer_block *block)
{
    score_integer(block);
    if (block->rules != NULL) {
        apply_rules(block->s, block->rules);
    }
    values_integer(block);
}

static inline size_t scratch_integer(int32_t dk, int32_t dv)
{
    (void)dk;
    return sizeof(struct plain_scratch) + (size_t)dv * SCALAR_TILE_ROWS * sizeof(int32_t);
}

static const struct gqa__integer_kernels scalar_integer = {
    .lanes = SCALAR_LANES,
    .q_bytes = q_bytes_integer,
    .scratch_bytes = scratch_integer,
    .pack_q = pack_q_integer,
    .score = score_integer,
    .values = values_integer,
    .block = block_integer,
    .gather = gather_integers,
};

#endif
