/* SPDX-License-Identifier: Apache-2.0 */
/* integer_weights.h - the weights of integer V, VEC lanes at a time (scalar/integer.h). */
#ifndef GQA__KERNEL_VECTOR_INTEGER_WEIGHTS_H
#define GQA__KERNEL_VECTOR_INTEGER_WEIGHTS_H

#include "kernel/scalar/integer.h"
#include "kernel/vector/words.h"

/* integer_factors of VEC lanes. */
INLINE void factors_of(ivec top, vec *to_integer, vec *from_integer)
{
    const vec size = v_of_bits(top), most = v_set((float)GQA__INT_TOP);
    const vec nan = v_of_bits(i_set((int32_t)GQA__NAN_BITS));
    const vmask finite = v_less(size, v_set(INFINITY));
    const vmask tiny = v_less(size, v_set(GQA__INT_TINY));
    const vec to = v_drop(tiny, v_div(most, size)), from = v_drop(tiny, v_div(size, most));

    *to_integer = v_select(finite, to, v_zero());
    *from_integer = v_select(finite, from, nan);
}

/* integer_weight */
INLINE vec weight_of(const float *p, vec scale)
{
    const vec x = v_load(p);
    return v_drop(v_equal(x, v_zero()), v_mul(x, scale));
}

/* integer_of; where to_integer is 0 the weight may be anything. */
INLINE ivec weight_integer(vec weight, vec to_integer)
{
    return i_of_vec(v_drop(v_equal(to_integer, v_zero()), v_mul(weight, to_integer)));
}

/* The scales of a group of V for all keys of the block, one after the other. */
static inline void gather_scales(float *to, const struct gqa__integer_block *block, int32_t group)
{
    for (int32_t i = 0; i < block->runs; to += block->run[i++].keys) {
        const struct gqa__integer_rows *const rows = &block->run[i].v;
        memcpy(to, rows->scale + group * rows->scale_step, (size_t)block->run[i].keys * sizeof *to);
    }
}

#endif
