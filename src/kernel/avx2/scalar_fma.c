/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_fma.c - the scalar kernels once more, for a compiler that may use AVX2 and FMA.
 *
 * The build gives this file -O3 -mavx2 -mfma (x86-64 only); nothing in it names an instruction.
 */
#include "kernel/contract/built.h"
#include "kernel/scalar/scalar.h"

#if GQA__BUILT_SCALAR_FMA

#include "kernel/scalar/integer.h"
#include "kernel/scalar/kernels.h"

const struct gqa__kernels *gqa__scalar_fma(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_BF16 ? &scalar_bf16 : &scalar_f32;
}

const struct gqa__integer_kernels *gqa__scalar_integer_fma(void)
{
    return &scalar_integer;
}

#else

const struct gqa__kernels *gqa__scalar_fma(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}

const struct gqa__integer_kernels *gqa__scalar_integer_fma(void)
{
    return NULL;
}

#endif
