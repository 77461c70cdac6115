/* SPDX-License-Identifier: Apache-2.0 */
/* masks.c - see masks.h. */
#include "masks.h"

#include <stdlib.h>

#include "fill.h"

/* One byte or one bit per element of [tokens][keys from `first` on]. */
static void fill_seen(const struct bench_spec *spec, unsigned char *at, int32_t first, bool bits)
{
    const int32_t keys = spec->past + spec->tokens - first;
    const size_t row = bits ? ((size_t)keys + 7) / 8 : (size_t)keys;

    for (int32_t t = 0; t < spec->tokens; t++, at += row) {
        for (int32_t k = 0; k < keys; k++) {
            const bool sees = bench_spec_sees(spec, t, first + k);

            if (bits) {
                at[k / 8] = (unsigned char)(at[k / 8] | sees << k % 8);
            } else {
                at[k] = sees;
            }
        }
    }
}

static bool make_tree(struct bench_masks *masks, const struct bench_spec *spec, gqa_inputs *inputs)
{
    const int32_t t = spec->tokens;
    int32_t *at = calloc((size_t)spec->batch * (size_t)t, sizeof *at);

    masks->memory = bench_alloc((size_t)t * (size_t)t);
    masks->positions = at;
    if (masks->memory == NULL || at == NULL) {
        return false;
    }
    fill_seen(spec, masks->memory, spec->past, false);
    for (int32_t i = 0; i < spec->batch * t; i++) {
        at[i] = i % t == 0 ? spec->past : at[i - i % t + (i % t - 1) / 2] + 1;
    }
    inputs->active_mask = gqa_tensor_3d(masks->memory, GQA_U8, 1, t, t);
    inputs->position_ids = at;
    return true;
}

bool bench_masks_make(struct bench_masks *masks, const struct bench_spec *spec, gqa_inputs *inputs)
{
    const int64_t t = spec->tokens, keys = (int64_t)spec->past + t;
    const size_t elements = (size_t)(t * keys);
    const bool bits = spec->mask == MASK_BITS;

    if (spec->mask == MASK_NONE) {
        return true;
    }
    if (spec->mask == MASK_TREE) {
        return make_tree(masks, spec, inputs);
    }
    masks->memory = bench_alloc(elements * sizeof(float));
    if (masks->memory == NULL) {
        return false;
    }
    if (spec->mask == MASK_BIAS) {
        bench_fill(masks->memory, elements, 1.0f, 8);
        inputs->bias = gqa_tensor_4d(masks->memory, GQA_F32, 1, 1, t, keys);
        return true;
    }
    fill_seen(spec, masks->memory, 0, bits);
    inputs->mask = gqa_tensor_4d(masks->memory, bits ? GQA_BITS : GQA_U8, 1, 1, t, keys);
    if (bits) { /* rows begin at a byte */
        inputs->mask.stride[2] = (keys + 7) / 8 * 8;
        inputs->mask.stride[0] = inputs->mask.stride[1] = t * inputs->mask.stride[2];
    }
    return true;
}

void bench_masks_free(struct bench_masks *masks)
{
    bench_free(masks->memory);
    free(masks->positions);
    masks->memory = NULL;
    masks->positions = NULL;
}
