/* SPDX-License-Identifier: Apache-2.0 */
/* integer.h - attention over K and V that are stored as integers: products of integers, which are
 * exact, so that they may be taken in any order and any pieces (docs/numerics.md, "Integer K and
 * V").
 *
 * A stored row (base/storage.h) has groups of dims, each with a scale: a value is integer * scale.
 * int8 has one group of all dims, int4 one for each 32. Q becomes integers of 16 bits, a factor for
 * each row; so do the weights p * scale of V, a factor for each row, block and group. Sums of
 * products are int32, which hold them: 32512 * 127 * 512 < 2^31.
 *
 * The words are those of kernel.h. A table of this kind belongs to the vectors of a CPU and serves
 * every kernel set whose lanes are a multiple of its own, whatever the numerics.
 */
#ifndef GQA__KERNEL_CONTRACT_INTEGER_H
#define GQA__KERNEL_CONTRACT_INTEGER_H

#include "base/storage.h"
#include "kernel/contract/kernel.h"

enum {
    GQA__INT_TOP = 32512,   /* 127 * 256: the largest integer of Q and of a weight */
    GQA__INT_ROW_STEP = 16, /* int8 rows are padded to this many bytes, with zeros */
    GQA__INT_KEY_STEP = 16  /* keys of a run are a multiple of this */
};

/* What is smaller counts as zero: the largest |q| of a row of Q, the largest weight of a row. */
#define GQA__INT_TINY 0x1p-100f

/* Bytes of a row of dim values of an integer type, padding included. */
static inline int64_t gqa__integer_row_bytes(gqa_dtype type, int32_t dim)
{
    const int64_t bytes = (int64_t)gqa__stored_bytes(type, dim);
    return (bytes + GQA__INT_ROW_STEP - 1) / GQA__INT_ROW_STEP * GQA__INT_ROW_STEP;
}

/* Values of a row once it is unpacked: those beyond dim are zero. */
static inline int32_t gqa__integer_row_values(gqa_dtype type, int32_t dim)
{
    return (int32_t)(gqa__integer_row_bytes(type, dim) * (type == GQA_I8 ? 1 : 2));
}

/* Rows of consecutive keys in one page, or block of the host's. int8 may be any of -128..127, a
 * scale of either sign. */
struct gqa__integer_rows {
    const unsigned char *row; /* [keys] of gqa__integer_row_bytes each */
    int64_t row_step;         /* bytes from a row to the next */
    const float *scale;       /* [groups][scale_step], the first keys of each */
    int64_t scale_step;
};

/* Keys of a block that lie in one page, or block of the host's. Of a type that is no integer k or v
 * is unused. */
struct gqa__integer_run {
    struct gqa__integer_rows k, v;
    int32_t keys; /* a multiple of GQA__INT_KEY_STEP */
};

/* int8 of a caller's tensor as rows. */
struct gqa__integer_gather {
    int8_t *dst;       /* [rows][stride], zeros behind the columns */
    int64_t stride;    /* at least columns */
    const int8_t *src; /* the value of row r and column c is value r * row + c * column */
    int64_t row, column;
    int32_t rows, columns;
};

/* One fold block of one tile. */
struct gqa__integer_block {
    const void *q; /* packed by pack_q */
    int32_t ld, dk, dv;
    int32_t rows; /* lanes that are rows; the others' results are finite and stand for nothing */
    int32_t keys; /* of all runs together, at most GQA__FOLD_BLOCK */
    int32_t runs;
    const struct gqa__integer_run *run;   /* [runs] in rising order */
    const struct gqa__score_rules *rules; /* NULL = scores stay as they are */
    gqa_dtype type_k, type_v;             /* I8 or I4; of others scores or values are not asked */
    float *s;                             /* [FOLD][tile_rows] scores */
    void *p;                              /* [FOLD][tile_rows] f32 scratch */
    void *scratch;                        /* [scratch_bytes], aligned to GQA__ALIGN */
    struct gqa__state state;              /* the block's own, set by values and block */
    const struct gqa__prefetch *prefetch; /* [prefetches] for block alone, or NULL */
    int32_t prefetches;
};

struct gqa__integer_kernels {
    int32_t lanes; /* ld is a multiple of this */

    size_t (*q_bytes)(int32_t dk, int32_t ld);
    size_t (*scratch_bytes)(int32_t dk, int32_t dv);

    /* Q scaled, then as integers. A row with a value that is not finite has NaN scores. */
    void (*pack_q)(const struct gqa__pack_q_args *args);
    /* block->s [keys][ld] from Q and the integers of K; rules are not applied. */
    void (*score)(const struct gqa__integer_block *block);
    /* The state from block->s, which is overwritten, and the integers of V. */
    void (*values)(const struct gqa__integer_block *block);
    /* score, the rules and values. */
    void (*block)(const struct gqa__integer_block *block);
    /* Fast where row or column is 1. */
    void (*gather)(const struct gqa__integer_gather *args);
};

#endif
