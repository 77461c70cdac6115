/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h - a kernel set: the products and element-wise passes of one instruction set.
 *
 * A kernel set is one constant table: functions AND the geometry that they were written for. The
 * walk, the plan, the cache and the projections read the geometry from the table and hold no
 * constant of their own. The functions of a table belong together: what its packers write, only its
 * own products read. The scalar kernels (kernel/scalar) are the specification; every other set of
 * the same numerics gives their bits.
 *
 * Words. A lane is one attention row: a (token, query head) pair of one KV head. A tile is up to
 * tile_rows lanes. Its buffers are ld lanes wide: the number of rows, rounded up to a multiple of
 * `lanes`. Lanes beyond the rows hold anything finite and are never stored. Scores are transposed:
 * s[key][ld]. All scores are in base-2 units: log2(e) is in the scale of Q.
 *
 * No entry of the table allocates, fails, starts threads, logs or touches memory beyond its stated
 * extent. Scores, p and o may hold any NaN and a zero of either sign, which later steps never turn
 * into another number; what finish stores, and every m and l, has the canonical NaN and no -0.
 */
#ifndef GQA__KERNEL_CONTRACT_KERNEL_H
#define GQA__KERNEL_CONTRACT_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gqa/config.h"

/* Where rows lie in a [token][head][dim] tensor: row r is token (first + r) / group, head
 * (first + r) % group of this KV head; offset = token * token_stride + head * head_stride. */
struct gqa__row_map {
    int64_t token_stride, head_stride; /* elements */
    int32_t group, first, count;
};

static inline int64_t gqa__row_offset(const struct gqa__row_map *map, int32_t r)
{
    int32_t i = map->first + r;
    return (i / map->group) * map->token_stride + (i % map->group) * map->head_stride;
}

/* The offsets of row r and those that follow, without a division for each. */
struct gqa__row_walk {
    int64_t offset; /* of the next row */
    int32_t head;
};

static inline struct gqa__row_walk gqa__row_begin(const struct gqa__row_map *map, int32_t r)
{
    return (struct gqa__row_walk){gqa__row_offset(map, r), (map->first + r) % map->group};
}

static inline int64_t gqa__row_next(const struct gqa__row_map *map, struct gqa__row_walk *walk)
{
    const int64_t offset = walk->offset;

    walk->offset += map->head_stride;
    if (++walk->head == map->group) {
        walk->head = 0;
        walk->offset += map->token_stride - map->group * map->head_stride;
    }
    return offset;
}

/* What happens to a score between the product and the softmax, in this order. */
struct gqa__score_rules {
    int32_t keys, ld;
    float softcap; /* c * log2e: s = c tanh(s / c); 0 = off */
    const float
        *slope; /* [ld] ALiBi slope * log2e, with q_pos and k_pos: s = fma(-slope, |q-k|, s) */
    const int32_t *q_pos;          /* [ld] */
    const int32_t *k_pos;          /* [keys] */
    const float *bias;             /* [keys][ld] natural units: s = gqa__add_bias; or NULL */
    const float *const *lane_bias; /* the same as [ld] of [keys], and bias is NULL: only for a block
                                      of a set with lane_bias; or NULL */
    const int32_t *lo, *hi; /* [ld] lane sees keys lo <= key < hi of this block; NULL = all */
    const uint8_t *visible; /* [keys][ld] and only where 1; NULL = all */
};                          /* a key the lane does not see gets s = -inf, by select */

enum {
    GQA__ACC_FIRST = 1, /* o starts from +0 instead of its content */
    GQA__ACC_MARKED = 2 /* V may be special: v counts as +0 where p is -0 (softmax with mark) */
};

/* A key run: keys of a block that lie one after the other in memory, K and V in the set's operand
 * type, as score and accumulate take them, or as block->k_type and v_type say. */
struct gqa__key_run {
    const void *k;
    int64_t k_stride;
    const void *v;
    int64_t v_stride;
    int32_t keys; /* a multiple of panel_keys */
};

/* A finite value of V is large from here on, 2^64: kernels of bf16 operands must not multiply it by
 * probabilities of up to 2^32. */
#define GQA__LARGE_BF16 0x5f80u

#define GQA__BLOCK_PANELS 16 /* most key runs of a fold block: it may lie in pages of 16 tokens */

/* Memory that will be read soon, by the next block or the next tile. A kernel may prefetch it while
 * it computes, so that nobody waits for it later. */
struct gqa__prefetch {
    const unsigned char *at;
    size_t bytes;
};

#define GQA__KEY_PREFETCHES   544 /* K and V of every key of a block, and scales in 16 pages */
#define GQA__BLOCK_PREFETCHES (GQA__KEY_PREFETCHES + 128) /* ... and of queries of 128 tokens */

/* The state of a tile's rows over some keys: m [ld], l [ld], o [dv][ld]. */
struct gqa__state {
    float *m, *l, *o;
};

/* Tokens for the slots [slot, slot + n) of one page and KV head. */
struct gqa__append_args {
    void *page;     /* K and V: [page_size][stride]; transposed V: [dim][stride] */
    int64_t stride; /* elements */
    int32_t slot, n;
    const float *src; /* [n] of dim values, src_stride apart */
    int64_t src_stride;
    int32_t dim;       /* dk or dv */
    gqa_dtype storage; /* the page's element type */
    bool flush;        /* a denormal of src counts as zero of its sign */
    float *scale;      /* [scales][scale_stride] of the page, for types that have them, whose
                          stride counts bytes, and of which int8 and int4 are never transposed */
    int64_t scale_stride;
};

/* Codes of e4m3 to operands, which are exact: their values, without scales. */
struct gqa__expand_args {
    void *dst;          /* [rows][dst_stride] operands */
    int64_t dst_stride; /* elements */
    const uint8_t *src; /* [rows][src_stride], n of each */
    int64_t src_stride;
    int32_t rows, n;
};

/* Values of a caller's tensor as operands, [rows][columns]: of K, and of V that is not transposed,
 * a row is a token; of transposed V a column is. */
struct gqa__gather_args {
    void *dst; /* [rows][stride] operands; NULL: the values are looked at, and nothing is stored */
    int64_t stride;
    const void *src; /* the value of row r and column c is element r * row + c * column */
    int64_t row, column;
    gqa_dtype dtype; /* of src: F32, BF16 or F16 */
    int32_t rows, columns;
    bool flush; /* f32 operands: a denormal counts as zero of its sign */
};

/* The queries of a tile, scaled: dst [q_bytes]. Lanes beyond the rows are zero. */
struct gqa__pack_q_args {
    void *dst;
    const void *q; /* rows of q_type */
    const struct gqa__row_map *map;
    int32_t ld, dk;
    float scale;
    bool flush;       /* a denormal counts as zero of its sign before and after it is scaled */
    gqa_dtype q_type; /* F32, BF16 or F16 */
};

/* The scores of a key run for the rows of a tile. */
struct gqa__score_args {
    float *s;      /* [keys][ld] */
    const void *q; /* packed */
    const void *k; /* [keys][k_stride] operands */
    int64_t k_stride;
    int32_t keys; /* a multiple of panel_keys */
    int32_t ld, dk;
    const float *scale; /* [keys] by which each key's scores are multiplied, or NULL */
    void *scratch;      /* [scratch_bytes], aligned to GQA__ALIGN */
};

/* Scores of a block to probabilities and the m and l of its state. */
struct gqa__softmax_args {
    void *p;             /* [keys][ld] operands, in whatever order accumulate reads them */
    float *m, *l;        /* [ld] */
    float *s;            /* [keys][ld], overwritten */
    const uint8_t *mark; /* [keys] or NULL */
    const float *scale;  /* [keys] by which what p holds is multiplied, but not l, or NULL */
    int32_t keys, ld;
};

/* The values of a key run, weighted by the probabilities, into the o of a state. */
struct gqa__accumulate_args {
    float *o;      /* [dv][ld] */
    const void *p; /* as softmax leaves it, from the run's first key on */
    const void *v; /* [keys][v_stride], transposed [dv][v_stride] operands */
    int64_t v_stride;
    int32_t keys; /* a multiple of panel_keys */
    int32_t ld, dv;
    int flags;     /* GQA__ACC_... */
    void *scratch; /* [scratch_bytes], aligned to GQA__ALIGN */
};

/* How the rows of a tile end: from their state over all keys to what the caller gets. The sink, if
 * there is one, is merged in as a last key without a value; o is divided by l; the result and its
 * LSE are stored. */
struct gqa__finish {
    const float *m, *l, *o; /* [ld], [ld], [dv][ld] */
    int32_t ld, dv;
    const float *sink;  /* [ld] logit * log2e, -inf = none; NULL = none */
    void *out;          /* rows of dv, or NULL */
    gqa_dtype out_type; /* F32, or BF16 or F16, to which a result is rounded to nearest even */
    struct gqa__row_map out_map;
    bool stream; /* stores of out may pass the caches */
    float *lse;  /* natural log, one per row, or NULL */
    struct gqa__row_map lse_map;
};

/* What is asked of a block. Of tiles of up to stored_rows rows scores and values may be asked one
 * after the other, so that somebody else makes one of them or does something between them. Then
 * nothing is merged and no row ends. */
enum gqa__block_part {
    GQA__BLOCK_WHOLE,
    GQA__BLOCK_SCORES, /* s [keys][ld] from q and K; V, rules and state are not looked at */
    GQA__BLOCK_VALUES  /* the state from s, which is overwritten, and V; rules have been applied */
};

/* One fold block of one tile, from scores to its state. */
struct gqa__block {
    enum gqa__block_part part;
    const void *q; /* packed */
    int32_t ld, dk, dv;
    int32_t rows; /* lanes that are rows, or 0: not known */
    int32_t keys; /* of all runs together, at most GQA__FOLD_BLOCK */
    int32_t runs;
    const struct gqa__key_run *run; /* [runs] in rising order */
    gqa_dtype k_type, v_type; /* of all runs: the operand type or, up to stored_rows, as a cache
                                 stores them, but for integers */
    const float *k_scale, *v_scale;       /* [keys] as in score and softmax, or NULL */
    const struct gqa__score_rules *rules; /* NULL = scores stay as they are */
    float *s;                             /* [FOLD][tile_rows] scratch, or as part says */
    void *p;                              /* [FOLD][tile_rows] f32 scratch */
    void *scratch;                        /* [scratch_bytes], aligned to GQA__ALIGN */
    struct gqa__state state;              /* the block's own */
    const struct gqa__prefetch *prefetch; /* [prefetches] or NULL */
    int32_t prefetches;
    /* What becomes of the state: for sets with block_ends; the others leave it in `state`. States
     * of lower keys wait to be merged with it (attention/fold.h). It is merged into
     * merge_into[0], that one into merge_into[1], and so on. With finish, this block was the tile's
     * last: the merged state goes straight on to the end of the rows, and only what finish stores
     * reaches memory. Without, it stays in the last of merge_into (with merges 0: in `state`). */
    const struct gqa__state *merge_into; /* [merges] states of lower keys, nearest first */
    int32_t merges;
    const struct gqa__finish *finish; /* its own m, l and o are not read; or NULL */
};

/* What else happens to a product's output, in this order, before it is stored; zeros: nothing. */
struct gqa__epilogue {
    float clip;       /* > 0: as the entry clip */
    float factor;     /* with add: y = fma(factor, y, add), as the entry scale_add */
    const float *add; /* [tokens][add_stride], element [t][o] as in y, which it does not overlap */
    int64_t add_stride;
};

/* Y = X W^T for a range of outputs. With scale the weights are int8 (pack_int8): the product is
 * taken with the integers, in the set's own order, and y = sum * scale, or fma(sum, scale,
 * bias). */
struct gqa__linear_args {
    const void *weight;         /* packed, the whole matrix */
    const float *scale;         /* [out], or NULL: weights of the operand type (pack_weight) */
    int64_t out, in;            /* of the whole matrix */
    int64_t out_begin, out_end; /* range to compute; begin a multiple of out_step */
    const void *x;              /* packed activations */
    int32_t tokens;
    float *y; /* [tokens][y_stride], element [t][o] for o in the range */
    int64_t y_stride;
    const float *bias; /* [out] added after the product, or NULL */
    bool stream;       /* stores of y may pass the caches */
    struct gqa__epilogue after;
    void *scratch; /* [scratch_bytes], aligned to GQA__ALIGN */
};

#define GQA__UNIT_ROWS 128 /* most rows of a unit; out_step is at most half of it */

/* A unit of weights in place: a few rows of a matrix, which are consecutive outputs, where the
 * caller keeps them. */
struct gqa__rows {
    const void *row[GQA__UNIT_ROWS]; /* [count] each of `in` elements, aligned to them */
    int32_t valid;                   /* rows that exist; the others repeat the last */
    int32_t count;                   /* a multiple of out_step */
    int64_t in;
    int64_t next;    /* bytes from a row to the one that follows in the next unit, or 0: a hint */
    gqa_dtype dtype; /* F32, BF16 or F16; I8 for linear_rows only */
};

/* One vector of n values: norm with a fixed order of additions (16 interleaved chains). */
struct gqa__norm_args {
    float *dst; /* may be src */
    const float *src;
    int64_t n, n_true; /* the mean is over n_true <= n (values beyond are padding: stored as
                          computed from weight and x, their x is 0 by contract) */
    gqa_norm kind;
    float eps;
    float offset;        /* 0 or 1, added to the weight */
    const float *weight; /* [n] or NULL = 1 (then offset is not added) */
    const float *bias;   /* [n] or NULL */
    gqa_dtype cast; /* GQA_F32: none; else round x*rs, and the product with the weight, to it */
};

/* The heads of one token are rotated in place. */
struct gqa__rope_args {
    float *x; /* [heads] vectors, head_stride apart */
    int64_t head_stride;
    int32_t heads;
    int32_t rotary_dim; /* values of each that rotate */
    const float *c, *s; /* [rotary_dim / 2] cosines and sines */
    gqa_rope style;
};

struct gqa__kernels {
    const char *name; /* "scalar/f32" */
    gqa_isa isa;
    gqa_numerics numerics;

    /* Geometry. */
    int32_t tile_rows;   /* most lanes of a tile */
    int32_t lanes;       /* ld is a multiple of this */
    int32_t panel_keys;  /* score and accumulate take multiples of this, aligned in the key index */
    int32_t depth_step;  /* K rows have dk rounded up to this many elements, the rest zero */
    int32_t value_step;  /* V rows (or, transposed, columns) are padded to this */
    bool v_transposed;   /* pages hold V as [dv][page_size] */
    gqa_dtype operand;   /* element type of the K and V that score and accumulate read */
    int32_t out_step;    /* linear: outputs per indivisible block */
    int32_t token_step;  /* linear: tokens per block, a hint for cutting work */
    bool stream_weights; /* linear: a block of packed tokens stays in L2 while all weights pass */
    int32_t stored_rows; /* block reads stored K and V and takes a part for tiles of up to so many
                            rows; 0: never */
    size_t scratch_bytes; /* memory of the running thread for arrays that would make a deep stack; a
                             multiple of GQA__ALIGN */

    /* Thread state of the instruction set (AMX tiles); NULL = none. */
    void (*enter)(void);
    void (*leave)(void);

    /* Attention. dk, dv are the true dims. */
    size_t (*q_bytes)(int32_t dk, int32_t ld);
    void (*pack_q)(const struct gqa__pack_q_args *args);
    /* append_v returns true if a stored value is special: not finite, or large where operands are
     * bf16. */
    void (*append_k)(const struct gqa__append_args *args);
    bool (*append_v)(const struct gqa__append_args *args);
    /* Stores what the appends would store in a page of the operand type, but for the payload of a
     * NaN; returns what append_v would. Fast where row or column is 1. */
    bool (*gather)(const struct gqa__gather_args *args);
    void (*expand)(const struct gqa__expand_args *args);
    /* With scale a score is the product's times scale[key], rounded once (bf16: a tiny result
     * counts as zero, as in a product). */
    void (*score)(const struct gqa__score_args *args);
    void (*apply_rules)(float *s, const struct gqa__score_rules *rules);
    /* Per lane: m = the largest score, NaN left out, never -0; p = exp2(s - m), 0 where s is -inf;
     * l = the sum of p, in four chains by key mod 4, joined as (0+1)+(2+3). With bf16 m is a
     * reference instead: the largest score of the first k32 of keys (aligned in the key index) of
     * which the lane sees one, replaced by the largest of a later k32 only where that is more than
     * 32 higher. What p holds of the keys from k on starts at byte k * ld * size of operand, k a
     * multiple of panel_keys. With mark p is -0 where s is -inf, and with bf16 m is the largest
     * score in a lane that sees a key whose mark is 1 (V is large there). With scale p holds
     * exp2(s - m) * scale[key], rounded once, 0 below 2^-126 (bf16: where the result is tiny), and
     * with bf16 rounded again; -0 stays where mark put it. */
    void (*softmax)(const struct gqa__softmax_args *args);
    /* o[dv][ld] += sum over keys of v[key][dv] p[key][ld], one chain per element in rising key. */
    void (*accumulate)(const struct gqa__accumulate_args *args);
    /* score, apply_rules, softmax and accumulate of a block in one call, or a part of them, with
     * the same bits. NULL: the walk calls them one after the other, as it always does where V may
     * be special. */
    void (*block)(const struct gqa__block *block);
    bool block_ends; /* block does merges and finish too; else the walk does */
    bool lane_bias;  /* block takes biases by lane */
    /* into = merge of into on the left and from on the right. l == 0 is the neutral state. */
    void (*merge)(const struct gqa__state *into, const struct gqa__state *from, int32_t dv,
                  int32_t ld);
    void (*finish)(const struct gqa__finish *finish);

    /* Projections. */
    size_t (*weight_bytes)(int64_t out, int64_t in);
    void (*pack_weight)(void *dst, int64_t row, const float *src, int64_t out, int64_t in);
    size_t (*int8_bytes)(int64_t out, int64_t in);
    void (*pack_int8)(void *dst, int64_t row, const int8_t *src, int64_t out, int64_t in);
    size_t (*x_bytes)(int32_t tokens, int64_t in);
    void (*pack_x)(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in);
    void (*linear)(const struct gqa__linear_args *args);
    /* Weights in place. pack_rows packs a unit: the bytes that pack_weight of a matrix of
     * rows->count outputs would leave, but for the payload of a NaN. NULL: the caller packs row by
     * row. linear_rows makes the product of linear straight from the rows (args->weight is not
     * read, and the range is all valid rows), or returns false where a packed copy is faster. NULL:
     * always is. */
    void (*pack_rows)(void *dst, const struct gqa__rows *rows);
    bool (*linear_rows)(const struct gqa__linear_args *args, const struct gqa__rows *rows);

    /* Runs of n values of F32, BF16 or F16, as base/number.h converts each: to f32 (a NaN of f16
     * becomes the canonical one, others keep their bits), and back, to nearest even (every NaN
     * becomes canonical). The two do not overlap. */
    void (*load)(float *dst, const void *src, int64_t n, gqa_dtype dtype);
    void (*store)(void *dst, const float *src, int64_t n, gqa_dtype dtype);

    /* In place: a denormal becomes zero of its sign. */
    void (*flush)(float *x, int64_t n);

    /* Element-wise, f32. dst may be a source. */
    void (*norm)(const struct gqa__norm_args *args);
    void (*rope)(const struct gqa__rope_args *args);
    void (*add)(float *dst, const float *a, const float *b, int64_t n); /* a + b */
    void (*scale)(float *dst, const float *a, float factor, int64_t n); /* a * f */
    void (*scale_add)(float *dst, const float *a, const float *b, float f,
                      int64_t n);                                     /* fma(f,b,a) */
    void (*clip)(float *dst, const float *a, float limit, int64_t n); /* NaN stays NaN */
    /* sin and cos of n angles, as gqa__sincos forms them; the three do not overlap. */
    void (*sincos)(double *sin_x, double *cos_x, const double *x, int64_t n);
    /* dst[i] = a[i] * activation(g[i * g_step]); g_step 1 or 0. */
    void (*gate)(float *dst, const float *a, const float *g, int32_t g_step,
                 gqa_gate_activation activation, int64_t n);
};

#endif
