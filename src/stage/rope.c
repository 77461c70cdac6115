/* SPDX-License-Identifier: Apache-2.0 */
/* rope.c - cos and sin tables of positions, and the rotation. */
#include "stage/stage.h"

#include "base/memory.h"

enum { PAIRS = 64 /* of a token's angles at a time */ };

/* The product in double; or, as torch references form it, frequency and angle rounded to f32. */
static double angle_of(double frequency, int32_t position, bool floats)
{
    return floats ? (double)((float)position * (float)frequency) : (double)position * frequency;
}

/* Rounded once, after the attention factor; or value and factor each. */
static float table_value(double value, double factor, bool floats)
{
    return floats ? (float)value * (float)factor : (float)(value * factor);
}

/* One token's tables [pairs]; its position on an axis is positions[axis * axis_stride]. */
static void table_row(const struct gqa__params *params, const int32_t *positions,
                      int64_t axis_stride, const double *freq, float *c, float *s)
{
    const struct gqa__rope *const rope = &params->rope;
    const bool floats = params->config.rope_float_angles != 0;
    const double sin_factor =
        params->config.rope_reverse != 0 ? -rope->attention_factor : rope->attention_factor;
    double x[PAIRS], sin_x[PAIRS], cos_x[PAIRS];
    for (int32_t first = 0; first < rope->pairs; first += PAIRS) {
        const int32_t n = (int32_t)gqa__min(rope->pairs - first, PAIRS);
        for (int32_t i = 0; i < n; i++) {
            const int32_t j = first + i;
            x[i] = angle_of(freq[j], positions[rope->axis[j] * axis_stride], floats);
        }
        params->kernels->sincos(sin_x, cos_x, x, n);
        for (int32_t i = 0; i < n; i++) {
            c[first + i] = table_value(cos_x[i], rope->attention_factor, floats);
            s[first + i] = table_value(sin_x[i], sin_factor, floats);
        }
    }
}

void gqa__rope_table(const struct gqa__params *params, const struct gqa__rope_rows *rows)
{
    const int64_t pairs = params->rope.pairs;

    gqa__rope_frequencies(params, rows->length, rows->freq);
    for (int64_t i = 0; i < rows->n; i++) {
        table_row(params, rows->positions + i, rows->axis_stride, rows->freq, rows->cos + i * pairs,
                  rows->sin + i * pairs);
    }
}

void gqa__stage_rope(const struct gqa__params *params, const float *c, const float *s,
                     const struct gqa__heads *x, int32_t n)
{
    const int64_t pairs = params->rope.pairs;
    if (params->config.rope == GQA_ROPE_NONE) {
        return;
    }
    for (int32_t t = 0; t < n && x->x != NULL; t++) {
        const struct gqa__rope_args args = {.x = x->x + t * x->step,
                                            .head_stride = params->shape.dk,
                                            .heads = x->heads,
                                            .rotary_dim = params->shape.rotary_dim,
                                            .c = c + t * pairs,
                                            .s = s + t * pairs,
                                            .style = params->config.rope};
        params->kernels->rope(&args);
    }
}
