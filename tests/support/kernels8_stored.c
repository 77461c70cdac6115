/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_stored.c - see kernels8_stored.h. */
#include "support/kernels8_stored.h"

#include <float.h>
#include <math.h>

#include "base/number.h"
#include "support/stored_row.h"

static float canonical(float x)
{
    return x == x ? x : gqa__f32_from_bits(0x7fc00000u);
}

static float no_denormal(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

static float bf16_at(const void *data, int64_t i)
{
    return gqa__bf16_to_f32(((const uint16_t *)data)[i]);
}

/* Stores one value of a page; true if what is stored is not finite. */
static bool put(void *page, int64_t at, float x, gqa_dtype storage)
{
    if (storage == GQA_BF16) {
        ((uint16_t *)page)[at] = gqa__f32_to_bf16(x);
        return !isfinite(bf16_at(page, at));
    }
    if (storage == GQA_F16) {
        ((uint16_t *)page)[at] = gqa__f32_to_f16(x);
        return !isfinite(gqa__f16_to_f32(((uint16_t *)page)[at]));
    }
    ((float *)page)[at] = canonical(x);
    return !isfinite(x);
}

/* Value d of token i of those that are appended. */
static float appended(const struct gqa__append_args *a, int32_t i, int32_t d)
{
    const float x = a->src[i * a->src_stride + d];
    return a->flush ? no_denormal(x) : x;
}

/* A row of a scaled type. Returns whether it is special. */
static bool append_codes(const struct gqa__append_args *a, int32_t i, bool transposed, bool bf16)
{
    const bool column = transposed && !stored_integer(a->storage);
    const int64_t slot = a->slot + i;
    struct stored_row row;
    float x[STORED_ROW_MOST];
    bool bad = false;
    for (int32_t d = 0; d < a->dim; d++) {
        x[d] = appended(a, i, d);
    }
    stored_row(&row, x, a->dim, a->storage);
    for (int32_t d = 0; d < a->dim; d++) {
        const int64_t at =
            column ? d * a->stride + slot : slot * a->stride + stored_byte(d, a->storage);
        const int shift = stored_shift(d, a->storage);
        const unsigned keep = a->storage == GQA_I4 ? 0xf0u >> shift : 0;
        uint8_t *const byte = (uint8_t *)a->page + at;
        *byte = (uint8_t)((*byte & keep) | stored_bits(&row, d, a->storage) << shift);
    }
    for (int32_t g = 0; g < row.scales; g++) {
        a->scale[g * a->scale_stride + slot] = row.scale[g];
        bad |= isnan(row.scale[g]) || (bf16 && row.scale[g] >= 0x1p55f);
    }
    return bad && !stored_integer(a->storage);
}

/* Codes of e4m3 as operands. */
static void expand(const struct gqa__expand_args *a, bool bf16)
{
    for (int32_t r = 0; r < a->rows; r++) {
        for (int32_t e = 0; e < a->n; e++) {
            const uint8_t byte = a->src[r * a->src_stride + e];
            const int size = byte & 127, exponent = size >> 3;
            const double value =
                exponent == 0 ? ldexp(size, -9) : ldexp(8 + size % 8, exponent - 10);
            const float x = size == 127 ? canonical(NAN) : (float)(byte > 127 ? -value : value);
            if (bf16) {
                ((uint16_t *)a->dst)[r * a->dst_stride + e] = (uint16_t)(gqa__f32_bits(x) >> 16);
            } else {
                ((float *)a->dst)[r * a->dst_stride + e] = x;
            }
        }
    }
}

void kernels8_expand_f32(const struct gqa__expand_args *a)
{
    expand(a, false);
}

void kernels8_expand_bf16(const struct gqa__expand_args *a)
{
    expand(a, true);
}

bool kernels8_append_rows(const struct gqa__append_args *a)
{
    bool bad = false;
    for (int32_t i = 0; i < a->n && stored_scaled(a->storage); i++) {
        bad |= append_codes(a, i, false, false);
    }
    if (stored_scaled(a->storage)) {
        return bad;
    }
    for (int32_t i = 0; i < a->n; i++) {
        for (int32_t d = 0; d < a->dim; d++) {
            bad |= put(a->page, (a->slot + i) * a->stride + d, appended(a, i, d), a->storage);
        }
    }
    return bad;
}

void kernels8_append_k(const struct gqa__append_args *a)
{
    kernels8_append_rows(a);
}

void kernels8_append_k_bf16(const struct gqa__append_args *a)
{
    for (int32_t i = 0; i < a->n && stored_scaled(a->storage); i++) {
        append_codes(a, i, false, true);
    }
    if (!stored_scaled(a->storage)) {
        kernels8_append_rows(a);
    }
}

bool kernels8_append_v_bf16(const struct gqa__append_args *a)
{
    bool bad = false;
    for (int32_t i = 0; i < a->n && stored_scaled(a->storage); i++) {
        bad |= append_codes(a, i, true, true);
    }
    if (stored_scaled(a->storage)) {
        return bad;
    }
    for (int32_t i = 0; i < a->n; i++) {
        for (int32_t d = 0; d < a->dim; d++) {
            const int64_t at = d * a->stride + a->slot + i;
            bad |= put(a->page, at, appended(a, i, d), a->storage);
            bad |= fabsf(bf16_at(a->page, at)) >= 0x1p64f;
        }
    }
    return bad;
}
