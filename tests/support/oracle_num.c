/* SPDX-License-Identifier: Apache-2.0 */
/* oracle_num.c - reading tensors, rounding, and the arithmetic of bounded numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

void *oracle_zeros(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL) {
        fprintf(stderr, "oracle: out of memory\n");
        exit(3);
    }
    return memory;
}

/* A block: each result is a sum of all n elements, of either sign, times 1/sqrt(n). In f32 an
 * element meets the rounding of the factor, that of the product, and one for each of log2 n sums;
 * one u more is for products of these. A denormal product is off by half its last place at most. */
static void rotate_block(oracle_num *x, int n)
{
    double v[512], sum_e = 0.0, size = 0.0;
    const double factor = 1.0 / sqrt((double)n);
    for (int i = 0; i < n; i++) {
        v[i] = 0.0;
        for (int j = 0; j < n; j++) {
            bool odd = false;
            for (int both = i & j; both != 0; both &= both - 1) {
                odd = !odd;
            }
            v[i] += odd ? -x[j].v : x[j].v;
        }
        sum_e += x[i].e;
        size += fabs(x[i].v) + x[i].e;
    }
    for (int i = 0; i < n; i++) {
        x[i].v = factor * v[i];
        x[i].e = factor * (sum_e + (ilogb((double)n) + 3) * ORACLE_U * size);
        x[i].e += size > 0.0 ? n * 0x1p-149 : 0.0;
    }
}

void oracle_rotate(oracle_num *x, int n)
{
    for (int done = 0, block; done < n; done += block) {
        block = 1 << ilogb((double)(n - done));
        if (block > 1) {
            rotate_block(x + done, block);
        }
    }
}

static double read_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return (double)x;
}

static double read_f16(uint16_t h)
{
    int exponent = (h >> 10) & 31;
    int fraction = h & 1023;
    double x = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31) {
        x = fraction != 0 ? (double)NAN : (double)INFINITY;
    }
    return (h & 0x8000) != 0 ? -x : x;
}

static double read_element(const gqa_tensor *t, int64_t offset)
{
    const unsigned char *bytes = t->data;
    uint16_t h;
    float x;
    switch (t->dtype) {
    case GQA_F32:
        memcpy(&x, bytes + offset * 4, 4);
        return (double)x;
    case GQA_BF16:
        memcpy(&h, bytes + offset * 2, 2);
        return read_bf16(h);
    case GQA_F16:
        memcpy(&h, bytes + offset * 2, 2);
        return read_f16(h);
    case GQA_U8:
        return bytes[offset] != 0 ? 1.0 : 0.0;
    case GQA_I8:
        return bytes[offset] < 128 ? bytes[offset] : bytes[offset] - 256;
    case GQA_E4M3:
    case GQA_E4M3_240:
    case GQA_I4: /* no tensor has these */
        break;
    case GQA_BITS:
        return (bytes[offset / 8] >> (offset % 8)) & 1 ? 1.0 : 0.0;
    }
    return (double)NAN;
}

double oracle_at(const gqa_tensor *t, int64_t a, int64_t b, int64_t c, int64_t d)
{
    const int64_t index[4] = {a, b, c, d};
    bool packed = true;
    for (int i = 0; i < t->rank; i++) {
        packed = packed && t->stride[i] == 0;
    }
    int64_t offset = 0;
    int64_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        int64_t place = index[i + 4 - t->rank];
        offset += (packed ? step : t->stride[i]) * place;
        /* Packed bits: rows start at whole bytes. */
        int64_t extent = t->shape[i];
        if (t->dtype == GQA_BITS && i == t->rank - 1) {
            extent = (extent + 7) / 8 * 8;
        }
        step *= extent;
    }
    return read_element(t, offset);
}

/* Nearest multiple of 2^grid, ties to even; doubles hold it exactly. */
static double round_to_grid(double x, int grid)
{
    return ldexp(nearbyint(ldexp(x, -grid)), grid);
}

double oracle_round(double x, gqa_dtype dtype)
{
    if (dtype == GQA_F32 || !isfinite(x) || x == 0.0) {
        return x;
    }
    int digits = dtype == GQA_BF16 ? 8 : 11;
    int lowest = dtype == GQA_BF16 ? -133 : -24;
    double limit = dtype == GQA_BF16 ? 0x1.fep127 : 65504.0;
    int grid = ilogb(x) - (digits - 1);
    double r = round_to_grid(x, grid > lowest ? grid : lowest);
    return fabs(r) > limit ? copysign((double)INFINITY, x) : r;
}

oracle_num oracle_round_num(oracle_num x, gqa_dtype dtype)
{
    if (dtype == GQA_F32 || isnan(x.v)) {
        return x;
    }
    oracle_num y;
    y.v = oracle_round(x.v, dtype);
    y.e = fmax(oracle_round(x.v + x.e, dtype) - y.v, y.v - oracle_round(x.v - x.e, dtype));
    return y;
}

oracle_num oracle_scale(oracle_num x, double factor)
{
    if (factor == 0.0) {
        return x;
    }
    oracle_num y = {x.v * factor, x.e * fabs(factor)};
    y.e += ORACLE_U * (fabs(y.v) + y.e);
    return y;
}

oracle_num oracle_add(oracle_num a, oracle_num b)
{
    oracle_num y = {a.v + b.v, a.e + b.e};
    y.e += ORACLE_U * (fabs(y.v) + y.e);
    return y;
}

void oracle_linear(const oracle_layer *layer, const double *w, const double *bias, int out, int in,
                   const oracle_num *x, oracle_num *y)
{
    oracle_num *operand = oracle_zeros((size_t)in, sizeof *operand);
    gqa_dtype format = layer->bf16 ? GQA_BF16 : GQA_F32;
    for (int i = 0; i < in; i++) {
        operand[i] = oracle_round_num(x[i], format);
    }
    for (int o = 0; o < out; o++) {
        double sum = 0.0;
        double size = 0.0;
        double carried = 0.0;
        for (int i = 0; i < in; i++) {
            double weight = w[(size_t)o * (size_t)in + (size_t)i];
            weight = layer->int8 ? weight : oracle_round(weight, format);
            sum += weight * operand[i].v;
            size += fabs(weight) * (fabs(operand[i].v) + operand[i].e);
            carried += fabs(weight) * operand[i].e;
        }
        /* in products and sums, each rounded once; bf16 products flush results below 2^-126.
         * int8: an integer is exact as an operand, the scale is one more product (in backend
         * reference one for every weight); of the order of 1 at most, it adds nothing to what is
         * flushed. */
        y[o].v = sum;
        y[o].e = carried + (in + (layer->int8 ? 5 : 4)) * ORACLE_U * size;
        y[o].e += layer->bf16 && size > 0.0 ? in * 0x1p-125 : 0.0;
        if (bias != NULL) {
            oracle_num b = {bias[o], 0.0};
            y[o] = oracle_add(y[o], b);
        }
    }
    free(operand);
}
