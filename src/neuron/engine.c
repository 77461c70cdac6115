/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - see engine.h. */
#include "neuron/engine.h"

#include <math.h>

#include "base/mathd.h"
#include "base/mathd_inline.h"

/* --- the product unit --------------------------------------------------------------------------
 */

/* One row of a group, at most GQA__PSUM_FREE columns: the bank that the sums live in. */
static void exact_row(const struct gqa__psum *psum, int32_t r, int32_t column, int32_t columns)
{
    const float *const a = psum->a + r * psum->a_step;
    float *const out = psum->out + r * psum->out_step + column;
    double bank[GQA__PSUM_FREE];

    for (int32_t c = 0; c < columns; c++) {
        bank[c] = 0.0;
    }
    for (int32_t i = 0; i < psum->inner; i++) {
        const float *const b = psum->b + i * psum->b_step + column;
        const double factor = (double)a[i];
        for (int32_t c = 0; c < columns; c++) {
            bank[c] += factor * (double)b[c];
        }
    }
    for (int32_t c = 0; c < columns; c++) {
        out[c] = (float)bank[c];
    }
}

static void float32_row(const struct gqa__psum *psum, int32_t r, int32_t column, int32_t columns)
{
    const float *const a = psum->a + r * psum->a_step;
    float *const out = psum->out + r * psum->out_step + column;
    float bank[GQA__PSUM_FREE];

    for (int32_t c = 0; c < columns; c++) {
        bank[c] = 0.0f;
    }
    for (int32_t i = 0; i < psum->inner; i++) {
        const float *const b = psum->b + i * psum->b_step + column;
        for (int32_t c = 0; c < columns; c++) {
            bank[c] += a[i] * b[c];
        }
    }
    for (int32_t c = 0; c < columns; c++) {
        out[c] = bank[c];
    }
}

void gqa__psum_group(const struct gqa__psum *psum)
{
    for (int32_t column = 0; column < psum->columns; column += GQA__PSUM_FREE) {
        const int32_t rest = psum->columns - column;
        const int32_t columns = rest < GQA__PSUM_FREE ? rest : GQA__PSUM_FREE;
        for (int32_t r = 0; r < psum->rows; r++) {
            if (psum->accumulation == GQA_NEURON_EXACT) {
                exact_row(psum, r, column, columns);
            } else {
                float32_row(psum, r, column, columns);
            }
        }
    }
}

/* --- the other units ---------------------------------------------------------------------------
 */

float gqa__engine_sum(gqa_neuron_accumulation accumulation, const float *x, int64_t n)
{
    double wide = 0.0;
    float narrow = 0.0f;

    if (accumulation == GQA_NEURON_EXACT) {
        for (int64_t i = 0; i < n; i++) {
            wide += (double)x[i];
        }
        return (float)wide;
    }
    for (int64_t i = 0; i < n; i++) {
        narrow += x[i];
    }
    return narrow;
}

float gqa__engine_max(const float *x, int64_t n)
{
    float most = x[0];

    for (int64_t i = 1; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    return most;
}

/* e^x for |x| <= 105: x = n ln 2 + r, and the Taylor series of e^r to r^13, whose first left-out
 * term is below 2^-57. Its relative error is below 2^-50, and rounded to f32 it is the function
 * rounded once: gqa__exp, right to the last place of a double, rounds to the same for every f32 of
 * that range. test_neuron_engine has those that come nearest to a tie. */
static double series_exp(double x)
{
    const double n = rint(x * 0x1.71547652b82fep+0);
    const double r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;
    double p = 0x1.6124613a86d09p-33; /* 1/13! */

    p = p * r + 0x1.1eed8eff8d898p-29;
    p = p * r + 0x1.ae64567f544e4p-26;
    p = p * r + 0x1.27e4fb7789f5cp-22;
    p = p * r + 0x1.71de3a556c734p-19;
    p = p * r + 0x1.a01a01a01a01ap-16;
    p = p * r + 0x1.a01a01a01a01ap-13;
    p = p * r + 0x1.6c16c16c16c17p-10;
    p = p * r + 0x1.1111111111111p-7;
    p = p * r + 0x1.5555555555555p-5;
    p = p * r + 0x1.5555555555555p-3;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return p * gqa__f64_from_bits((uint64_t)((int64_t)n + 1023) << 52);
}

float gqa__engine_exp(float x)
{
    if (x < -105.0f) {
        return 0.0f; /* below half of the least f32, e^-103.98 */
    }
    if (!(x <= 89.0f)) {
        return x == x ? INFINITY : gqa__canonical(x); /* FLT_MAX is e^88.72 */
    }
    return (float)series_exp((double)x);
}

float gqa__engine_log(float x)
{
    return gqa__canonical((float)gqa__log((double)x));
}

void gqa__engine_round_all(gqa_dtype format, float *x, int64_t n)
{
    if (format == GQA_BF16) {
        for (int64_t i = 0; i < n; i++) {
            x[i] = gqa__round_bf16(x[i]);
        }
    }
}
