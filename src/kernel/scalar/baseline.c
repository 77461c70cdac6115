/* SPDX-License-Identifier: Apache-2.0 */
/* baseline.c - the scalar kernels for every CPU of the target. */
#include "kernel/scalar/integer.h"
#include "kernel/scalar/kernels.h"
#include "kernel/scalar/scalar.h"

const struct gqa__kernels *gqa__scalar_baseline(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_BF16 ? &scalar_bf16 : &scalar_f32;
}

const struct gqa__integer_kernels *gqa__scalar_integer_baseline(void)
{
    return &scalar_integer;
}
