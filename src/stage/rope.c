/* rope.c - cos and sin tables of positions, and the rotation. */
#include "stage/stage.h"

#include "base/mathd.h"

/* Accurate angles: the product in double, cos and sin rounded once, after the attention factor. */
static void exact_angle(double angle_of_one, double factor, int32_t position, float *c, float *s)
{
    double sin_x, cos_x;
    gqa__sincos((double)position * angle_of_one, &sin_x, &cos_x);
    *c = (float)(cos_x * factor);
    *s = (float)(sin_x * factor);
}

/* As torch references form them: frequency, angle, cos, sin and factor each rounded to f32. */
static void float_angle(double angle_of_one, double factor, int32_t position, float *c, float *s)
{
    const float angle = (float)position * (float)angle_of_one;
    double sin_x, cos_x;
    gqa__sincos((double)angle, &sin_x, &cos_x);
    *c = (float)cos_x * (float)factor;
    *s = (float)sin_x * (float)factor;
}

void gqa__rope_table(const struct gqa__params *params, const int32_t *positions,
                     int64_t axis_stride, int32_t n, int32_t rope_length, double *freq,
                     float *cos_out, float *sin_out)
{
    const struct gqa__rope *const rope = &params->rope;
    const bool reverse = params->config.rope_reverse != 0;
    gqa__rope_frequencies(params, rope_length, freq);
    for (int64_t i = 0; i < n; i++) {
        float *const c = cos_out + i * rope->pairs; /* [pairs] */
        float *const s = sin_out + i * rope->pairs; /* [pairs] */
        for (int32_t j = 0; j < rope->pairs; j++) {
            const int32_t position = positions[rope->axis[j] * axis_stride + i];
            if (params->config.rope_float_angles) {
                float_angle(freq[j], rope->attention_factor, position, &c[j], &s[j]);
            } else {
                exact_angle(freq[j], rope->attention_factor, position, &c[j], &s[j]);
            }
            if (reverse) {
                s[j] = -s[j];
            }
        }
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
        params->row->rope(x->x + t * x->step, params->shape.dk, x->heads, c + t * pairs,
                          s + t * pairs, params->shape.rotary_dim, params->config.rope);
    }
}
