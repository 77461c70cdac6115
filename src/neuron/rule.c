/* SPDX-License-Identifier: Apache-2.0 */
/* rule.c - who sees whom in the masks that Neuron's model makes for the framework's paths
 * (model_base.py): causality, window and chunk by position, and the caller's masks. */
#include "neuron/entry.h"

#include "base/tensor.h"

static int64_t chunk_of(int64_t distance, int64_t chunk)
{
    return distance >= 0 ? distance / chunk : -((chunk - 1 - distance) / chunk);
}

static bool rules_let(const struct gqa__shape *shape, int64_t query, int64_t key, int64_t origin)
{
    const bool later = shape->right >= 0 && key - query > shape->right;
    const bool earlier = shape->window > 0 && query - key >= shape->window;

    if (later || earlier) {
        return false;
    }
    return shape->chunk == 0 ||
           chunk_of(query - origin, shape->chunk) == chunk_of(key - origin, shape->chunk);
}

/* A mask [1|B, ...] at a batch entry. */
static int64_t mask_entry(const gqa_tensor *mask, int32_t batch)
{
    return mask->shape[0] == 1 ? 0 : batch * mask->stride[0];
}

static bool masks_let(const struct gqa__segment *segment, int32_t i, int32_t column)
{
    const gqa_tensor *const mask = &segment->mask;
    const gqa_tensor *const active = &segment->active_mask;
    const int64_t row = (int64_t)segment->row0 + i;
    const int64_t new_column = (int64_t)column - segment->active_column;

    if (gqa__present(mask) &&
        !gqa__mask_at(mask, mask_entry(mask, segment->batch) + row * mask->stride[2] + column)) {
        return false;
    }
    return !gqa__present(active) || new_column < 0 ||
           gqa__mask_at(active,
                        mask_entry(active, segment->batch) + row * active->stride[1] + new_column);
}

bool gqa__neuron_rule(const struct gqa__shape *shape, const struct gqa__segment *segment, int32_t i,
                      int32_t position, int32_t column)
{
    const bool inside = segment->key_begin == NULL ||
                        (segment->key_begin[i] <= column && column < segment->key_end[i]);

    return inside && rules_let(shape, segment->positions[i], position, segment->view.origin) &&
           masks_let(segment, i, column);
}
