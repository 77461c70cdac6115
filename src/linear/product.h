/* SPDX-License-Identifier: Apache-2.0 */
/* product.h - one product as its tasks share it: y = x w^T for a range of outputs. */
#ifndef GQA__PRODUCT_H
#define GQA__PRODUCT_H

#include "base/memory.h"
#include "linear/linear.h"

/* So many outputs of all tokens leave the caches before they are read: 8 MiB. The blocks of tokens
 * of a layer have fewer, and are read at once. */
#define GQA__STREAM_OUTPUTS (1 << 21)

struct gqa__product {
    const struct gqa__linear *linear;
    const float *x; /* [tokens][x_stride] */
    int64_t x_stride;
    int32_t tokens;
    int64_t out_begin, out_end;
    float *y; /* [tokens][y_stride], output out_begin first */
    int64_t y_stride;
    unsigned char *packed; /* [token_blocks][block_bytes], then one slice per thread */
    size_t block_bytes;
    int64_t token_blocks;
    int64_t out_task;           /* outputs per task */
    struct gqa__epilogue after; /* add: output out_begin first */
};

/* What one task does: some outputs of some blocks of tokens. */
struct gqa__share {
    int64_t block_begin, block_end;
    int64_t out_begin, out_end;
};

static inline int32_t gqa__product_tokens(const struct gqa__product *p, int64_t block)
{
    const int64_t step = p->linear->kernels->token_step;
    return (int32_t)gqa__min(step, p->tokens - block * step);
}

/* Activations and tokens of a block; y and add as if output 0 were there; weight and range are
 * left. */
static inline void gqa__product_args(const struct gqa__product *p, int64_t block,
                                     struct gqa__linear_args *args)
{
    args->out = p->linear->out;
    args->in = p->linear->in;
    args->x = p->packed + (size_t)block * p->block_bytes;
    args->tokens = gqa__product_tokens(p, block);
    args->y = p->y + block * p->linear->kernels->token_step * p->y_stride - p->out_begin;
    args->y_stride = p->y_stride;
    args->after = p->after;
    if (p->after.add != NULL) {
        args->after.add +=
            block * p->linear->kernels->token_step * p->after.add_stride - p->out_begin;
    }
    args->scale = p->linear->scale;
    args->bias = p->linear->bias;
    args->stream = p->tokens * (p->out_end - p->out_begin) > GQA__STREAM_OUTPUTS;
}

/* strips.c: weights in place. Bytes of a thread's slice of the scratch; outputs that are taken at
 * once (a multiple of the kernels' out_step); a task. */
size_t gqa__strips_slice(const struct gqa__linear *linear);
int64_t gqa__strips_unit(const struct gqa__kernels *kernels);
void gqa__strips_run(const struct gqa__product *p, const struct gqa__share *share, int32_t slot);

#endif
