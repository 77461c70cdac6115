/* SPDX-License-Identifier: Apache-2.0 */
/* neon.c - the table "neon/f32": kernel/vector with vectors of 8. */
#include "kernel/neon/neon.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_NEON

#include "kernel/vector/integer.h"
#include "kernel/vector/kernels.h"

const struct gqa__kernels *gqa__neon(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_F32 ? &vector_f32 : NULL;
}

const struct gqa__integer_kernels *gqa__neon_integer(void)
{
    return &vector_integer;
}

#else

const struct gqa__kernels *gqa__neon(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}

const struct gqa__integer_kernels *gqa__neon_integer(void)
{
    return NULL;
}

#endif
