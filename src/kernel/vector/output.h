/* SPDX-License-Identifier: Apache-2.0 */
/* output.h - the end of a projection's output, as scalar/linear.h has it. */
#ifndef GQA__KERNEL_VECTOR_OUTPUT_H
#define GQA__KERNEL_VECTOR_OUTPUT_H

#include "kernel/contract/kernel.h"
#include "kernel/vector/words.h"

INLINE vec after_output(const struct gqa__epilogue *after, vec y, int32_t token, int64_t out,
                        int32_t n)
{
    if (after->clip > 0.0f) {
        const vec limit = v_set(after->clip), low = v_set(-after->clip);
        y = v_select(v_less(limit, y), limit, y);
        y = v_canonical(v_select(v_less(y, low), low, y));
    }
    if (after->add != NULL) {
        const float *add = after->add + token * after->add_stride + out; /* [n] */
        y = v_canonical(v_fma(v_set(after->factor), y, v_load_part(add, n)));
    }
    return y;
}

/* What is stored for a token's n <= VEC outputs from out on, of which sum is the product. */
INLINE vec output_values(const struct gqa__linear_args *args, vec sum, int32_t token, int64_t out,
                         int32_t n)
{
    if (args->scale != NULL && args->bias != NULL) {
        sum = v_fma(sum, v_load_part(args->scale + out, n), v_load_part(args->bias + out, n));
    } else if (args->scale != NULL) {
        sum = v_mul(sum, v_load_part(args->scale + out, n));
    } else if (args->bias != NULL) {
        sum = v_add(sum, v_load_part(args->bias + out, n));
    }
    sum = v_canonical(sum);
    if (args->after.clip > 0.0f || args->after.add != NULL) {
        sum = after_output(&args->after, sum, token, out, n);
    }
    return sum;
}

/* Stores n <= VEC outputs; v_fence must follow before another thread may read them. */
INLINE void store_output(const struct gqa__linear_args *args, float *y, vec values, int32_t n)
{
    if (args->stream && n == VEC && (uintptr_t)y % sizeof values == 0) {
        v_stream(y, values);
    } else {
        v_store_part(y, values, n);
    }
}

#endif
