/* SPDX-License-Identifier: Apache-2.0 */
/* cache_kinds.c - see cache_kinds.h. */
#include "support/cache_kinds.h"
#include "support/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/choice/select.h"

const struct cache_kind cache_kinds[] = {
    {"f32", GQA_NUMERICS_F32, GQA_F32, GQA_F32, 0, 0, 0, false, false},
    {"f32 in bf16 pages", GQA_NUMERICS_F32, GQA_BF16, GQA_BF16, 0, 0, 0, false, false},
    {"f32, K in bf16", GQA_NUMERICS_F32, GQA_BF16, GQA_F32, 0, 0, 0, false, false},
    {"f32, V in bf16", GQA_NUMERICS_F32, GQA_F32, GQA_BF16, 0, 0, 0, false, false},
    {"f32, 64-key panels, padded rows", GQA_NUMERICS_F32, GQA_F32, GQA_F32, 64, 16, 8, false,
     false},
    {"f32, V in bf16, 4-key panels, padded rows", GQA_NUMERICS_F32, GQA_F32, GQA_BF16, 4, 32, 16,
     false, false},
    {"bf16", GQA_NUMERICS_BF16, GQA_BF16, GQA_BF16, 0, 0, 0, false, false},
    {"bf16, 256-key panels", GQA_NUMERICS_BF16, GQA_BF16, GQA_BF16, 256, 0, 0, false, false},
    {"bf16, 16-key panels, 64-wide K", GQA_NUMERICS_BF16, GQA_BF16, GQA_BF16, 16, 64, 32, false,
     false},
    {"f32 in f16 pages", GQA_NUMERICS_F32, GQA_F16, GQA_F16, 0, 0, 0, false, false},
    {"f32, K in f16, V in bf16, 32-key panels", GQA_NUMERICS_F32, GQA_F16, GQA_BF16, 32, 8, 4,
     false, false},
    {"f32 in int8 pages", GQA_NUMERICS_F32, GQA_I8, GQA_I8, 0, 0, 0, false, false},
    {"f32, K in int8, V in f32, padded rows", GQA_NUMERICS_F32, GQA_I8, GQA_F32, 64, 16, 8, false,
     false},
    {"f32, K in e4m3, V in int4", GQA_NUMERICS_F32, GQA_E4M3, GQA_I4, 4, 8, 16, false, false},
    {"f32, K in int4, V in e4m3 up to 240", GQA_NUMERICS_F32, GQA_I4, GQA_E4M3_240, 0, 0, 0, false,
     false},
    {"bf16 in int8 pages", GQA_NUMERICS_BF16, GQA_I8, GQA_I8, 0, 0, 0, false, false},
    {"bf16, K in bf16, V in int8, 256-key panels", GQA_NUMERICS_BF16, GQA_BF16, GQA_I8, 256, 0, 0,
     false, false},
    {"bf16, K in int4, V in bf16, 16-key panels, 64-wide K", GQA_NUMERICS_BF16, GQA_I4, GQA_BF16,
     16, 64, 32, false, false},
    {"bf16, K in e4m3, V in int4", GQA_NUMERICS_BF16, GQA_E4M3, GQA_I4, 0, 0, 0, false, false},
    {"f32, K in int8, V in int4, rotated", GQA_NUMERICS_F32, GQA_I8, GQA_I4, 0, 0, 0, true, true},
    {"f32, K in e4m3, V in bf16, K rotated", GQA_NUMERICS_F32, GQA_E4M3, GQA_BF16, 0, 0, 0, true,
     false},
    {"bf16, K in int4, V in e4m3, V rotated", GQA_NUMERICS_BF16, GQA_I4, GQA_E4M3, 0, 0, 0, false,
     true},
};
const int cache_kind_count = (int)(sizeof cache_kinds / sizeof cache_kinds[0]);

void cache_kind_layer(struct gqa_layer *layer, struct gqa__kernels *kernels,
                      const struct cache_kind *kind, int32_t hkv, int32_t dk, int32_t dv)
{
    const struct gqa__kernels *scalar = NULL;
    if (gqa__select(&scalar, GQA_ISA_SCALAR, GQA_ISA_AUTO, kind->numerics, NULL) != GQA_OK) {
        abort();
    }
    *kernels = *scalar;
    kernels->panel_keys = kind->panel_keys != 0 ? kind->panel_keys : kernels->panel_keys;
    kernels->depth_step = kind->depth_step != 0 ? kind->depth_step : kernels->depth_step;
    kernels->value_step = kind->value_step != 0 ? kind->value_step : kernels->value_step;

    memset(layer, 0, sizeof *layer);
    layer->params.kernels = kernels;
    layer->params.shape.hkv = hkv;
    layer->params.shape.hq = hkv;
    layer->params.shape.group = 1;
    layer->params.shape.dk = dk;
    layer->params.shape.dv = dv;
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

float cache_value(uint64_t *state, bool odd)
{
    uint32_t random = random_u32(state);
    uint32_t sign = random & 0x80000000u;
    uint32_t kind = (random >> 8) % 32;
    if (kind == 0) {
        return from_bits(sign);
    }
    if (kind == 1) {
        return from_bits(sign | (random & 0x007fffffu)); /* denormal or zero */
    }
    if (kind == 2) {
        return from_bits(sign | 0x3f808000u | (random & 0x007f0000u)); /* a bf16 tie */
    }
    if (kind == 3 && odd) {
        return from_bits(sign | 0x7f800001u | (random & 0x007fffffu)); /* NaN */
    }
    if (kind == 4 && odd) {
        return from_bits(sign | 0x7f800000u); /* infinity */
    }
    return ((float)random - 2147483648.0f) * 0x1p-29f;
}

/* The nearest multiple of f16's unit at this size, the even one of two that are as near. */
static float stored_as_f16(float x)
{
    int exponent;
    (void)frexp((double)x, &exponent);
    const double unit = ldexp(1.0, (exponent - 1 > -14 ? exponent - 1 : -14) - 10);
    const double y = rint((double)x / unit) * unit;
    return fabs(y) >= 0x1p16 ? copysignf(INFINITY, x) : copysignf((float)y, x);
}

float cache_stored(float x, gqa_dtype storage)
{
    if (isnan(x)) {
        return from_bits(0x7fc00000u);
    }
    if (storage == GQA_F32 || isinf(x)) {
        return x;
    }
    if (storage == GQA_F16) {
        return stored_as_f16(x);
    }
    /* The two neighbours of 16 bits, and the nearer one; the even one of two that are as near. */
    uint32_t below = float_bits(x) & 0xffff0000u;
    uint32_t above = below + 0x10000u;
    double to_below = fabs((double)x - (double)from_bits(below));
    double to_above = isinf(from_bits(above)) ? fabs(0x1p128 - fabs((double)x))
                                              : fabs((double)from_bits(above) - (double)x);
    bool up = to_above < to_below || (to_above == to_below && (below & 0x10000u) != 0);
    return from_bits(up ? above : below);
}
