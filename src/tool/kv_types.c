/* SPDX-License-Identifier: Apache-2.0 */
/* kv_types.c - see kv_types.h. */
#include "tool/kv_types.h"

#include <string.h>

const struct tool_kv_type tool_kv_types[TOOL_KV_TYPES] = {
    {"f32", GQA_F32, 0},     {"bf16", GQA_BF16, 0},         {"f16", GQA_F16, 0},
    {"int8", GQA_I8, 0},     {"int8+r", GQA_I8, 1},         {"e4m3", GQA_E4M3, 0},
    {"e4m3+r", GQA_E4M3, 1}, {"e4m3_240", GQA_E4M3_240, 0}, {"e4m3_240+r", GQA_E4M3_240, 1},
    {"int4", GQA_I4, 0},     {"int4+r", GQA_I4, 1},
};

int64_t tool_kv_row_bytes(const struct tool_kv_type *type, int64_t dim)
{
    const int64_t groups = (dim + 31) / 32; /* of int4: 32 elements, 16 bytes, and a scale */

    switch (type->dtype) {
    case GQA_F32:
        return 4 * dim;
    case GQA_BF16:
    case GQA_F16:
        return 2 * dim;
    case GQA_I4:
        return groups * (16 + (int64_t)sizeof(float));
    default:
        return dim + (int64_t)sizeof(float);
    }
}

void tool_kv_store(const struct tool_kv_type *k, const struct tool_kv_type *v,
                   gqa_cache_options *options)
{
    options->dtype_k = k->dtype;
    options->dtype_v = v->dtype;
    options->rotate_k = k->rotated;
    options->rotate_v = v->rotated;
}

void tool_kv_choose(const gqa_layer *layer, struct tool_kv_choice *choice)
{
    gqa_cache_options options;
    gqa_dtype own;
    size_t size;

    memset(choice, 0, sizeof *choice);
    gqa_cache_options_init(&options, layer);
    options.max_tokens = 1;
    own = options.dtype_k;
    for (int i = 0; i < TOOL_KV_TYPES; i++) {
        const struct tool_kv_type *const type = &tool_kv_types[i];

        tool_kv_store(type, type, &options);
        if (gqa_cache_size(layer, &options, &size, &choice->refused[i]) != GQA_OK) {
            continue;
        }
        choice->type[choice->n++] = type;
        if (type->dtype == own) { /* to the front */
            memmove(choice->type + 1, choice->type,
                    (size_t)(choice->n - 1) * sizeof choice->type[0]);
            choice->type[0] = type;
        }
    }
}
