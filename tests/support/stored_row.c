/* SPDX-License-Identifier: Apache-2.0 */
/* stored_row.c - see stored_row.h. */
#include "support/stored_row.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "support/cache_kinds.h"

bool stored_scaled(gqa_dtype type)
{
    return type == GQA_I8 || type == GQA_E4M3 || type == GQA_E4M3_240 || type == GQA_I4;
}

static double limit_of(gqa_dtype type)
{
    return type == GQA_I8 ? 127 : type == GQA_I4 ? 7 : type == GQA_E4M3 ? 448 : 240;
}

/* The scale of n values. Quotients of floats, rounded to double and then to float, are those
 * rounded to float at once: 53 digits are more than twice 24 and 2. */
static float scale_of(const float *x, int n, gqa_dtype type)
{
    double largest = 0.0;
    for (int i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return (float)NAN;
        }
        largest = fmax(largest, fabs((double)x[i]));
    }
    const float scale = (float)(largest / limit_of(type));
    return scale < FLT_MIN ? 0.0f : scale;
}

static double code_of(double x, float scale, gqa_dtype type)
{
    if (isnan(scale) || scale == 0.0f) {
        return 0.0;
    }
    const double y = (double)(float)(x / (double)scale);
    if (type == GQA_I8 || type == GQA_I4) {
        return nearbyint(y) + 0.0; /* no -0 */
    }
    const int exponent = y == 0.0 || ilogb(y) < -6 ? -6 : ilogb(y);
    const double near = ldexp(nearbyint(ldexp(y, 3 - exponent)), exponent - 3);
    return copysign(fmin(fabs(near), limit_of(type)), y);
}

void stored_row(struct stored_row *row, const float *x, int n, gqa_dtype type)
{
    memset(row, 0, sizeof *row);
    row->group = type == GQA_I4 ? 32 : n;
    row->scales = stored_scaled(type) ? (n + row->group - 1) / row->group : 0;
    for (int d = 0; d < n; d++) {
        const int g = d / row->group, rest = n - g * row->group;
        if (row->scales == 0) {
            row->code[d] = (double)cache_stored(x[d], type);
            continue;
        }
        if (d % row->group == 0) {
            row->scale[g] =
                scale_of(x + g * row->group, rest < row->group ? rest : row->group, type);
        }
        row->code[d] = code_of((double)x[d], row->scale[g], type);
    }
}

/* The sums and differences of a block, 1 apart, then 2, .. : those of each half come before those
 * of the two halves. */
static void add_halves(float *x, int n)
{
    if (n == 1) {
        return;
    }
    add_halves(x, n / 2);
    add_halves(x + n / 2, n / 2);
    for (int i = 0; i < n / 2; i++) {
        const float low = x[i], high = x[i + n / 2];
        x[i] = low + high;
        x[i + n / 2] = low - high;
    }
}

void stored_rotate(float *x, int n)
{
    while (n > 0) {
        const int block = 1 << ilogb((double)n); /* the largest power of two */
        const float factor = (float)(1.0 / sqrt((double)block));
        for (int i = 0; i < block; i++) {
            x[i] = factor * x[i];
        }
        add_halves(x, block);
        x += block;
        n -= block;
    }
}

float stored_value(const struct stored_row *row, int d)
{
    const double scale = row->scales > 0 ? (double)row->scale[d / row->group] : 1.0;
    const float value = (float)(row->code[d] * scale);
    return isnan(value) ? (float)NAN : value;
}

void stored_read(float *read, const float *x, int n, gqa_dtype type, bool rotated)
{
    struct stored_row row;
    float y[STORED_ROW_MOST];
    memcpy(y, x, (size_t)n * sizeof *y);
    if (rotated) {
        stored_rotate(y, n);
    }
    stored_row(&row, y, n, type);
    for (int d = 0; d < n; d++) {
        read[d] = stored_value(&row, d);
    }
    if (rotated) {
        stored_rotate(read, n);
    }
    for (int d = 0; d < n; d++) {
        read[d] = isnan(read[d]) ? (float)NAN : read[d];
    }
}

/* Sign, 4 bits of exponent and 3 of fraction. */
static uint32_t e4m3_bits(double code)
{
    const uint32_t sign = signbit(code) ? 0x80u : 0u;
    const double size = fabs(code);
    if (size < ldexp(1.0, -6)) {
        return sign | (uint32_t)ldexp(size, 9);
    }
    const int exponent = ilogb(size);
    return sign | (uint32_t)(exponent + 7) << 3 | (uint32_t)(ldexp(size, 3 - exponent) - 8.0);
}

int stored_byte(int d, gqa_dtype type)
{
    return type == GQA_I4 ? d / 32 * 16 + d % 16 : d;
}

int stored_shift(int d, gqa_dtype type)
{
    return type == GQA_I4 && d % 32 >= 16 ? 4 : 0;
}

uint32_t stored_bits(const struct stored_row *row, int d, gqa_dtype type)
{
    const float value = (float)row->code[d];
    if (type == GQA_I8) {
        return (uint32_t)(int)row->code[d] & 0xffu;
    }
    if (type == GQA_I4) {
        return (uint32_t)(int)row->code[d] & 0xfu;
    }
    if (stored_scaled(type)) {
        return e4m3_bits(row->code[d]);
    }
    if (type == GQA_F16) {
        const double size = fabs((double)value);
        const uint32_t sign = signbit(value) ? 0x8000u : 0u;
        if (isnan(value)) {
            return 0x7e00u;
        }
        if (isinf(value)) {
            return sign | 0x7c00u;
        }
        const int exponent = size < 0x1p-14 ? -14 : ilogb(size);
        const uint32_t fraction = (uint32_t)ldexp(size, 10 - exponent);
        return sign | (fraction + ((uint32_t)(exponent + 14) << 10));
    }
    return type == GQA_BF16 ? float_bits(value) >> 16 : float_bits(value);
}
