/* SPDX-License-Identifier: Apache-2.0 */
/* linear.h - what the projections of both scalar kernel sets share: the end of an output, and int8
 * weights.
 *
 * An integer of int8 is exact in f32 and in bf16, so the product with int8 weights is the set's own
 * product, with the integers. The scale of an output comes in once, at its end.
 */
#ifndef GQA__KERNEL_SCALAR_LINEAR_H
#define GQA__KERNEL_SCALAR_LINEAR_H

#include "kernel/scalar/attention.h"

/* What is stored for output out of a token, of which sum is the product. */
static inline float output_value(const struct gqa__linear_args *args, float sum, int32_t token,
                                 int64_t out)
{
    const struct gqa__epilogue *after = &args->after;

    if (args->scale != NULL && args->bias != NULL) {
        sum = fmaf(sum, args->scale[out], args->bias[out]);
    } else if (args->scale != NULL) {
        sum = sum * args->scale[out];
    } else if (args->bias != NULL) {
        sum = sum + args->bias[out];
    }
    sum = gqa__canonical(sum);
    if (after->clip > 0.0f) {
        const float below = sum > after->clip ? after->clip : sum;
        sum = gqa__canonical(below < -after->clip ? -after->clip : below);
    }
    if (after->add != NULL) {
        const float add = after->add[token * after->add_stride + out];
        sum = gqa__canonical(fmaf(after->factor, sum, add));
    }
    return sum;
}

/* Panels [out / SCALAR_OUT_STEP][depth][SCALAR_OUT_STEP] int8. */
static inline size_t int8_packed_bytes(int64_t out, int64_t depth)
{
    const int64_t blocks = (out + SCALAR_OUT_STEP - 1) / SCALAR_OUT_STEP;
    return (size_t)(blocks * SCALAR_OUT_STEP * depth);
}

/* src [in], in <= depth */
static inline void pack_int8_row(void *dst, int64_t row, const int8_t *src, int64_t in,
                                 int64_t depth)
{
    int8_t *to =
        (int8_t *)dst + row / SCALAR_OUT_STEP * SCALAR_OUT_STEP * depth + row % SCALAR_OUT_STEP;

    for (int64_t k = 0; k < in; k++) {
        to[k * SCALAR_OUT_STEP] = src[k];
    }
}

static inline void expand_int8(float *restrict dst, const int8_t *restrict src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = (float)src[i];
    }
}

#endif
