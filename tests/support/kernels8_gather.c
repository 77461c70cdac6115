/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_gather.c - see kernels8_gather.h. */
#include "support/kernels8_gather.h"

#include <float.h>
#include <math.h>

#include "base/number.h"
#include "support/kernels8_flat.h"

/* The value at an element of the caller's. */
static float gathered(const struct gqa__gather_args *a, int64_t r, int64_t c)
{
    const int64_t at = r * a->row + c * a->column;
    float x;
    if (a->dtype == GQA_F32) {
        x = ((const float *)a->src)[at];
    } else {
        kernels8_load(&x, (const uint16_t *)a->src + at, 1, a->dtype);
    }
    return a->flush && fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

bool kernels8_gather_f32(const struct gqa__gather_args *a)
{
    bool bad = false;
    for (int64_t i = 0; i < (int64_t)a->rows * a->columns; i++) {
        const int64_t r = i / a->columns, c = i % a->columns;
        const float x = gathered(a, r, c);
        bad |= !isfinite(x);
        if (a->dst != NULL) {
            ((float *)a->dst)[r * a->stride + c] = x;
        }
    }
    return bad;
}

bool kernels8_gather_bf16(const struct gqa__gather_args *a)
{
    bool bad = false;
    for (int64_t i = 0; i < (int64_t)a->rows * a->columns; i++) {
        const int64_t r = i / a->columns, c = i % a->columns;
        const uint16_t own = gqa__f32_to_bf16(gathered(a, r, c));
        bad |= !(fabsf(gqa__bf16_to_f32(own)) < 0x1p64f);
        if (a->dst != NULL) {
            ((uint16_t *)a->dst)[r * a->stride + c] = own;
        }
    }
    return bad;
}
