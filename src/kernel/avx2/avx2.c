/* SPDX-License-Identifier: Apache-2.0 */
/* avx2.c - the table "avx2/f32": kernel/vector with vectors of 8. */
#include "kernel/avx2/avx2.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AVX2

#include "kernel/vector/integer.h"
#include "kernel/vector/kernels.h"

const struct gqa__kernels *gqa__avx2(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_F32 ? &vector_f32 : NULL;
}

const struct gqa__integer_kernels *gqa__avx2_integer(void)
{
    return &vector_integer;
}

#else

const struct gqa__kernels *gqa__avx2(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}

const struct gqa__integer_kernels *gqa__avx2_integer(void)
{
    return NULL;
}

#endif
