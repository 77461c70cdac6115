/* SPDX-License-Identifier: Apache-2.0 */
/* rope_resolve.c - a rope configuration resolved once: frequencies, axes and the key of its tables.
 */
#include "stage/stage.h"

#include "base/arena.h"
#include "stage/rope_frequency.h"

#include <string.h>

/* Carve the arrays. The caller gives the memory that the same code counted. */
static void carve_tables(struct gqa__rope *rope, const gqa_config *config, struct gqa__arena *arena)
{
    rope->inv_freq = gqa__arena_take(arena, rope->pairs, sizeof *rope->inv_freq);
    rope->inv_freq_long = NULL;
    if (config->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        rope->inv_freq_long = gqa__arena_take(arena, rope->pairs, sizeof *rope->inv_freq_long);
    }
    rope->axis = gqa__arena_take(arena, rope->pairs, sizeof *rope->axis);
}

size_t gqa__rope_bytes(const gqa_config *config, const struct gqa__shape *shape)
{
    struct gqa__arena arena;
    struct gqa__rope rope = {0};
    if (config->rope == GQA_ROPE_NONE) {
        return 0;
    }
    rope.pairs = shape->rotary_dim / 2;
    gqa__arena_count(&arena);
    carve_tables(&rope, config, &arena);
    return arena.used;
}

/* Axis j % 3 while j is below three times that axis's section, else axis 0. */
static uint8_t interleaved_axis(const gqa_config *config, int32_t j)
{
    const int32_t axis = j % 3;
    return (uint8_t)(j < 3 * config->mrope_sections[axis] ? axis : 0);
}

static uint8_t section_axis(const gqa_config *config, int32_t j)
{
    int32_t axis = 0;
    int32_t end = config->mrope_sections[0];
    while (axis < 3 && j >= end) {
        axis++;
        end += config->mrope_sections[axis];
    }
    return (uint8_t)axis;
}

static void assign_axes(struct gqa__rope *rope, const gqa_config *config)
{
    for (int32_t j = 0; j < rope->pairs; j++) {
        switch (config->mrope) {
        case GQA_MROPE_SECTIONS:
            rope->axis[j] = section_axis(config, j);
            break;
        case GQA_MROPE_INTERLEAVED:
            rope->axis[j] = interleaved_axis(config, j);
            break;
        default:
            rope->axis[j] = 0;
            break;
        }
    }
}

/* FNV-1a over the bytes of 64-bit words, least significant first. */
static void mix(uint64_t *hash, uint64_t word)
{
    for (int32_t i = 0; i < 8; i++) {
        *hash = (*hash ^ ((word >> (8 * i)) & 0xffu)) * UINT64_C(0x100000001b3);
    }
}

static void mix_double(uint64_t *hash, double x)
{
    uint64_t word;
    memcpy(&word, &x, sizeof word);
    mix(hash, word);
}

/* Everything that a table's bits depend on: resolved numbers, so that two ways to spell one rope
 * have one key. The style (half or interleaved) is not among them. */
static uint64_t table_key(const struct gqa__rope *rope, const gqa_config *config,
                          const struct gqa__frequency_spacing *spacing)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    mix(&hash, (uint64_t)rope->pairs);
    mix_double(&hash, rope->attention_factor);
    mix(&hash, config->rope_float_angles ? 1u : 0u);
    mix(&hash, config->rope_reverse ? 1u : 0u);
    mix(&hash, config->mrope == GQA_MROPE_NONE ? 0u : 1u);
    for (int32_t j = 0; j < rope->pairs; j++) {
        mix_double(&hash, rope->inv_freq[j]);
        mix(&hash, rope->axis[j]);
        if (rope->inv_freq_long != NULL) {
            mix_double(&hash, rope->inv_freq_long[j]);
        }
    }
    if (gqa__rope_by_length(config)) {
        mix(&hash, (uint64_t)config->rope_scaling);
        mix(&hash, (uint64_t)config->rope_original_context);
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_DYNAMIC) {
        mix_double(&hash, config->rope_theta);
        mix_double(&hash, config->rope_factor);
        mix(&hash, (uint64_t)spacing->dim);
    }
    return hash == 0 ? 1 : hash;
}

void gqa__rope_resolve(struct gqa__rope *rope, const gqa_config *config,
                       const struct gqa__shape *shape, void *memory)
{
    const struct gqa__frequency_spacing spacing = gqa__frequency_spacing(config, shape);
    struct gqa__arena arena;
    memset(rope, 0, sizeof *rope);
    if (config->rope == GQA_ROPE_NONE) {
        return;
    }
    rope->pairs = spacing.pairs;
    gqa__arena_open(&arena, memory, gqa__rope_bytes(config, shape));
    carve_tables(rope, config, &arena);
    rope->attention_factor = gqa__rope_attention_factor(config);
    gqa__frequencies(config, spacing, 1, rope->inv_freq);
    if (rope->inv_freq_long != NULL) {
        gqa__frequencies(config, spacing, INT32_MAX, rope->inv_freq_long);
    }
    assign_axes(rope, config);
    rope->key = table_key(rope, config, &spacing);
}

void gqa__rope_frequencies(const struct gqa__params *params, int32_t rope_length, double *out)
{
    const gqa_config *const config = &params->config;
    const struct gqa__rope *const rope = &params->rope;
    const bool beyond = gqa__rope_by_length(config) && rope_length > config->rope_original_context;
    if (beyond && config->rope_scaling == GQA_ROPE_SCALING_DYNAMIC) {
        gqa__frequencies(config, gqa__frequency_spacing(config, &params->shape), rope_length, out);
    } else {
        const double *const from = beyond ? rope->inv_freq_long : rope->inv_freq; /* [pairs] */
        memcpy(out, from, (size_t)rope->pairs * sizeof *out);
    }
}
