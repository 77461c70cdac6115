/* SPDX-License-Identifier: Apache-2.0 */
/* host.h - keys and values where the host keeps them: in plain strided tensors, or in blocks that
 * a table puts in order. A plain tensor is one block that holds all keys. */
#ifndef GQA__HOST_H
#define GQA__HOST_H

#include <stdbool.h>

#include "kernel/contract/kernel.h"

/* The keys, or the values, of all blocks. Value d of the token in slot i of block b, head h, is
 * element b * block + h * head + i * token + d * step; of int8 a code, and its scale is element
 * b * scale_block + h * scale_head + i * scale_token of `scale`, as gqa__scale_given takes it. */
struct gqa__host_rows {
    const unsigned char *data;
    gqa_dtype dtype; /* F32, BF16, F16 or I8 */
    int64_t block, head, token, step;
    const float *scale;
    int64_t scale_block, scale_head, scale_token;
};

struct gqa__host_keys {
    struct gqa__host_rows k, v;
    const int32_t *table; /* ids of the sequence's blocks; NULL: one block, and its id is 0 */
    int32_t block_size;   /* keys of a block; of a plain tensor more than there are */
};

static inline int64_t gqa__host_block(const struct gqa__host_keys *keys, int32_t index)
{
    return keys->table != NULL ? keys->table[index / keys->block_size] : 0;
}

/* Element of `rows` where the token's vector of this head begins. */
static inline int64_t gqa__host_offset(const struct gqa__host_keys *keys,
                                       const struct gqa__host_rows *rows, int32_t head,
                                       int32_t index)
{
    return gqa__host_block(keys, index) * rows->block + head * rows->head +
           index % keys->block_size * rows->token;
}

/* The same in the scales. */
static inline int64_t gqa__host_scale(const struct gqa__host_keys *keys,
                                      const struct gqa__host_rows *rows, int32_t head,
                                      int32_t index)
{
    return gqa__host_block(keys, index) * rows->scale_block + head * rows->scale_head +
           index % keys->block_size * rows->scale_token;
}

/* A token's vector of n values as f32. */
void gqa__host_load(const struct gqa__host_keys *keys, const struct gqa__host_rows *rows,
                    int32_t head, int32_t index, float *dst, int32_t n);

/* Of int8: its n codes and its scale as they lie there. */
void gqa__host_codes(const struct gqa__host_keys *keys, const struct gqa__host_rows *rows,
                     int32_t head, int32_t index, unsigned char *code, int32_t n, float *scale);

/* What is written to one head of blocks: vectors of n values, f32. */
struct gqa__host_write {
    const float *src; /* of the first token, step elements from one to the next */
    int64_t step;
    int32_t n; /* values of a token, at most GQA__HEAD_DIM_MAX */
    int32_t tokens;
    const int64_t *slots; /* [tokens] -1: the token is not written; NULL: all are */
    bool flush;           /* a denormal becomes zero of its sign first */
};

/* Tokens from index `first` on, rounded to the format of the rows, to nearest even, NaN canonical;
 * as int8 and a scale by the rule of a cache. */
void gqa__host_store(const struct gqa__kernels *kernels, const struct gqa__host_keys *keys,
                     const struct gqa__host_rows *rows, int32_t head, int32_t first,
                     const struct gqa__host_write *write);

#endif
