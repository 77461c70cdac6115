/* SPDX-License-Identifier: Apache-2.0 */
/* product.h - a product as its tasks share it. */
#ifndef GQA__PRODUCT_H
#define GQA__PRODUCT_H

#include "base/memory.h"
#include "linear/linear.h"

/* With so many outputs, all tokens together (8 MiB), the first have left the caches before any is
 * read: they are stored past the caches. Blocks of tokens within a layer have fewer, and are read
 * at once. */
#define GQA__STREAM_OUTPUTS (1 << 21)

/* What one task does: some outputs of some packets of tokens. */
struct gqa__share {
    int64_t packet_begin, packet_end;
    int64_t out_begin, out_end;
};

static inline int32_t gqa__product_tokens(const struct gqa__product *p, int64_t packet)
{
    const int64_t step = p->linear->kernels->token_step;
    return (int32_t)gqa__min(step, p->tokens - packet * step);
}

/* The bytes of a thread's slice of the scratch: the kernel's, then in place a packed unit and one
 * row as f32. */
size_t gqa__product_slice_bytes(const struct gqa__linear *linear);

static inline void *gqa__product_slice(const struct gqa__product *p, int32_t slot)
{
    return p->packed + (size_t)p->packets * p->packet_bytes +
           (size_t)slot * gqa__product_slice_bytes(p->linear);
}

/* Activations and tokens of a packet, with a thread's slice. y and add point to where output 0
 * would be; weight and the range of outputs are left to the caller. */
static inline void gqa__product_args(const struct gqa__product *p, int64_t packet, void *slice,
                                     struct gqa__linear_args *args)
{
    args->scratch = slice;
    args->out = p->linear->out;
    args->in = p->linear->in;
    args->x = p->packed + (size_t)packet * p->packet_bytes;
    args->tokens = gqa__product_tokens(p, packet);
    args->y = p->y + packet * p->linear->kernels->token_step * p->y_stride - p->out_begin;
    args->y_stride = p->y_stride;
    args->after = p->after;
    if (p->after.add != NULL) {
        args->after.add +=
            packet * p->linear->kernels->token_step * p->after.add_stride - p->out_begin;
    }
    args->scale = p->linear->scale;
    args->bias = p->linear->bias;
    args->stream = p->tokens * (p->out_end - p->out_begin) > GQA__STREAM_OUTPUTS;
}

/* strips.c, weights in place: the bytes of a packed unit and one row as f32; the outputs of a unit
 * (a multiple of the kernel set's out_step); the body of a task. */
size_t gqa__strips_bytes(const struct gqa__linear *linear);
int64_t gqa__strips_unit(const struct gqa__kernels *kernels);
void gqa__strips_run(const struct gqa__product *p, const struct gqa__share *share, int32_t slot);

#endif
