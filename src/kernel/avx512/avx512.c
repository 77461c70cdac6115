/* SPDX-License-Identifier: Apache-2.0 */
/* avx512.c - the table "avx512/f32": kernel/vector with vectors of 16. */
#include "kernel/avx512/avx512.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AVX512

#include "kernel/avx512/bf16.h"
#include "kernel/vector/integer.h"
#include "kernel/vector/kernels.h"

const struct gqa__kernels *gqa__avx512(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_F32 ? &vector_f32 : gqa__avx512_bf16();
}

const struct gqa__integer_kernels *gqa__avx512_integer(void)
{
    return &vector_integer;
}

#else

const struct gqa__kernels *gqa__avx512(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}

const struct gqa__integer_kernels *gqa__avx512_integer(void)
{
    return NULL;
}

#endif
