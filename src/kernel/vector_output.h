/* vector_output.h - the end of a projection's output, as scalar_linear.h has it. */
#ifndef GQA__VECTOR_OUTPUT_H
#define GQA__VECTOR_OUTPUT_H

#include "kernel/kernel.h"

/* What is stored for n <= VEC outputs from out on, of which sum is the product. */
INLINE vec output_values(const struct gqa__linear_args *args, vec sum, int64_t out, int32_t n)
{
    if (args->scale != NULL && args->bias != NULL) {
        sum = v_fma(sum, v_load_part(args->scale + out, n), v_load_part(args->bias + out, n));
    } else if (args->scale != NULL) {
        sum = v_mul(sum, v_load_part(args->scale + out, n));
    } else if (args->bias != NULL) {
        sum = v_add(sum, v_load_part(args->bias + out, n));
    }
    return v_canonical(sum);
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
