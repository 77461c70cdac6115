/* SPDX-License-Identifier: Apache-2.0 */
/* expand.h - the entry expand with f32 operands, VEC codes at a time. Same bits as expand_f32 of
 * scalar/scaled.h. */
#ifndef GQA__KERNEL_VECTOR_EXPAND_H
#define GQA__KERNEL_VECTOR_EXPAND_H

#include "kernel/scalar/scaled.h"
#include "kernel/vector/words.h"

static inline void expand_lanes(const struct gqa__expand_args *args)
{
    for (int32_t r = 0; r < args->rows; r++) {
        const uint8_t *const code = args->src + r * args->src_stride; /* [n] */
        float *const to = (float *)args->dst + r * args->dst_stride;  /* [n] */
        int32_t e = 0;
        for (; e + VEC <= args->n; e += VEC) {
            v_store(to + e, v_load_e4m3(code + e));
        }
        for (; e < args->n; e++) {
            to[e] = gqa__e4m3_value(code[e]);
        }
    }
}

#endif
