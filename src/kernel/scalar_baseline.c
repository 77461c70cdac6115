/* scalar_baseline.c - the scalar row for every CPU of the target. */
#include "kernel/scalar.h"
#include "kernel/scalar_rows.h"

const struct gqa__kernels *gqa__scalar_baseline(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_BF16 ? &scalar_bf16 : &scalar_f32;
}
