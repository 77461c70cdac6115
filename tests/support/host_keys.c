/* SPDX-License-Identifier: Apache-2.0 */
/* host_keys.c - see host_keys.h. */
#include "support/host_keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

const struct host_set host_sets[] = {
    {GQA_ISA_SCALAR, GQA_NUMERICS_F32, "scalar/f32"},
    {GQA_ISA_SCALAR, GQA_NUMERICS_BF16, "scalar/bf16"},
    {GQA_ISA_AVX2, GQA_NUMERICS_F32, "avx2/f32"},
    {GQA_ISA_AVX512, GQA_NUMERICS_F32, "avx512/f32"},
    {GQA_ISA_AVX512, GQA_NUMERICS_BF16, "avx512/bf16"},
    {GQA_ISA_AMX, GQA_NUMERICS_BF16, "amx/bf16"},
    {GQA_ISA_NEON, GQA_NUMERICS_F32, "neon/f32"},
};
const int host_set_count = (int)(sizeof host_sets / sizeof host_sets[0]);

gqa_layer *host_layer(const struct host_set *set, const struct host_shape *shape, int32_t window,
                      bool flush, const gqa_runtime *runtime)
{
    static float sinks[64];
    gqa_config config = attention_config(shape->hq, shape->hkv, shape->dk, shape->dv);
    gqa_weights weights;
    gqa_layer *layer = NULL;
    gqa_error err = {.message = ""};
    gqa_status status;

    config.learned_sinks_size = 1;
    config.sliding_window = window;
    config.numerics = set->numerics;
    config.isa = set->isa;
    config.denormals = flush ? GQA_DENORMALS_FLUSH : GQA_DENORMALS_KEEP;
    gqa_weights_init(&weights);
    weights.sinks = gqa_tensor_1d(sinks, GQA_F32, shape->hq);
    status = gqa_create(&layer, &config, &weights, runtime, &err);
    if (status != GQA_OK && status != GQA_ERR_UNSUPPORTED) {
        fail_msg("%s", err.message);
    }
    return layer;
}

/* Any bits: one value in three denormal, some around 2^64. */
static float any_value(gqa_dtype dtype, uint64_t *random)
{
    uint32_t bits = random_u32(random);
    const uint32_t kind = random_u32(random) % 4;

    if (dtype == GQA_F16) {
        return gqa__f16_to_f32((uint16_t)bits);
    }
    bits = kind == 0 ? bits & 0x807fffffu : kind == 1 ? (bits & 0x80ffffffu) | 0x5f000000u : bits;
    return dtype == GQA_F32 || dtype == GQA_I8 ? gqa__f32_from_bits(bits)
                                               : gqa__bf16_to_f32((uint16_t)(bits >> 16));
}

void host_values(float *x, int64_t n, gqa_dtype dtype, enum host_fill fill, uint64_t *random)
{
    for (int64_t i = 0; i < n; i++) {
        const float plain = random_float(random);
        const bool any = (fill == HOST_DENSE && random_u32(random) % 4 == 0) ||
                         (fill == HOST_RARE && random_u32(random) % 4096 == 0);
        x[i] = any                                   ? any_value(dtype, random)
               : dtype == GQA_F32 || dtype == GQA_I8 ? plain
               : dtype == GQA_BF16                   ? gqa__bf16_to_f32(gqa__f32_to_bf16(plain))
                                                     : gqa__f16_to_f32(gqa__f32_to_f16(plain));
    }
}

void host_put(void *data, int64_t i, float x, gqa_dtype dtype)
{
    if (dtype == GQA_F32) {
        ((float *)data)[i] = x;
    } else {
        ((uint16_t *)data)[i] = dtype == GQA_BF16 ? gqa__f32_to_bf16(x) : gqa__f32_to_f16(x);
    }
}

void *host_memory(int64_t n, gqa_dtype dtype)
{
    const size_t bytes = (size_t)n * (dtype == GQA_F32 ? 4 : dtype == GQA_I8 ? 1 : 2);
    void *data = malloc(bytes + 4);

    if (data == NULL) {
        abort();
    }
    memset(data, 0xff, bytes + 4); /* a NaN in each format that has one */
    return data;
}
